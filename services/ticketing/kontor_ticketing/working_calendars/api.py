"""The gRPC service of working calendars."""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from kontor.ticketing.v1 import working_calendar_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import FailedPrecondition, InvalidArgument
from kontor_kit.filter_sql import TENANT
from kontor_kit.marks import Mark
from kontor_kit.methods import ResourceServicer
from kontor_kit.shared import Shared
from kontor_kit.store import Locked
from kontor_ticketing.sla_policies.table import sla_policies
from kontor_ticketing.working_calendars import public_holidays, rules
from kontor_ticketing.working_calendars.table import WORKING_CALENDAR

_DEFAULT = Mark(WORKING_CALENDAR, "default")
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
        _DEFAULT.take(self, tx, call, before, after)

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
