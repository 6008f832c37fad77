"""Generated people of a tenant, who said yes, no, or nothing; and whose addresses are to get a campaign's mail."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from typing import Any, NamedTuple

import sqlalchemy as sa

from kontor.marketing.v1.party_pb2 import Party
from kontor.marketing.v1.segment_membership_pb2 import SegmentMembership
from kontor.marketing.v1.subscription_pb2 import Subscription
from kontor.marketing.v1.suppression_pb2 import Suppression
from kontor_kit.db import Database, Statement, Transaction
from kontor_kit.ids import parse_name, uuid7
from kontor_kit.resource import Resource
from kontor_kit.store import Store
from kontor_marketing.parties.table import PARTY, party_addresses
from kontor_marketing.segments.table import SEGMENT_MEMBERSHIP
from kontor_marketing.subscriptions.table import SUBSCRIPTION
from kontor_marketing.suppressions.table import SUPPRESSION

BATCH = 500
_ADDRESS = Statement(
    party_addresses.insert().values(
        {name: sa.bindparam(name, type_=party_addresses.c[name].type) for name in ("tenant_id", "address", "party")}
    )
)
_STORES = {resource.kind: Store(resource) for resource in (PARTY, SUBSCRIPTION, SUPPRESSION, SEGMENT_MEMBERSHIP)}


class Expected(NamedTuple):
    """What must become of a campaign to them."""

    addresses: set[str]
    """Who must get the mail, and nobody else."""
    decisions: Counter[str]
    """How many recipients get which decision."""


def fill(database: Database, tenant: uuid.UUID, number: int, *, topic: str, segment: str, excluded: str) -> Expected:
    """Make so many people known, all of them in a segment, some in the excluded one too; and say what must come of it."""
    expected = Expected(set(), Counter())
    for begin in range(0, number, BATCH):
        with database.write(tenant) as tx:
            for place in range(begin, min(begin + BATCH, number)):
                _add(tx, place, topic, segment, excluded, expected)
    return expected


def _add(tx: Transaction, place: int, topic: str, segment: str, excluded: str, expected: Expected) -> None:
    kind, address, decision = place % 10, f"p{place}@example.com", "ALLOWED"
    state, complaints = Subscription.STATE_OPTED_IN, 0
    party = f"parties/{uuid7()}"
    if kind == 5:
        # Shares the address of the one before, who was known earlier.
        address, decision = f"P{place - 1}@example.com", "DUPLICATE_ADDRESS"
    elif kind == 6:
        state, decision = Subscription.STATE_OPTED_OUT, "OPTED_OUT"
    elif kind == 7:
        state, decision = Subscription.STATE_UNSET, "NOT_OPTED_IN"
    elif kind == 8:
        decision = "SUPPRESSED"
        held = {"channel": Suppression.CHANNEL_EMAIL, "reason": Suppression.REASON_BOUNCED}
        _insert(tx, SUPPRESSION, Suppression(address=address, start_time=_before(), **held))
    elif kind == 9 and place % 20 == 9:
        decision = "EXCLUDED"
        _insert(tx, SEGMENT_MEMBERSHIP, SegmentMembership(segment=excluded, party=party, enter_time=_before()))
    elif kind == 9:
        complaints, decision = 1, "OPEN_COMPLAINT"
    record = Party(contact=f"contacts/{party[8:]}", contact_version=1, display_name=f"Person {place}")
    record.given_name, record.open_complaints = f"Person {place}", complaints
    record.emails.add(address=address, primary=True)
    id = parse_name(party, PARTY.pattern, "name")
    _insert(tx, PARTY, record, id)
    tx.defer(_ADDRESS, {"tenant_id": tx.tenant_id, "address": address.lower(), "party": id})
    said = {"legal_basis": "LEGAL_BASIS_CONSENT", "state": state, "state_time": _before()}
    _insert(tx, SUBSCRIPTION, Subscription(party=party, topic=topic, **said))
    _insert(tx, SEGMENT_MEMBERSHIP, SegmentMembership(segment=segment, party=party, enter_time=_before()))
    expected.decisions[decision] += 1
    if decision == "ALLOWED":
        expected.addresses.add(address)


def _insert(tx: Transaction, resource: Resource, record: Any, id: uuid.UUID | None = None) -> None:
    values = {**resource.codec.dump(record, ""), **resource.derived(record)}
    _STORES[resource.kind].insert(tx, id or uuid7(), values, dt.datetime.now(dt.UTC))


def _before() -> dt.datetime:
    return dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
