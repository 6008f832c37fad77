"""The gRPC service of service level policies."""

import datetime as dt
from typing import Any, Final

import sqlalchemy as sa

from kontor.ticketing.v1 import sla_policy_pb2, sla_policy_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import FailedPrecondition, InvalidArgument
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name
from kontor_kit.methods import ResourceServicer
from kontor_kit.operations.servicer import Operations
from kontor_kit.operations.work import Kind, Work
from kontor_kit.shared import Shared
from kontor_kit.store import Locked, Store, is_live
from kontor_ticketing.queues.table import QUEUE
from kontor_ticketing.sla_policies import rules
from kontor_ticketing.sla_policies.table import SLA_POLICY, keep_version, sla_policies
from kontor_ticketing.working_calendars.rules import AROUND_THE_CLOCK
from kontor_ticketing.working_calendars.table import WORKING_CALENDAR, working_calendars, working_time

# Not to be changed before what depends on it is stored: who changes it looks then for what does.
_CALENDAR = Statement(
    sa.select(*WORKING_CALENDAR.codec.columns())
    .where(
        working_calendars.c.tenant_id == TENANT,
        working_calendars.c.id == sa.bindparam("id", type_=sa.Uuid),
        working_calendars.c.delete_time.is_(None),
    )
    .with_for_update(read=True)
)
_DEFAULT = Statement(
    sa.select(working_calendars.c.id).where(
        working_calendars.c.tenant_id == TENANT, working_calendars.c.default, working_calendars.c.delete_time.is_(None)
    )
)
# Deleted ones too: they can come back.
_FOLLOWERS = Statement(
    sa.select(sla_policies.c.id).where(
        sla_policies.c.tenant_id == TENANT, sla_policies.c.working_calendar == sa.bindparam("id", type_=sa.Uuid)
    )
)


def _reapply(work: Work) -> Any:
    return work.service["tickets"].reapply(work)


REAPPLY: Final = Kind("reapply_sla_policy", sla_policy_service_pb2.ReapplySlaPolicyRequest, _reapply)
"""Promises tickets anew what a policy says now."""


class SlaPolicies(ResourceServicer):
    """Serves service level policies."""

    SERVICE = sla_policy_service_pb2.DESCRIPTOR.services_by_name["SlaPolicyService"]
    RESOURCE = SLA_POLICY

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._operations = Operations(shared.domain)
        self._queues = Store(QUEUE)
        self._calendars = Store(WORKING_CALENDAR)

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the policy into form, see that its targets can be reached, and count the version up."""
        violations = rules.normalise(after)
        if after.working_calendar and (before is None or after.working_calendar != before.working_calendar):
            self.referred(tx, call, self._calendars, after.working_calendar, "working_calendar")
        if before is None and not after.working_calendar:
            found = tx.run(_DEFAULT, {"tenant": tx.tenant_id})
            after.working_calendar = f"{WORKING_CALENDAR.collection}/{found[0][0]}" if found else ""
        known = before.queues if before is not None else ()
        for place, name in enumerate(after.queues):
            if name not in known:
                self.referred(tx, call, self._queues, name, f"queues[{place}]")
        calendar = self._calendar(tx, after)
        working = AROUND_THE_CLOCK if calendar is None else working_time(calendar)
        violations += rules.unreachable(after, working, dt.datetime.now(dt.UTC))
        if violations:
            raise InvalidArgument(*violations)
        after.policy_version = before.policy_version if before is not None else 1
        if before is not None and not _same(before, after):
            after.policy_version += 1

    def new(self, tx: Transaction, call: Call, record: Any, *args: Any, **options: Any) -> Any:
        """Store a new policy with its first version."""
        record = super().new(tx, call, record, *args, **options)
        keep_version(tx, parse_name(record.name, SLA_POLICY.pattern, "name"), record, self._calendar(tx, record))
        return record

    def put(self, tx: Transaction, call: Call, locked: Locked, after: Any, event: str) -> Any:
        """Store a changed policy with its new version."""
        record = super().put(tx, call, locked, after, event)
        keep_version(tx, locked.id, record, self._calendar(tx, record))
        return record

    def reapply_sla_policy(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Start to promise tickets anew; for what is left of a deleted policy too."""
        id = parse_name(request.name, SLA_POLICY.pattern, "name")
        if self.store.get_one(tx, self.reach(call), id, ("name",)) is None:
            raise self.not_found(request.name)
        return self._operations.start(tx, call, REAPPLY, request)

    def follow_calendar(self, tx: Transaction, call: Call, calendar: Any) -> None:
        """Give the policies that use a calendar, which changed, a new version each."""
        id = parse_name(calendar.name, WORKING_CALENDAR.pattern, "name")
        ids = [row[0] for row in tx.run(_FOLLOWERS, {"tenant": tx.tenant_id, "id": id})]
        own = self.own_call(tx, call.trace)
        for locked in self.store.lock(tx, self.reach(own), self.scope(own), ids).values():
            after = sla_policy_pb2.SlaPolicy()
            after.CopyFrom(locked.message)
            after.policy_version += 1
            violations = rules.unreachable(after, working_time(calendar), dt.datetime.now(dt.UTC))
            # One that is deleted promises nothing, and is checked again when it comes back.
            if violations and is_live(after):
                problem = f"the policy {after.display_name} could not be kept: {violations[0].description}"
                raise InvalidArgument(("slots", problem))
            self.put(tx, call, locked, after, "updated")

    def _calendar(self, tx: Transaction, policy: Any) -> Any | None:
        if not policy.working_calendar:
            return None
        id = parse_name(policy.working_calendar, WORKING_CALENDAR.pattern, "working_calendar")
        rows = tx.run(_CALENDAR, {"tenant": tx.tenant_id, "id": id})
        if not rows:
            raise FailedPrecondition("its working calendar is deleted", reason="WORKING_CALENDAR_DELETED")
        return WORKING_CALENDAR.codec.loader()(rows[0])


def _same(before: Any, after: Any) -> bool:
    """Whether nothing changed but that a policy is deleted, or comes back."""
    one, other = type(before)(), type(after)()
    one.CopyFrom(before)
    other.CopyFrom(after)
    one.ClearField("delete_time")
    other.ClearField("delete_time")
    return bool(one == other)
