"""What the tests of lead offers need often: leads that sales knows, and what became of them."""

from __future__ import annotations

from kontor.sales.v1 import lead_pb2
from kontor_kit.ids import uuid7

AMOUNT = {"currency_code": "EUR", "units": 5000}
ANSWER = {"next_step": "Call them", "expected_amount": AMOUNT}
"""What accepting an offer needs."""


def known_lead(peer, **fields):
    """Return a lead that sales knows, which `peer` stands for."""
    usual = {
        "company": "Acme",
        "region_code": "CH",
        "industry": "Machines",
        "given_name": "Rosa",
        "email": "rosa@acme.example",
        "description": "Please ring 044 000 00 00",
        "etag": "v1",
    }
    record = lead_pb2.Lead(name=f"leads/{uuid7()}", **{**usual, **fields})
    peer.records[record.name] = record.SerializeToString()
    return record


def offers(caller, lead) -> list:
    """Return the offers of a lead, the first one first."""
    return list(caller("ListLeadOffers", filter=f'lead = "{lead.name}"').lead_offers)


def states(caller, lead) -> list[tuple[str, int]]:
    """Return to whom a lead was offered, and what became of it."""
    return [(offer.partner, offer.state) for offer in offers(caller, lead)]
