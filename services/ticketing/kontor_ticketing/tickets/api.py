"""The gRPC service of tickets."""

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from kontor.ticketing.v1 import ticket_service_pb2
from kontor_kit import filters
from kontor_kit.calls import Call
from kontor_kit.checks import at
from kontor_kit.db import Statement, Transaction
from kontor_kit.due import Due
from kontor_kit.errors import FailedPrecondition, InvalidArgument
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name
from kontor_kit.methods import ResourceServicer
from kontor_kit.operations.work import Work
from kontor_kit.records import principal_of
from kontor_kit.shared import Shared
from kontor_kit.store import Locked, Page, Store, is_live
from kontor_kit.tracing import Trace
from kontor_ticketing.articles.table import ARTICLE
from kontor_ticketing.priority_matrices.table import PRIORITY_MATRIX, priority_matrices
from kontor_ticketing.queues.rules import can_reopen
from kontor_ticketing.queues.table import QUEUE
from kontor_ticketing.ticket_entries import rules as entries
from kontor_ticketing.ticket_states.rules import CLOSED, LIVE, NEW, OPEN, SOLVED
from kontor_ticketing.ticket_states.table import TICKET_STATE, ticket_states
from kontor_ticketing.tickets import rules
from kontor_ticketing.tickets.assigning import Assigning
from kontor_ticketing.tickets.belongings import Belongings
from kontor_ticketing.tickets.clocks import Clocks
from kontor_ticketing.tickets.reapplying import reapply
from kontor_ticketing.tickets.table import TICKET

StandardState = Callable[[Transaction, Call, int], str]
"""Returns the name of the state for tickets that come into a category."""

_NUMBER: Final = Statement(
    sa.text(
        "INSERT INTO ticket_numbers (tenant_id, last) VALUES (:tenant, 1)"
        " ON CONFLICT (tenant_id) DO UPDATE SET last = ticket_numbers.last + 1 RETURNING last"
    ).bindparams(sa.bindparam("tenant", type_=sa.Uuid))
)
# A state must not change before the transaction ends: what is checked against it goes into it.
_STATE: Final = Statement(
    sa.select(*TICKET_STATE.codec.columns())
    .where(ticket_states.c.tenant_id == TENANT, ticket_states.c.id == sa.bindparam("id", type_=sa.Uuid))
    .with_for_update(read=True)
)
_MATRIX: Final = Statement(
    sa.select(*PRIORITY_MATRIX.codec.columns()).where(
        priority_matrices.c.tenant_id == TENANT, priority_matrices.c.standard, priority_matrices.c.delete_time.is_(None)
    )
)


class Tickets(ResourceServicer):
    """Serves tickets; `standard_state` says where those go that come into a category without naming a state."""

    SERVICE = ticket_service_pb2.DESCRIPTOR.services_by_name["TicketService"]
    RESOURCE = TICKET

    def __init__(self, shared: Shared, standard_state: StandardState) -> None:
        super().__init__(shared)
        self._standard_state = standard_state
        self.assigning = Assigning(self)
        self._clocks = Clocks()
        self.belongings = Belongings()
        self._articles = Store(ARTICLE)
        self._queues = Store(QUEUE)
        # What one transaction looked up, so that the rows of a batch ask for it once.
        self._looked_up: WeakKeyDictionary[Transaction, dict[str, Any]] = WeakKeyDictionary()

    # What is stored.

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the ticket into form, see that it may stand where it is to stand, and write what follows."""
        if before is not None and before.category == CLOSED and is_live(before):
            raise FailedPrecondition("the ticket is closed, and stays as it is", reason="TICKET_CLOSED")
        if before is None:
            # First of all, so that whoever creates tickets waits for others here, and nowhere holding what they need.
            after.number = f"T{tx.run(_NUMBER, {'tenant': tx.tenant_id})[0][0]:06d}"
        if violations := rules.normalise(after):
            raise InvalidArgument(*violations)
        if after.queue and (before is None or before.queue != after.queue):
            self.referred(tx, call, self._queues, after.queue, "queue")
        category = self._category(tx, call, before, after)
        if not after.priority_override_reason:
            asked = (before.impact, before.urgency) if before is not None else None
            overridden = before is not None and before.priority_override_reason
            if overridden or asked != (after.impact, after.urgency):
                after.priority = rules.priority(self._cells(tx), after.impact, after.urgency)
        rules.enter(after, category, dt.datetime.now(dt.UTC))
        self._clocks.follow(tx, before, after, dt.datetime.now(dt.UTC))

    def new(self, tx: Transaction, call: Call, record: Any, *args: Any, **options: Any) -> Any:
        """Store a new ticket, and let its queue give it to somebody."""
        ticket = super().new(tx, call, record, *args, **options)
        return self.assigning.settle(tx, call, Locked(ticket, parse_name(ticket.name, TICKET.pattern, "name"), 1, True))

    def put(self, tx: Transaction, call: Call, locked: Locked, after: Any, event: str) -> Any:
        """Store a changed ticket; the event says what happened. What comes into a queue is given to somebody."""
        before = locked.message
        if after.assignment.assignee != after.owner:
            after.ClearField("assignment")
        ticket = super().put(tx, call, locked, after, rules.event(before, after) if event == "updated" else event)
        if before.queue == ticket.queue and (before.category in LIVE) == (ticket.category in LIVE):
            return ticket
        return self.assigning.settle(tx, call, locked._replace(message=ticket, version=locked.version + 1))

    def predecessor(self, tx: Transaction, call: Call, record: Any) -> Any | None:
        """Return the ticket before, where this one takes its place; callers cannot name one."""
        if not record.previous_ticket:
            return None
        id = parse_name(record.previous_ticket, TICKET.pattern, "previous_ticket")
        return self.store.get_one(tx, self.reach(self.own_call(tx, call.trace)), id, ("custom_fields",))

    def default_owner(self, call: Call, record: Any) -> str:
        """Leave what comes into a queue to the queue."""
        return "" if record.queue else super().default_owner(call, record)

    # Its way.

    def assign_ticket(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Give a ticket to somebody."""
        return self._change(request, call, tx, lambda after: self.assigning.assign(tx, call, request, after))

    def release_ticket(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Take a ticket from somebody; who gives away their own may, although it is nobody's then."""
        locked = self.lock(tx, call, request.name)
        self.check_etag(call, locked, request.etag)
        self.assigning.release(call, after := _copy(locked.message))
        return self.shown(tx, call, self.put(tx, call, locked, after, "released"))

    def solve_ticket(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Solve a ticket."""
        if request.article:
            self.referred(tx, call, self._articles, request.article, "article")

        def solve(after: Any) -> str:
            if after.category not in LIVE:
                raise FailedPrecondition("the ticket is solved or closed", reason="TICKET_NOT_OPEN")
            after.solution, after.article = request.solution, request.article
            self._go(tx, call, after, SOLVED, request.state)
            return "solved"

        return self._change(request, call, tx, solve)

    def reopen_ticket(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Open a ticket again, or make one that takes its place."""
        locked = self.lock(tx, call, request.name)
        self.check_etag(call, locked, request.etag)
        if locked.message.merged_into:
            raise FailedPrecondition(
                f"the ticket was merged into {locked.message.merged_into}",
                reason="TICKET_MERGED",
                metadata={"ticket": locked.message.merged_into},
            )
        if locked.message.category in LIVE:
            raise FailedPrecondition("the ticket is not solved", reason="TICKET_OPEN")
        return self.shown(tx, call, self._go_on(tx, call, locked, _copy(locked.message)))

    def close_ticket(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Close a ticket."""

        def close(after: Any) -> str:
            self._go(tx, call, after, CLOSED, request.state)
            return "closed"

        return self._change(request, call, tx, close)

    def merge_ticket(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Close a ticket in favour of another one."""
        if request.into == request.name:
            raise InvalidArgument(("into", "must be another ticket"))
        fields = {request.name: "name", request.into: "into"}
        # In one order, whoever merges what into what.
        locked = {name: self.lock(tx, call, name, fields[name]) for name in sorted(fields)}
        self.check_etag(call, locked[request.name], request.etag)
        target = locked[request.into].message
        if target.category == CLOSED:
            raise FailedPrecondition(f"{target.name} is closed", reason="TICKET_CLOSED")
        after = _copy(locked[request.name].message)
        if not rules.belong_together(after, target):
            raise FailedPrecondition("the tickets are of different accounts", reason="DIFFERENT_ACCOUNTS")
        after.merged_into = target.name
        self._go(tx, call, after, CLOSED)
        merged = self.save(tx, call, locked[request.name], after, "merged")
        self.belongings.move(tx, call, merged.name, target.name)
        return self.shown(tx, call, merged)

    def override_ticket_priority(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Give a ticket another priority."""
        if not request.reason.strip():
            raise InvalidArgument(("reason", "must not be blank"))

        def override(after: Any) -> str:
            after.priority, after.priority_override_reason = request.priority, request.reason
            return "priority_overridden"

        return self._change(request, call, tx, override)

    def clear_ticket_priority(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Let the matrix say the priority."""

        def clear(after: Any) -> str:
            after.priority_override_reason = ""
            return "priority_changed"

        return self._change(request, call, tx, clear)

    def explain_deadline(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Tell how a deadline of a ticket comes about."""
        ticket = self.store.get_one(tx, self.reach(call), parse_name(request.name, TICKET.pattern, "name"))
        if ticket is None:
            raise self.not_found(request.name)
        return self._clocks.explain(tx, ticket, request, dt.datetime.now(dt.UTC))

    # For others of the service.

    def pass_time(self, tx: Transaction, trace: Trace, id: uuid.UUID, now: dt.datetime) -> None:
        """Tell of deadlines of a ticket that come soon or are missed, each once."""
        call = self.own_call(tx, trace)
        locked = self.store.lock(tx, self.reach(call), self.scope(call), [id]).get(id)
        if locked is None or not is_live(locked.message) or locked.message.category == CLOSED:
            return
        while event := self._clocks.tell(tx, after := _copy(locked.message), now):
            self.put(tx, call, locked, after, event)
            locked = locked._replace(message=after, version=locked.version + 1)

    def reapply(self, work: Work) -> Any:
        """Promise tickets anew what a policy says now."""
        return reapply(self, self._clocks, work)

    def receive(self, tx: Transaction, call: Call, entry: Any, state: str) -> Any:
        """Let a ticket go where a new entry leads, and into `state` where that is said; return the entry's ticket.

        That is another one than the entry names where the requester goes on with what does not open again.
        """
        known = self.referred(tx, call, self.store, entry.ticket, "ticket_entry.ticket")
        # To see a ticket is not enough: who adds to it changes it.
        TICKET.scope.check(principal_of(call), self.scope(call), known)
        if state:
            TICKET.scope.check(principal_of(call), self.scope(call, "ticketing.tickets.update"), known)
        locked = self._lock_own(tx, call, entry.ticket)
        from_requester, public = entry.direction == entries.FROM_REQUESTER, entry.visibility == entries.PUBLIC
        while from_requester and (other := locked.message.merged_into or self._follow_up(tx, call, locked.message)):
            locked = self._lock_own(tx, call, other)
        after = _copy(locked.message)
        if after.category == CLOSED and not from_requester:
            if public or state:
                raise FailedPrecondition("the ticket is closed, and stays as it is", reason="TICKET_CLOSED")
            return after
        if public and not from_requester and not after.HasField("first_answer_time"):
            after.first_answer_time.FromDatetime(dt.datetime.now(dt.UTC))
        category = rules.after_entry(after.category, from_requester=from_requester, public=public)
        if after.category not in LIVE and category in LIVE:
            return self._go_on(tx, call, locked, after)
        if state:
            after.state = state
            if after.category in LIVE and self._state(tx, state).category == SOLVED:
                after.category = SOLVED
        elif category != after.category:
            self._go(tx, call, after, category)
        return self.save(tx, call, locked, after, "updated")

    # Parts.

    def _lock_own(self, tx: Transaction, call: Call, name: str) -> Locked:
        """Lock a ticket for what follows from something else, whoever reaches it."""
        return self.lock(tx, self.own_call(tx, call.trace), name)

    def _follow_up(self, tx: Transaction, call: Call, ticket: Any) -> str:
        """Return the name of the ticket that took the place of one; nothing where none did."""
        if ticket.category in LIVE:
            return ""
        # One that was merged may have gone back into this ticket.
        node = filters.parse(f"previous_ticket = {ticket.name} AND NOT merged_into:*")
        wanted = Page(size=1, node=node, descending=True)
        found, _ = self.store.page(tx, self.reach(self.own_call(tx, call.trace)), wanted)
        return str(found[0].name) if found else ""

    def _go_on(self, tx: Transaction, call: Call, locked: Locked, after: Any) -> Any:
        """Open a ticket that is solved or closed again, or store one that takes its place; return what goes on."""
        own = self.own_call(tx, call.trace)
        id = parse_name(after.queue, QUEUE.pattern, "queue") if after.queue else None
        queue = self._queues.get_one(tx, self.reach(own), id) if id else None
        if after.category == SOLVED and can_reopen(
            queue, after.solved_time.ToDatetime(dt.UTC), dt.datetime.now(dt.UTC)
        ):
            self._go(tx, call, after, OPEN)
            return self.save(tx, call, locked, after, "updated")
        last = _copy(locked.message)
        if queue is None or not is_live(queue):
            last.queue = ""
        following = rules.follow_up(last)
        following.owner = following.owner or self.default_owner(call, following)
        with at("ticket"):
            # The queue's rules want it, whoever asks and whatever they may see of what the ticket is about.
            return self.new(tx, own, following)

    def _change(self, request: Any, call: Call, tx: Transaction, change: Callable[[Any], str]) -> Any:
        """Change a ticket; `change` returns the event."""
        locked = self.lock(tx, call, request.name)
        self.check_etag(call, locked, request.etag)
        after = _copy(locked.message)
        event = change(after)
        return self.shown(tx, call, self.save(tx, call, locked, after, event))

    def _go(self, tx: Transaction, call: Call, ticket: Any, category: int, state: str = "") -> None:
        """Let a ticket come into a category, and a state of it; what `prepare` sees of it."""
        ticket.category = category
        ticket.state = state or self._standard_state(tx, call, category)

    def _category(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> int:
        """Return what the state means where the ticket may come into it.

        Methods that lead somewhere have written the category; others leave it as it was, and may go on among what is
        still to be dealt with.
        """
        if before is not None and before.state == after.state and before.category == after.category:
            return int(after.category)
        after.state = after.state or self._standard_state(tx, call, before.category if before else NEW)
        category = int(self._state(tx, after.state).category)
        if before is not None and before.category != after.category:
            allowed = frozenset([after.category])
        else:
            allowed = LIVE if before is None or before.category in LIVE else frozenset([before.category])
        if category not in allowed:
            raise InvalidArgument(
                ("state", "is for another category: :solve, :close and :reopen lead to and from those")
            )
        return category

    def _state(self, tx: Transaction, name: str) -> Any:
        known = self._looked_up.setdefault(tx, {})
        if name not in known:
            id = parse_name(name, TICKET_STATE.pattern, "state")
            rows = tx.run(_STATE, {"tenant": tx.tenant_id, "id": id})
            state = TICKET_STATE.codec.loader()(rows[0]) if rows else None
            if state is None or not is_live(state):
                raise InvalidArgument(("state", f"there is no {name}"))
            known[name] = state
        return known[name]

    def _cells(self, tx: Transaction) -> Any:
        known = self._looked_up.setdefault(tx, {})
        if "cells" not in known:
            rows = tx.run(_MATRIX, {"tenant": tx.tenant_id})
            known["cells"] = PRIORITY_MATRIX.codec.loader()(rows[0]).cells if rows else ()
        return known["cells"]


def _copy(ticket: Any) -> Any:
    copy = type(ticket)()
    copy.CopyFrom(ticket)
    return copy


def _pass_time(records: Any, tx: Transaction, trace: Trace, id: uuid.UUID, now: dt.datetime) -> None:
    records["tickets"].pass_time(tx, trace, id, now)


TELL_DEADLINES = Due("tell-deadlines", "tickets", ["next_due_time <= :now"], _pass_time, seconds=15.0)
