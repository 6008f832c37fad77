"""The gRPC service of partners."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from kontor.partners.v1 import partner_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Transaction
from kontor_kit.due import Due
from kontor_kit.errors import InvalidArgument
from kontor_kit.ids import parse_name
from kontor_kit.methods import ResourceServicer
from kontor_kit.principals import Scope
from kontor_kit.records import principal_of
from kontor_kit.shared import Shared
from kontor_kit.store import Locked, Reach, Store, is_live
from kontor_kit.tracing import Trace
from kontor_partners.partners import rules
from kontor_partners.partners.table import PARTNER, take_turns
from kontor_partners.programmes import rules as programmes
from kontor_partners.programmes.table import PROGRAMME

Release = Callable[[Transaction, Trace, Any], None]
"""Takes from a partner, which it is given, what is open: it is suspended, no partner any more, or deleted."""


class Partners(ResourceServicer):
    """Serves partners; `releases` are for those that stop."""

    SERVICE = partner_service_pb2.DESCRIPTOR.services_by_name["PartnerService"]
    RESOURCE = PARTNER

    def __init__(self, shared: Shared, releases: Sequence[Release] = ()) -> None:
        super().__init__(shared)
        self._releases = releases
        self._programmes = Store(PROGRAMME)

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the partner into form."""
        if violations := rules.normalise(after):
            raise InvalidArgument(*violations)
        if before is None:
            after.state_time = dt.datetime.now(dt.UTC)

    def delete(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Delete a partner, and take back what is open."""
        take_turns(self.shared.requests, tx)
        stored = super().delete(request, call, tx)
        self._release(tx, call, stored)
        return stored

    # Custom methods.

    def apply_partner(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Say that a company wants to become a partner."""
        return self._step(request, call, tx, "applied")

    def approve_partner(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Say that a company is fit to be a partner."""
        return self._step(request, call, tx, "approved")

    def activate_partner(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Let a partner get leads and register deals."""
        return self._step(request, call, tx, "activated")

    def suspend_partner(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Keep a partner from new leads and deals."""
        return self._step(request, call, tx, "suspended", request.reason)

    def end_partner(self, request: Any, call: Call, tx: Transaction) -> Any:
        """End a partnership."""
        return self._step(request, call, tx, "ended", request.reason)

    def set_partner_level(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Give a partner a level, now or when its time of grace is over."""
        locked, after = self._begin(request, call, tx)
        name = request.programme or after.programme
        if not name:
            raise InvalidArgument(("programme", "is required where the partner is in none"))
        programme = self._programme(tx, call, name)
        rank = programmes.rank(programme, request.level)
        if rank < 0:
            raise InvalidArgument(("level", "is none of the programme's levels"))
        today = dt.datetime.now(dt.UTC).date()
        stays = name == after.programme
        before = programmes.rank(programme, after.level) if stays else -1
        start = rules.first_day((before, rank), programme.grace_days, today)
        if request.HasField("start_date"):
            start = _given_day(request, today, stays)
        rules.set_level(after, name, request.level, reason=request.reason, start=start, today=today)
        return self.shown(tx, call, self.save(tx, call, locked, after, "level_set"))

    def _programme(self, tx: Transaction, call: Call, name: str) -> Any:
        """Return a programme, locked: none of its levels is removed meanwhile."""
        self.referred(tx, call, self._programmes, name, "programme")
        id = parse_name(name, PROGRAMME.pattern, "programme")
        found = self._programmes.lock(tx, Reach(principal_of(call), Scope.ALL), Scope.ALL, [id]).get(id)
        if found is None or not is_live(found.message):
            raise InvalidArgument(("programme", f"there is no {name}"))
        return found.message

    def _step(self, request: Any, call: Call, tx: Transaction, event: str, reason: str = "") -> Any:
        stops = event in ("suspended", "ended")
        if stops:
            take_turns(self.shared.requests, tx)
        locked, after = self._begin(request, call, tx)
        rules.go(after, event, reason, dt.datetime.now(dt.UTC))
        stored = self.save(tx, call, locked, after, event)
        if stops:
            self._release(tx, call, stored)
        return self.shown(tx, call, stored)

    def _begin(self, request: Any, call: Call, tx: Transaction) -> tuple[Locked, Any]:
        locked = self.lock(tx, call, request.name)
        self.check_etag(call, locked, request.etag)
        return locked, _copy(locked)

    def _release(self, tx: Transaction, call: Call, partner: Any) -> None:
        for release in self._releases:
            release(tx, call.trace, partner)

    # What the job does, as the service itself.

    def begin_level(self, tx: Transaction, trace: Trace, id: uuid.UUID, today: dt.date) -> bool:
        """Let a partner's next level begin where its day has come; return whether it did."""
        call = self.own_call(tx, trace)
        locked = self.store.lock(tx, self.reach(call), Scope.ALL, [id]).get(id)
        if locked is None or not is_live(locked.message):
            return False
        after = _copy(locked)
        # Somebody may have been faster: due is what the locked record says.
        if not rules.follow_level(after, today):
            return False
        self.put(tx, call, locked, after, "level_changed")
        return True


def _given_day(request: Any, today: dt.date, stays: bool) -> dt.date:
    try:
        day = rules.day_of(request, "start_date")
    except ValueError:
        raise InvalidArgument(("start_date", "must be a day that exists")) from None
    assert day is not None, "the caller looked"
    if day < today:
        raise InvalidArgument(("start_date", "must not lie in the past"))
    if day > today and not stays:
        raise InvalidArgument(("start_date", "must be today: a level in another programme begins at once"))
    return day


def _copy(locked: Locked) -> Any:
    after = type(locked.message)()
    after.CopyFrom(locked.message)
    return after


def _begin_level(records: Any, tx: Transaction, trace: Trace, id: uuid.UUID, now: dt.datetime) -> None:
    records["partners"].begin_level(tx, trace, id, now.date())


BEGIN_LEVELS = Due(
    "begin-levels",
    "partners",
    ["next_level_date <= CAST(timezone('UTC', :now) AS date)"],
    _begin_level,
    seconds=600.0,
)
