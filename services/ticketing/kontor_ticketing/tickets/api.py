"""The gRPC service of tickets."""

import datetime as dt
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from kontor.ticketing.v1 import ticket_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import FailedPrecondition, InvalidArgument
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name
from kontor_kit.methods import ResourceServicer
from kontor_kit.shared import Shared
from kontor_kit.store import Locked, is_live
from kontor_ticketing.priority_matrices.table import PRIORITY_MATRIX, priority_matrices
from kontor_ticketing.ticket_states.rules import CLOSED, LIVE, NEW, SOLVED
from kontor_ticketing.ticket_states.table import TICKET_STATE, ticket_states
from kontor_ticketing.tickets import rules
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
        priority_matrices.c.tenant_id == TENANT, priority_matrices.c.delete_time.is_(None)
    )
)


class Tickets(ResourceServicer):
    """Serves tickets; `standard_state` says where those go that come into a category without naming a state."""

    SERVICE = ticket_service_pb2.DESCRIPTOR.services_by_name["TicketService"]
    RESOURCE = TICKET

    def __init__(self, shared: Shared, standard_state: StandardState) -> None:
        super().__init__(shared)
        self._standard_state = standard_state
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
        category = self._category(tx, call, before, after)
        if not after.priority_override_reason:
            asked = (before.impact, before.urgency) if before is not None else None
            overridden = before is not None and before.priority_override_reason
            if overridden or asked != (after.impact, after.urgency):
                after.priority = rules.priority(self._cells(tx), after.impact, after.urgency)
        rules.enter(after, category, dt.datetime.now(dt.UTC))

    def put(self, tx: Transaction, call: Call, locked: Locked, after: Any, event: str) -> Any:
        """Store a changed ticket; the event says what happened."""
        return super().put(tx, call, locked, after, rules.event(locked.message, after) if event == "updated" else event)

    def default_owner(self, call: Call, record: Any) -> str:
        """Leave what comes into a queue to the queue."""
        return "" if record.queue else super().default_owner(call, record)

    # Its way.

    def solve_ticket(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Solve a ticket."""

        def solve(after: Any) -> str:
            if after.category not in LIVE:
                raise FailedPrecondition("the ticket is solved or closed", reason="TICKET_NOT_OPEN")
            after.solution = request.solution
            self._go(tx, call, after, SOLVED, request.state)
            return "solved"

        return self._change(request, call, tx, solve)

    def close_ticket(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Close a ticket."""

        def close(after: Any) -> str:
            self._go(tx, call, after, CLOSED, request.state)
            return "closed"

        return self._change(request, call, tx, close)

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

    # Parts.

    def _change(self, request: Any, call: Call, tx: Transaction, change: Callable[[Any], str]) -> Any:
        """Change a ticket; `change` returns the event."""
        locked = self.lock(tx, call, request.name)
        self.check_etag(call, locked, request.etag)
        after = type(locked.message)()
        after.CopyFrom(locked.message)
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
            allowed = {after.category}
        else:
            allowed = LIVE if before is None or before.category in LIVE else {before.category}
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
