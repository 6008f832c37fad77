"""The gRPC service of suppressions."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import sqlalchemy as sa

from kontor.marketing.v1 import suppression_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name
from kontor_kit.methods import ResourceServicer
from kontor_kit.principals import Scope
from kontor_kit.records import principal_of
from kontor_kit.shared import Shared
from kontor_kit.store import Store
from kontor_kit.tracing import Trace
from kontor_marketing.parties.rules import address_key
from kontor_marketing.parties.table import PARTY
from kontor_marketing.suppressions import rules
from kontor_marketing.suppressions.table import SUPPRESSION, suppressions

_FIND: Final = Statement(
    sa.select(suppressions.c.id).where(
        suppressions.c.tenant_id == TENANT,
        *(
            suppressions.c[name].is_not_distinct_from(sa.bindparam(name, type_=suppressions.c[name].type))
            for name in ("party", "address", "channel", "reason")
        ),
        suppressions.c.end_time.is_(None),
    )
)


class Suppressions(ResourceServicer):
    """Serves suppressions."""

    SERVICE = suppression_service_pb2.DESCRIPTOR.services_by_name["SuppressionService"]
    RESOURCE = SUPPRESSION

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._parties = Store(PARTY)

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring a new suppression into form."""
        if before is None:
            if violations := rules.normalise(after, dt.datetime.now(dt.UTC)):
                raise InvalidArgument(*violations)
            if not _is_own(call):
                self._check_reach(tx, call, after)

    def _check_reach(self, tx: Transaction, call: Call, suppression: Any) -> None:
        """Raise where somebody would be suppressed whom the caller's permission does not reach."""
        scope, addresses = self.scope(call, self.create_permission), set[str]()
        if suppression.party:
            party = self.referred(tx, call, self._parties, suppression.party, "party")
            PARTY.scope.check(principal_of(call), scope, party)
            addresses = {address_key(email.address) for email in party.emails}
        if scope is not Scope.ALL and (not suppression.party or suppression.address not in {"", *addresses}):
            raise PermissionDenied(
                "an address that is not the party's may be that of others, whom your permission does not reach",
                reason="OUT_OF_SCOPE",
            )

    def lift_suppression(self, request: Any, call: Call, tx: Transaction) -> Any:
        """End a suppression now."""
        locked = self.lock(tx, call, request.name)
        self.check_etag(call, locked, request.etag)
        now = dt.datetime.now(dt.UTC)
        before = locked.message
        if before.reason == rules.ERASED:
            raise FailedPrecondition("what was erased stays so", reason="ERASED")
        if before.HasField("end_time") and before.end_time.ToDatetime(dt.UTC) <= now:
            raise FailedPrecondition("the suppression has ended", reason="ENDED")
        after: Any = SUPPRESSION.message()
        after.CopyFrom(before)
        # One that has not begun yet never holds.
        after.end_time.FromDatetime(max(now, before.start_time.ToDatetime(dt.UTC)))
        after.lift_reason = request.reason
        return self.shown(tx, call, self.put(tx, call, locked, after, "lifted"))

    def suppress(self, tx: Transaction, call: Call, suppression: Any) -> Any:
        """Store a new suppression; return the one there is, where there is one like it that has no end.

        One that would begin later begins when the new one would.
        """
        begins_now = not suppression.HasField("start_time")
        if violations := rules.normalise(suppression, dt.datetime.now(dt.UTC)):
            raise InvalidArgument(*violations)
        address = suppression.address or None
        party = parse_name(suppression.party, PARTY.pattern, "party") if suppression.party else None
        self.shared.requests.serialise(tx, f"suppressions/{party}/{address}")
        kind = {"channel": suppression.channel, "reason": suppression.reason}
        rows = tx.run(_FIND, {"tenant": tx.tenant_id, "party": party, "address": address, **kind})
        if begins_now:  # After those of the same that it waited for.
            suppression.start_time.FromDatetime(dt.datetime.now(dt.UTC))
        if not rows:
            return self.new(tx, call, suppression)
        if not _is_own(call):
            self._check_reach(tx, call, suppression)
        id = rows[0][0]
        locked = self.store.lock(tx, self.reach(self.own_call(tx, call.trace)), Scope.ALL, [id])[id]
        if locked.message.start_time.ToNanoseconds() <= suppression.start_time.ToNanoseconds():
            return locked.message
        after: Any = SUPPRESSION.message()
        after.CopyFrom(locked.message)
        after.start_time.CopyFrom(suppression.start_time)
        return self.put(tx, call, locked, after, "updated")

    def suppress_by_itself(self, tx: Transaction, trace: Trace, suppression: Any) -> Any:
        """Store that somebody is not to be contacted by their own wish, over a link for example; return it."""
        return self.suppress(tx, self.own_call(tx, trace), suppression)


def _is_own(call: Call) -> bool:
    return call.principal is not None and call.principal.subject.startswith("services/")
