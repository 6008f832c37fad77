"""The gRPC service of ticket states."""

from typing import Any

import sqlalchemy as sa

from kontor.ticketing.v1 import ticket_state_pb2, ticket_state_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import FailedPrecondition, InvalidArgument
from kontor_kit.filter_sql import TENANT
from kontor_kit.folding import fold
from kontor_kit.ids import format_name, parse_name
from kontor_kit.marks import Mark
from kontor_kit.methods import ResourceServicer
from kontor_ticketing.ticket_states import rules
from kontor_ticketing.ticket_states.table import TICKET_STATE, ticket_states
from kontor_ticketing.tickets.table import tickets

_ITS = ticket_states.c.tenant_id == TENANT
_LIVE = ticket_states.c.delete_time.is_(None)

_FIRST = Statement(
    sa.select(ticket_states.c.id)
    .where(_ITS, _LIVE, ticket_states.c.category == sa.bindparam("category", type_=sa.SmallInteger))
    .order_by(ticket_states.c.standard.desc(), ticket_states.c.order, ticket_states.c.id)
    .limit(1)
)
_STANDARD = Mark(TICKET_STATE, "standard", among="category")
_KNOWN = Statement(sa.select(ticket_states.c.category, ticket_states.c.display_name_key).where(_ITS, _LIVE))
# Deleted tickets too: they can come back.
_USED = Statement(
    sa.select(tickets.c.id)
    .where(tickets.c.tenant_id == TENANT, tickets.c.state == sa.bindparam("state", type_=sa.Uuid))
    .order_by(tickets.c.state, tickets.c.id)
    .limit(1)
)


class TicketStates(ResourceServicer):
    """Serves ticket states."""

    SERVICE = ticket_state_service_pb2.DESCRIPTOR.services_by_name["TicketStateService"]
    RESOURCE = TICKET_STATE

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Keep what is in use, and let one state of each category at most be the standard one."""
        if not after.display_name.strip():
            raise InvalidArgument(("display_name", "must not be blank"))
        if before is not None and before.category != after.category:
            self._refuse_if_used(tx, after.name, "cannot change its category")
        _STANDARD.take(self, tx, call, before, after)

    def delete(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Delete a state that no ticket is in."""
        # Locked before tickets are looked for, so that none comes meanwhile.
        self.lock(tx, call, request.name, live=False)
        self._refuse_if_used(tx, request.name, "cannot be deleted")
        return super().delete(request, call, tx)

    def standard(self, tx: Transaction, call: Call, category: int) -> str:
        """Return the name of the state for tickets that come into a category; the tenant gets one where it has none."""
        found = tx.run(_FIRST, {"tenant": tx.tenant_id, "category": category})
        if not found:
            self._complete(tx, call)
            found = tx.run(_FIRST, {"tenant": tx.tenant_id, "category": category})
        return format_name(TICKET_STATE.collection, found[0][0])

    def _complete(self, tx: Transaction, call: Call) -> None:
        """Create a state for each category without any."""
        self.shared.requests.serialise(tx, "ticketStates/standard")
        known = tx.run(_KNOWN, {"tenant": tx.tenant_id})
        categories, names = {row[0] for row in known}, {row[1] for row in known}
        # Whoever may create a ticket need not have the right to create states: the service does it.
        own = self.own_call(tx, call.trace)
        for category, display_name in rules.USUAL.items():
            if category not in categories:
                free = rules.free_name(display_name, lambda text: fold(text) not in names)
                fields: dict[str, Any] = {"display_name": free, "category": category, "order": 10 * category}
                self.new(tx, own, ticket_state_pb2.TicketState(**fields, standard=True))

    @staticmethod
    def _refuse_if_used(tx: Transaction, name: str, problem: str) -> None:
        state = parse_name(name, TICKET_STATE.pattern, "name")
        if tx.run(_USED, {"tenant": tx.tenant_id, "state": state}):
            raise FailedPrecondition(f"the state {problem}: there are tickets in it", reason="STATE_IN_USE")
