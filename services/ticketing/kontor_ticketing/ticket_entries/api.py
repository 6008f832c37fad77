"""The gRPC service of ticket entries."""

import datetime as dt
from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa

from kontor.ticketing.v1 import ticket_entry_service_pb2
from kontor_kit.calls import Call
from kontor_kit.checks import at
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import InvalidArgument
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name
from kontor_kit.methods import ResourceServicer
from kontor_kit.principals import Principal, Scope
from kontor_kit.records import principal_of
from kontor_kit.shared import Shared
from kontor_kit.store import Reach
from kontor_ticketing.ticket_entries import rules
from kontor_ticketing.ticket_entries.table import TICKET_ENTRY, ticket_entries
from kontor_ticketing.tickets.table import TICKET

Receive = Callable[[Transaction, Call, Any, str], Any]
"""Lets a ticket go where an entry leads, and into a state where one is named; returns the entry's ticket."""

_OF_TICKET: Final = Statement(
    sa.select(ticket_entries.c.id).where(
        ticket_entries.c.tenant_id == TENANT, ticket_entries.c.ticket == sa.bindparam("ticket", type_=sa.Uuid)
    )
)


class TicketEntries(ResourceServicer):
    """Serves what was said about tickets."""

    SERVICE = ticket_entry_service_pb2.DESCRIPTOR.services_by_name["TicketEntryService"]
    RESOURCE = TICKET_ENTRY

    def __init__(self, shared: Shared, receive: Receive) -> None:
        super().__init__(shared)
        self._receive = receive

    def create(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Add an entry to a ticket, which goes where that leads."""
        entry = request.ticket_entry
        with at("ticket_entry"):
            if violations := rules.normalise(entry):
                raise InvalidArgument(*violations)
        if request.state and entry.direction == rules.FROM_REQUESTER:
            raise InvalidArgument(("state", "must be empty: where the requester's word leads is for the ticket to say"))
        ticket = self._receive(tx, call, entry, request.state)
        entry.ticket = ticket.name
        if entry.direction == rules.FROM_REQUESTER:
            entry.contact = entry.contact or ticket.requester
        entry.author = principal_of(call).subject
        return super().create(request, call, tx)

    def redact_ticket_entry(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Take out what was said."""
        locked = self.lock(tx, call, request.name)
        self.check_etag(call, locked, request.etag)
        if locked.message.HasField("redact_time"):
            return self.shown(tx, call, locked.message)
        after = type(locked.message)()
        after.CopyFrom(locked.message)
        after.body = ""
        after.redact_time.FromDatetime(dt.datetime.now(dt.UTC))
        return self.shown(tx, call, self.put(tx, call, locked, after, "redacted"))

    def move(self, tx: Transaction, call: Call, source: str, target: str) -> None:
        """Move all entries of a ticket to another one."""
        ticket = parse_name(source, TICKET.pattern, "ticket")
        ids = [row[0] for row in tx.run(_OF_TICKET, {"tenant": tx.tenant_id, "ticket": ticket})]
        assert tx.tenant_id is not None, "a ticket belongs to a tenant"
        # Internal ones too, whoever merges.
        everything = Reach(Principal.of_service("ticketing", tx.tenant_id), Scope.ALL)
        for locked in self.store.lock(tx, everything, Scope.ALL, ids).values():
            after = type(locked.message)()
            after.CopyFrom(locked.message)
            after.ticket = target
            self.put(tx, call, locked, after, "moved")
