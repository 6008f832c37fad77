"""The gRPC service of working calendars."""

from typing import Any

import sqlalchemy as sa

from kontor.ticketing.v1 import working_calendar_pb2, working_calendar_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import InvalidArgument
from kontor_kit.filter_sql import TENANT
from kontor_kit.methods import ResourceServicer
from kontor_ticketing.working_calendars import public_holidays, rules
from kontor_ticketing.working_calendars.table import WORKING_CALENDAR, working_calendars

_DEFAULTS = Statement(
    sa.select(working_calendars.c.id).where(
        working_calendars.c.tenant_id == TENANT, working_calendars.c.default, working_calendars.c.delete_time.is_(None)
    )
)


class WorkingCalendars(ResourceServicer):
    """Serves working calendars."""

    SERVICE = working_calendar_service_pb2.DESCRIPTOR.services_by_name["WorkingCalendarService"]
    RESOURCE = WORKING_CALENDAR

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the calendar into form, and let one calendar at most be the default."""
        violations = rules.normalise(after)
        if not violations and after.country_code:
            violations = public_holidays.check(after.country_code, after.subdivision)
        if violations:
            raise InvalidArgument(*violations)
        if after.default:
            self._make_way(tx, call, after)

    def _make_way(self, tx: Transaction, call: Call, calendar: Any) -> None:
        """Take the mark from the other calendar."""
        self.shared.requests.serialise(tx, "workingCalendars/default")
        ids = [row[0] for row in tx.run(_DEFAULTS, {"tenant": tx.tenant_id})]
        own = self.own_call(tx, call.trace)
        for locked in self.store.lock(tx, self.reach(own), self.scope(own), ids).values():
            if locked.message.name != calendar.name:
                other = working_calendar_pb2.WorkingCalendar()
                other.CopyFrom(locked.message)
                other.default = False
                self.put(tx, call, locked, other, "updated")
