"""The gRPC service of parties, and how they follow what others tell."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from google.protobuf.message import Message

from kontor.marketing.v1 import party_service_pb2, suppression_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Transaction
from kontor_kit.ids import parse_name
from kontor_kit.methods import ResourceServicer
from kontor_kit.principals import Scope
from kontor_kit.shared import Shared
from kontor_kit.store import is_live
from kontor_kit.tracing import Trace
from kontor_marketing.parties import known, rules
from kontor_marketing.parties.table import PARTY, mark_addresses

BATCH: Final = 200
_BY_EMAIL: Final = (suppression_pb2.Suppression.CHANNEL_EMAIL, suppression_pb2.Suppression.CHANNEL_ALL)

Follow = Callable[[Transaction, Trace, Sequence[uuid.UUID]], None]
"""What is done about parties that changed; they are locked."""
Suppress = Callable[[Transaction, Call, Any], Any]
"""Stores a new suppression and returns it."""


class Parties(ResourceServicer):
    """Serves parties; `followers` are told of those that changed, `suppress` stores that one opted out."""

    SERVICE = party_service_pb2.DESCRIPTOR.services_by_name["PartyService"]
    RESOURCE = PARTY

    def __init__(self, shared: Shared, suppress: Suppress, followers: Sequence[Follow] = ()) -> None:
        super().__init__(shared)
        self._suppress = suppress
        self._followers = followers

    def decorate(self, tx: Transaction, records: Sequence[Any]) -> None:
        """Tell what is known of the addresses."""
        mark_addresses(tx, records)

    def opt_out_party(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Store that a party wants to hear nothing more."""
        self.require_readable(tx, call, request.name, "name")
        party = self.store.get_one(tx, self.reach(call), parse_name(request.name, PARTY.pattern, "name"))
        channel = request.channel or suppression_pb2.Suppression.CHANNEL_ALL
        # Calls and letters go to no e-mail address.
        emails = party.emails if party is not None and channel in _BY_EMAIL else ()
        address = request.address or (emails[0].address if emails else "")
        return self._suppress(
            tx,
            call,
            suppression_pb2.Suppression(
                party=request.name,
                address=address,
                channel=channel,
                reason=suppression_pb2.Suppression.REASON_UNSUBSCRIBED,
                note=request.note,
            ),
        )

    # What the service does as others tell it.

    def follow_contact(self, tx: Transaction, trace: Trace, contact: Any, version: int) -> None:
        """Make the party of a contact what `version` of it says, unless what it says is newer."""
        id = parse_name(contact.name, "contacts/{contact}", "name")
        known.take_turns(tx, id)
        call = self.own_call(tx, trace)
        locked = self.store.lock(tx, self.reach(call), Scope.ALL, [id]).get(id)
        after: Any = PARTY.message()
        if locked is not None:
            if locked.message.contact_version > version:
                return
            after.CopyFrom(locked.message)
        rules.follow_contact(after, contact, version)
        rules.follow_around(after, known.around(tx, [id], _today())[id])
        if locked is None:
            self._add(tx, id, after)
        elif after != locked.message:
            self.put(tx, call, locked, after, "updated")
        gone = contact.delete_time.ToDatetime(dt.UTC) if not is_live(contact) else None
        self.store.update(tx, id, {"delete_time": gone})
        addresses = {rules.address_key(email.address) for email in after.emails}
        known.list_addresses(tx, id, addresses if gone is None else set())
        self._tell(tx, trace, [id])

    def follow_around(self, tx: Transaction, trace: Trace, ids: Collection[uuid.UUID]) -> None:
        """Make parties what is known around their contacts by now."""
        ids = sorted(ids)
        call = self.own_call(tx, trace)
        for begin in range(0, len(ids), BATCH):
            locked = self.store.lock(tx, self.reach(call), Scope.ALL, ids[begin : begin + BATCH])
            found = known.around(tx, list(locked), _today())
            changed = []
            for id, one in locked.items():
                after = PARTY.message()
                after.CopyFrom(one.message)
                rules.follow_around(after, found[id])
                if after != one.message:
                    self.put(tx, call, one, after, "updated")
                    changed.append(id)
            if changed:
                self._tell(tx, trace, changed)

    def _add(self, tx: Transaction, id: uuid.UUID, party: Any) -> None:
        self.store.insert(tx, id, {**PARTY.codec.dump(party, ""), **PARTY.derived(party)}, dt.datetime.now(dt.UTC))
        self.store.add_terms(tx, id, self._field_terms(tx, party))

    def _tell(self, tx: Transaction, trace: Trace, ids: Sequence[uuid.UUID]) -> None:
        for follow in self._followers:
            follow(tx, trace, ids)

    def record(
        self, tx: Transaction, call: Call, event: str, *, before: Message | None, after: Message, version: int
    ) -> None:
        """Write down nothing: what happens to contacts stands in the log of contacts."""


def _today() -> dt.date:
    return dt.datetime.now(dt.UTC).date()
