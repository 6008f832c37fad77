"""How tickets get somebody who works on them: by the rule of their queue, or because a person says so.

The rule of a queue gives one ticket after the other, whoever brings them, so that nobody gets more than they can take.
What nobody can get waits, and is looked at again every few seconds: somebody may have solved something, or be back.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import replace
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from kontor_kit.calls import Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.due import Due
from kontor_kit.errors import FailedPrecondition, InvalidArgument
from kontor_kit.filter_sql import TENANT
from kontor_kit.folding import fold
from kontor_kit.ids import parse_name
from kontor_kit.records import Records, principal_of
from kontor_kit.store import Locked, Store, is_live
from kontor_kit.tracing import Trace
from kontor_ticketing.queues import rules
from kontor_ticketing.queues.table import DEACTIVATED, NOT_THERE, QUEUE, queue_turns
from kontor_ticketing.ticket_states.rules import LIVE
from kontor_ticketing.tickets.table import TO_DO, tickets

TOLD: Final = 50
"""So many candidates are told in the explanation."""
_AT_ONCE: Final = 500
"""So many waiting tickets of a queue are looked at together."""
_QUEUE: Final = sa.bindparam("queue", type_=sa.Uuid)
_PRIORITY: Final = sa.bindparam("priority", type_=sa.SmallInteger)
_AFTER: Final = sa.bindparam("after", type_=sa.Uuid)
_MEMBERS: Final = sa.bindparam("users", type_=ARRAY(sa.Uuid))
_LOADS: Final = Statement(
    sa.select(tickets.c.owner, sa.func.count(), sa.func.count().filter(tickets.c.queue == _QUEUE))
    .where(tickets.c.tenant_id == TENANT, tickets.c.owner == sa.any_(_MEMBERS), TO_DO)
    .group_by(tickets.c.owner)
)
_TURNS: Final = Statement(
    sa.select(queue_turns.c.member, queue_turns.c.turn).where(
        queue_turns.c.tenant_id == TENANT, queue_turns.c.queue == _QUEUE
    )
)
_turn = insert(queue_turns).values(
    tenant_id=TENANT,
    queue=_QUEUE,
    member=sa.bindparam("member", type_=sa.Uuid),
    turn=sa.bindparam("turn", type_=sa.BigInteger),
)
_KEEP_TURN: Final = Statement(
    _turn.on_conflict_do_update(index_elements=["tenant_id", "queue", "member"], set_={"turn": _turn.excluded.turn})
)
# Who changes a ticket meanwhile keeps it from nobody: it is looked at again the next time.
_WAITING: Final = Statement(
    sa.select(tickets.c.priority, tickets.c.id)
    .where(
        tickets.c.tenant_id == TENANT,
        tickets.c.queue == _QUEUE,
        tickets.c.owner.is_(None),
        TO_DO,
        sa.or_(tickets.c.priority < _PRIORITY, sa.and_(tickets.c.priority == _PRIORITY, tickets.c.id > _AFTER)),
    )
    .order_by(tickets.c.priority.desc(), tickets.c.id)
    .limit(_AT_ONCE)
    .with_for_update(key_share=True, skip_locked=True)
)


class _Place(NamedTuple):
    """Where a ticket stands among those that wait."""

    priority: int
    id: uuid.UUID


_MOST_URGENT: Final = _Place(2**15 - 1, uuid.UUID(int=0))


class Assigning:
    """Gives the tickets that `records` keeps to users."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._queues = Store(QUEUE)
        # How far those that wait were looked at, by queue, where they are many.
        self._looked_at: dict[uuid.UUID, _Place] = {}

    def settle(self, tx: Transaction, call: Call, locked: Locked) -> Any:
        """Give a ticket that was stored to whom the rule of its queue chooses, where it has one; return the ticket."""
        ticket = locked.message
        if not _waits(ticket):
            return ticket
        own = self._records.own_call(tx, call.trace)
        queue = self._queue(tx, own, ticket)
        if queue is None or queue.assignment == rules.MANUAL:
            return ticket
        after = _copy(ticket)
        if not self._choose(tx, own, queue, after):
            return ticket
        return self._records.put(tx, own, locked, after, "assigned")

    def fill(self, tx: Transaction, trace: Trace, queue_id: uuid.UUID) -> int:
        """Give tickets that wait in a queue to whom its rule chooses; return how many.

        The most urgent are looked at each time, and of the others some: those that nobody is able to do keep nobody from
        what stands behind them.
        """
        own = self._records.own_call(tx, trace)
        queue = self._queues.get_one(tx, self._records.reach(own), queue_id)
        if queue is None or not is_live(queue) or queue.assignment == rules.MANUAL:
            return 0
        self._take_turns(tx, queue.name)
        candidates = self._candidates(tx, queue)
        given, place = self._hand_out(tx, own, queue, candidates, _MOST_URGENT)
        if place is not None:
            more, place = self._hand_out(tx, own, queue, candidates, self._looked_at.pop(queue_id, place))
            given += more
        if place is not None:
            self._looked_at[queue_id] = place
        return given

    def _hand_out(
        self, tx: Transaction, own: Call, queue: Any, candidates: list[rules.Candidate], place: _Place
    ) -> tuple[int, _Place | None]:
        """Give those that wait behind a place to candidates, who change; return how many, and where to go on, if at all."""
        given = {"tenant": tx.tenant_id, "queue": _id(queue.name), "priority": place[0], "after": place[1]}
        places = [_Place(*row) for row in tx.run(_WAITING, given)]
        ids = [place.id for place in places]
        waiting = self._records.store.lock(tx, self._records.reach(own), self._records.scope(own), ids)
        count = 0
        for id in ids:
            after = _copy(waiting[id].message)
            chosen = _decide(own, queue, candidates, after)
            if chosen is not None:
                candidates[:] = self._give(tx, queue, candidates, chosen)
                self._records.put(tx, own, waiting[id], after, "assigned")
                count += 1
            elif not any(candidate.passed_over(rules.NO_SKILLS) == "" for candidate in candidates):
                return count, None
        return count, places[-1] if len(places) == _AT_ONCE else None

    def assign(self, tx: Transaction, call: Call, request: Any, ticket: Any) -> str:
        """Give a ticket to a user, or to whom the rule of its queue chooses, in place; return what happened."""
        if ticket.category not in LIVE:
            raise FailedPrecondition("the ticket is solved or closed", reason="TICKET_NOT_OPEN")
        if request.assignee:
            self._admit(tx, call, request)
            if ticket.queue:
                self._take_turns(tx, ticket.queue)
            _explain(call, ticket, "was chosen by hand", request.assignee)
            return "assigned"
        if ticket.owner:
            raise FailedPrecondition(f"{ticket.owner} has the ticket; release it first", reason="TICKET_ASSIGNED")
        queue = self._queue(tx, self._records.own_call(tx, call.trace), ticket)
        if queue is None:
            raise FailedPrecondition("the ticket is in no queue, whose rule could choose", reason="NO_QUEUE")
        return "assigned" if self._choose(tx, call, queue, ticket) else "updated"

    def release(self, call: Call, ticket: Any) -> None:
        """Take a ticket from who works on it, in place."""
        if not ticket.queue:
            raise FailedPrecondition("the ticket is in no queue, and would be nobody's", reason="NO_QUEUE")
        if not ticket.owner or ticket.category not in LIVE:
            raise FailedPrecondition("nobody works on the ticket", reason="TICKET_NOT_ASSIGNED")
        owner = ticket.owner
        _explain(call, ticket, "was released")
        if owner not in ticket.assignment.released_by:
            ticket.assignment.released_by.append(owner)

    def _admit(self, tx: Transaction, call: Call, request: Any) -> None:
        """See that somebody can be given a ticket."""
        self._records.shared.references.check(call, request)
        given = {"users": [_id(request.assignee)], "now": dt.datetime.now(dt.UTC)}
        if any(why == DEACTIVATED for _, why in tx.run(NOT_THERE, {"tenant": tx.tenant_id, **given})):
            raise InvalidArgument(("assignee", "is deactivated"))

    def _queue(self, tx: Transaction, own: Call, ticket: Any) -> Any | None:
        if not ticket.queue:
            return None
        queue = self._queues.get_one(tx, self._records.reach(own), parse_name(ticket.queue, QUEUE.pattern, "queue"))
        return queue if queue is not None and is_live(queue) else None

    def _choose(self, tx: Transaction, call: Call, queue: Any, ticket: Any) -> bool:
        """Let a queue choose for a ticket, and write down whom and why; tell whether it chose somebody."""
        self._take_turns(tx, queue.name)
        candidates = self._candidates(tx, queue)
        chosen = _decide(call, queue, candidates, ticket)
        if chosen is not None:
            self._give(tx, queue, candidates, chosen)
        return chosen is not None

    def _take_turns(self, tx: Transaction, queue: str) -> None:
        """Wait for others that give tickets of a queue to somebody, until they have ended."""
        self._records.shared.requests.serialise(tx, queue)

    def _candidates(self, tx: Transaction, queue: Any) -> list[rules.Candidate]:
        ids = {_id(member.user): member for member in queue.members}
        given = {"tenant": tx.tenant_id, "queue": _id(queue.name), "users": [*ids], "now": dt.datetime.now(dt.UTC)}
        loads, turns, absent = tx.run_all([(_LOADS, given), (_TURNS, given), (NOT_THERE, given)])
        known = {user: (load, here) for user, load, here in loads}
        turn: dict[uuid.UUID, int] = dict(turns)
        away: dict[uuid.UUID, str] = dict(absent)
        return [
            rules.Candidate(
                member.user,
                skills=frozenset(map(fold, member.skills)),
                capacity=member.capacity,
                weight=member.weight or 1,
                absence=away.get(id, ""),
                load=known.get(id, (0, 0))[0],
                here=known.get(id, (0, 0))[1],
                turn=turn.get(id, 0),
            )
            for id, member in ids.items()
        ]

    @staticmethod
    def _give(
        tx: Transaction, queue: Any, candidates: list[rules.Candidate], chosen: rules.Candidate
    ) -> list[rules.Candidate]:
        """Return the candidates as they are when one of them has one ticket more."""
        turn = max(candidate.turn for candidate in candidates) + 1
        values = {"queue": _id(queue.name), "member": _id(chosen.user), "turn": turn}
        tx.defer(_KEEP_TURN, {"tenant": tx.tenant_id, **values})
        has_more = replace(chosen, load=chosen.load + 1, here=chosen.here + 1, turn=turn)
        return [has_more if candidate is chosen else candidate for candidate in candidates]


def _decide(call: Call, queue: Any, candidates: list[rules.Candidate], ticket: Any) -> rules.Candidate | None:
    """Write into a ticket whom its queue chooses and why, in place; return who that is."""
    released_by = frozenset(ticket.assignment.released_by if ticket.assignment.queue == queue.name else ())
    choice = rules.choose(queue.assignment, candidates, rules.needed_skills(queue, ticket), released_by)
    _explain(call, ticket, choice.reason, choice.chosen.user if choice.chosen else "")
    able_first = sorted(candidates, key=lambda each: (each is not choice.chosen, each.user in choice.passed_over))
    for candidate in able_first[:TOLD]:
        passed_over = choice.passed_over.get(candidate.user, "")
        ticket.assignment.candidates.add(user=candidate.user, standing=candidate.standing, passed_over=passed_over)
    return choice.chosen


def _explain(call: Call, ticket: Any, reason: str, assignee: str = "") -> None:
    """Give a ticket to somebody, or to nobody, and write down how it came to that, in place."""
    before = ticket.assignment
    released_by = [*before.released_by] if before.queue == ticket.queue else []
    ticket.ClearField("assignment")
    said = ticket.assignment
    said.queue, said.assigner, said.assignee, said.reason = ticket.queue, principal_of(call).subject, assignee, reason
    said.assign_time.FromDatetime(dt.datetime.now(dt.UTC))
    said.released_by[:] = released_by
    ticket.owner = assignee


def _waits(ticket: Any) -> bool:
    return bool(ticket.queue) and not ticket.owner and ticket.category in LIVE and is_live(ticket)


def _copy(ticket: Any) -> Any:
    copy = type(ticket)()
    copy.CopyFrom(ticket)
    return copy


def _id(name: str) -> uuid.UUID:
    return uuid.UUID(name.rpartition("/")[2])


def _fill(records: Any, tx: Transaction, trace: Trace, id: uuid.UUID, _now: dt.datetime) -> None:
    records["tickets"].assigning.fill(tx, trace, id)


_HAS_WAITING: Final = (
    "assignment <> 1 AND EXISTS (SELECT FROM tickets t WHERE t.tenant_id = queues.tenant_id AND t.queue = queues.id"
    " AND t.owner IS NULL AND t.category IN (1, 2, 3) AND t.delete_time IS NULL)"
)
ASSIGN_WAITING: Final = Due("assign-waiting", "queues", [_HAS_WAITING], _fill, seconds=15.0)
