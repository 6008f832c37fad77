"""The gRPC service of working calendars."""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from kontor.ticketing.v1 import working_calendar_pb2, working_calendar_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import FailedPrecondition, InvalidArgument
from kontor_kit.filter_sql import TENANT
from kontor_kit.methods import ResourceServicer
from kontor_kit.shared import Shared
from kontor_kit.store import Locked
from kontor_ticketing.sla_policies.table import sla_policies
from kontor_ticketing.working_calendars import public_holidays, rules
from kontor_ticketing.working_calendars.table import WORKING_CALENDAR, working_calendars

_DEFAULTS = Statement(
    sa.select(working_calendars.c.id).where(
        working_calendars.c.tenant_id == TENANT, working_calendars.c.default, working_calendars.c.delete_time.is_(None)
    )
)
_USED = Statement(
    sa.select(sla_policies.c.id)
    .where(
        sla_policies.c.tenant_id == TENANT,
        sla_policies.c.working_calendar == sa.bindparam("id", type_=sa.Uuid),
        sla_policies.c.delete_time.is_(None),
    )
    .limit(1)
)

Follow = Callable[[Transaction, Call, Any], None]
"""Is told of a calendar that changed."""


class WorkingCalendars(ResourceServicer):
    """Serves working calendars; `follow` is called for each that changed."""

    SERVICE = working_calendar_service_pb2.DESCRIPTOR.services_by_name["WorkingCalendarService"]
    RESOURCE = WORKING_CALENDAR

    def __init__(self, shared: Shared, follow: Follow) -> None:
        super().__init__(shared)
        self._follow = follow

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the calendar into form, and let one calendar at most be the default."""
        violations = rules.normalise(after)
        if not violations and after.country_code:
            violations = public_holidays.check(after.country_code, after.subdivision)
        if violations:
            raise InvalidArgument(*violations)
        if after.default:
            self._make_way(tx, call, after)

    def put(self, tx: Transaction, call: Call, locked: Locked, after: Any, event: str) -> Any:
        """Store a changed calendar, and let policies follow."""
        record = super().put(tx, call, locked, after, event)
        if rules.worked(locked.message) != rules.worked(record):
            self._follow(tx, call, record)
        return record

    def delete(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Delete a calendar that no policy counts by."""
        locked = self.lock(tx, call, request.name, live=False)
        if tx.run(_USED, {"tenant": tx.tenant_id, "id": locked.id}):
            raise FailedPrecondition("service level policies count by this calendar", reason="WORKING_CALENDAR_IN_USE")
        return super().delete(request, call, tx)

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
