"""The gRPC service of ticket entries."""

import datetime as dt
from collections.abc import Callable
from typing import Any

from kontor.ticketing.v1 import ticket_entry_service_pb2
from kontor_kit.calls import Call
from kontor_kit.checks import at
from kontor_kit.db import Transaction
from kontor_kit.errors import InvalidArgument, Violation
from kontor_kit.ids import parse_name
from kontor_kit.methods import ResourceServicer
from kontor_kit.records import Records, principal_of
from kontor_kit.shared import Shared
from kontor_kit.store import Reach
from kontor_ticketing.ticket_entries import rules
from kontor_ticketing.ticket_entries.table import TICKET_ENTRY

Receive = Callable[[Transaction, Call, Any, str], Any]
"""Lets a ticket go where an entry leads, and into a state where one is named; returns the entry's ticket."""


class TicketEntries(ResourceServicer):
    """Serves what was said about tickets."""

    SERVICE = ticket_entry_service_pb2.DESCRIPTOR.services_by_name["TicketEntryService"]
    RESOURCE = TICKET_ENTRY

    def __init__(self, shared: Shared, receive: Receive, attachments: Records) -> None:
        super().__init__(shared)
        self._receive = receive
        self._attachments = attachments

    def create(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Add an entry to a ticket, which goes where that leads."""
        entry = request.ticket_entry
        with at("ticket_entry"):
            if violations := rules.normalise(entry):
                raise InvalidArgument(*violations)
        if request.state and entry.direction == rules.FROM_REQUESTER:
            raise InvalidArgument(("state", "must be empty: where the requester's word leads is for the ticket to say"))
        ticket = self._receive(tx, call, entry, request.state)
        with at("ticket_entry"):
            self._attach(tx, call, entry, ticket.name)
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

    def _attach(self, tx: Transaction, call: Call, entry: Any, ticket: str) -> None:
        """See that the attachments are those of the ticket that the entry names, and have them where the entry goes."""
        records, principal = self._attachments, principal_of(call)
        paths = {name: f"attachments[{place}]" for place, name in enumerate(entry.attachments)}
        ids = {name: parse_name(name, records.RESOURCE.pattern, path) for name, path in paths.items()}
        scope = records.read_scope(principal)
        found = records.store.lock(tx, Reach(principal, scope), scope, list(ids.values())) if ids and scope else {}
        violations = [
            Violation(path, problem)
            for name, path in paths.items()
            if (problem := rules.unfit(entry, found[ids[name]].message if ids[name] in found else None))
        ]
        if violations:
            raise InvalidArgument(*violations)
        for locked in found.values() if ticket != entry.ticket else ():
            after = type(locked.message)()
            after.CopyFrom(locked.message)
            after.ticket = ticket
            records.put(tx, call, locked, after, "moved")
