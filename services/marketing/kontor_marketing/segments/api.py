"""The gRPC services of segments and of who is in them."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

from google.protobuf.empty_pb2 import Empty

from kontor.marketing.v1 import segment_membership_service_pb2, segment_service_pb2
from kontor_kit import filters
from kontor_kit.calls import Call
from kontor_kit.db import Transaction
from kontor_kit.errors import FailedPrecondition, InvalidArgument, Violation
from kontor_kit.ids import format_name, parse_name
from kontor_kit.methods import ResourceServicer
from kontor_kit.operations.servicer import Operations
from kontor_kit.operations.work import Kind, Stopped, Work
from kontor_kit.principals import Scope
from kontor_kit.records import principal_of
from kontor_kit.shared import Shared
from kontor_kit.store import Locked, Reach, Store, is_live
from kontor_kit.tracing import Trace
from kontor_marketing.campaigns.table import RUNNING_WITH
from kontor_marketing.parties.table import PARTY
from kontor_marketing.segments import rules
from kontor_marketing.segments.membership import BATCH, Membership, parse
from kontor_marketing.segments.reading import Reading
from kontor_marketing.segments.table import FIRST, REFERRING, SEGMENT, SEGMENT_MEMBERSHIP

_RULE: Final = ("filter", "include_segments", "exclude_segments")
_PARTIES: Final = "marketing.parties.read"


def _evaluate(work: Work) -> None:
    work.service["segments"].evaluate_all(work)


EVALUATE: Final = Kind("evaluate_segments", Empty, _evaluate)
"""Brings the members of segments up to their rules, after these changed."""


class SegmentMemberships(ResourceServicer):
    """Serves memberships."""

    SERVICE = segment_membership_service_pb2.DESCRIPTOR.services_by_name["SegmentMembershipService"]
    RESOURCE = SEGMENT_MEMBERSHIP


class Segments(ResourceServicer):
    """Serves segments, and keeps who is in them up to date."""

    SERVICE = segment_service_pb2.DESCRIPTOR.services_by_name["SegmentService"]
    RESOURCE = SEGMENT

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._operations = Operations(shared.domain)
        self._begun: WeakKeyDictionary[Transaction, str] = WeakKeyDictionary()
        self._membership = Membership()
        self._parties = Store(PARTY)
        self._reader = Reading(shared.page_tokens, self._parties)

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Check a segment, and have its members brought up to its rule where that is another one now."""
        after.filter = after.filter.strip()
        if violations := rules.check(after):
            raise InvalidArgument(*violations)
        back = before is not None and not is_live(before)
        if before is not None and not back and all(getattr(before, name) == getattr(after, name) for name in _RULE):
            return
        self._check_rule(tx, after)
        if after.kind == rules.RULE and not back:
            after.evaluation = self._begin(tx, call)

    def _check_rule(self, tx: Transaction, segment: Any) -> None:
        """Raise InvalidArgument where the filter says nothing, or the segments it refers to are not there or refer to it."""
        if node := parse(segment.filter):
            # With its values: one that is none would fail whoever changes a party afterwards.
            PARTY.filter_fields.compile(node, {}).parameters(filters.values(node))
        # Two who each refer to the other's segment would make a circle that neither sees.
        self.shared.requests.serialise(tx, REFERRING)
        known = self._membership.rules(tx)
        own = parse_name(segment.name, SEGMENT.pattern, "name") if segment.name else None
        violations = []
        for field in _RULE[1:]:
            for place, name in enumerate(getattr(segment, field)):
                id, path = parse_name(name, SEGMENT.pattern, f"{field}[{place}]"), f"{field}[{place}]"
                if id == own or own in rules.referred([id], known):
                    violations.append(Violation(path, f"{name} refers to this segment"))
                elif id not in known:
                    violations.append(Violation(path, f"there is no {name}"))
        if violations:
            raise InvalidArgument(*violations)

    def delete(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Delete a segment that no other one refers to, without which the others would be others, nor a campaign."""
        locked = self.lock(tx, call, request.name, "name", live=False)
        self.shared.requests.serialise(tx, REFERRING)
        others = rules.referring([locked.id], self._membership.rules(tx)) - {locked.id}
        if others:
            names = ", ".join(sorted(format_name(SEGMENT.collection, id) for id in others)[:10])
            raise FailedPrecondition(f"{names} would become another one without it", reason="IN_USE")
        if tx.run(RUNNING_WITH, {"tenant": tx.tenant_id, "segment": locked.id}):
            raise FailedPrecondition("a campaign under way would reach others without it", reason="IN_USE")
        deleted = super().delete(request, call, tx)
        self._operations.start(tx, call, EVALUATE, Empty(), {"ended": [str(locked.id)]})
        return deleted

    def undelete(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Bring a deleted segment back, and its members."""
        locked = self.lock(tx, call, super().undelete(request, call, tx).name)
        after: Any = SEGMENT.message()
        after.CopyFrom(locked.message)
        after.evaluation = self._begin(tx, call)
        return self.shown(tx, call, self.put(tx, call, locked, after, "updated"))

    def _begin(self, tx: Transaction, call: Call) -> str:
        """Return the operation that evaluates all segments whose rule changes with the transaction."""
        if tx not in self._begun:
            self._begun[tx] = self._operations.start(tx, call, EVALUATE, Empty()).name
        return self._begun[tx]

    # Lists.

    def add_segment_members(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Put parties on the list of a segment."""
        segment, added = self._pick(request, call, tx, on=True)
        begun = self._reader.memberships(tx, segment, added, self._party_reach(call))
        return call.method.output(added_count=len(added), segment_memberships=begun)

    def remove_segment_members(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Take parties off the list of a segment."""
        return call.method.output(removed_count=len(self._pick(request, call, tx, on=False)[1]))

    def _pick(self, request: Any, call: Call, tx: Transaction, *, on: bool) -> tuple[uuid.UUID, Sequence[uuid.UUID]]:
        """Change the list that a request names; return the segment, and the parties of which that is a change."""
        locked = self.lock(tx, call, request.name)
        if locked.message.kind != rules.STATIC:
            raise FailedPrecondition("a rule decides on who is in the segment", reason="NOT_STATIC")
        ids = [parse_name(name, PARTY.pattern, f"parties[{place}]") for place, name in enumerate(request.parties)]
        found = self._parties.get(tx, self._party_reach(call), ids, ("name", "delete_time"))
        violations = [
            Violation(f"parties[{place}]", f"there is no {request.parties[place]}")
            for place, id in enumerate(ids)
            if id not in found or (on and not is_live(found[id]))
        ]
        if violations:
            raise InvalidArgument(*violations)
        self._membership.lock(tx, ids)
        changed = self._membership.pick(tx, locked.id, ids, on=on)
        if changed:
            self._membership.evaluate(tx, changed)
            self.note(tx, call, locked, "members_added" if on else "members_removed")
        return locked.id, changed

    def list_segment_members(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Return who is in a segment, or was."""
        self.require_readable(tx, call, request.name, "name")
        id = parse_name(request.name, SEGMENT.pattern, "name")
        return self._reader.members(tx, call, request, id, self._party_reach(call))

    def preview_segment(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Tell whom a rule describes."""
        include, exclude = (
            [
                parse_name(name, SEGMENT.pattern, f"{field}[{place}]")
                for place, name in enumerate(getattr(request, field))
            ]
            for field in _RULE[1:]
        )
        node = parse(request.filter)
        if node is None and not include:
            raise InvalidArgument(("filter", "a filter, or segments to take from, are required"))
        return self._reader.preview(tx, self._party_reach(call), node, include, exclude)

    def _party_reach(self, call: Call) -> Reach:
        return Reach(principal_of(call), self.scope(call, _PARTIES))

    # For the service itself.

    def follow(self, tx: Transaction, trace: Trace, ids: Sequence[uuid.UUID]) -> None:
        """Have parties that changed, and are locked, enter and leave the segments."""
        self._membership.evaluate(tx, ids)

    def evaluate_all(self, work: Work) -> None:
        """Bring the members of the segments up to date whose rule changed with what started the operation.

        It is not to be cancelled: half of the members would be those of the rule before.
        """
        name = format_name(f"{self._operations.parent}/operations", work.id)
        state = {"last": str(FIRST), "done": 0, **work.checkpoint}
        while True:
            with work.write() as tx:
                if "targets" not in state:
                    state["targets"] = self._targets(tx, work, name, state.get("ended", []))
                    state["total"] = self._membership.count(tx)
                ids = self._membership.lock_next(tx, uuid.UUID(state["last"]))
                if ids:
                    self._membership.evaluate(tx, ids, [uuid.UUID(id) for id in state["targets"]])
                    state |= {"last": str(ids[-1]), "done": state["done"] + len(ids)}
                work.save(tx, state, stage="evaluating", done=state["done"], total=max(state["done"], state["total"]))
                if len(ids) < BATCH:
                    self._finish(tx, work, name)
                    return
            if work.stopping.is_set():
                raise Stopped

    def _targets(self, tx: Transaction, work: Work, name: str, ended: Sequence[str]) -> list[str]:
        """Return the segments to evaluate: those that changed, those that ended, and whatever refers to them."""
        changed = {one.id for one in self._evaluated_by(tx, work, name)}
        found = rules.referring(changed | {uuid.UUID(id) for id in ended}, self._membership.rules(tx))
        return sorted(map(str, found))

    def _finish(self, tx: Transaction, work: Work, name: str) -> None:
        call = self.own_call(tx, work.trace)
        for locked in self._evaluated_by(tx, work, name):
            after: Any = SEGMENT.message()
            after.CopyFrom(locked.message)
            after.ClearField("evaluation")
            after.evaluate_time.FromDatetime(dt.datetime.now(dt.UTC))
            self.put(tx, call, locked, after, "evaluated")

    def _evaluated_by(self, tx: Transaction, work: Work, name: str) -> list[Locked]:
        """Return the segments, locked, that the operation `name` is to bring up to date."""
        ids = self._reader.evaluated_by(tx, name)
        locked = self.store.lock(tx, self.reach(self.own_call(tx, work.trace)), Scope.ALL, ids)
        return [one for one in locked.values() if one.message.evaluation == name]
