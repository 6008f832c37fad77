"""What the tests of the service are about: contacts that others tell of, and what is said of them."""

from __future__ import annotations

import uuid
from typing import Any

from kontor.contacts.v1.account_pb2 import Account
from kontor.contacts.v1.address_status_pb2 import AddressStatus
from kontor.contacts.v1.affiliation_pb2 import Affiliation
from kontor.contacts.v1.contact_pb2 import Contact
from kontor.ticketing.v1.ticket_category_pb2 import TICKET_CATEGORY_OPEN
from kontor.ticketing.v1.ticket_pb2 import Ticket

CONTACT = "kontor.contacts.v1.contact"
ACCOUNT = "kontor.contacts.v1.account"
AFFILIATION = "kontor.contacts.v1.affiliation"
STATUS = "kontor.contacts.v1.address_status"
TICKET = "kontor.ticketing.v1.ticket"


def contact(given_name: str = "Rosa", *emails: str, **fields: Any) -> Contact:
    """Return a contact with a new name; its first address is the one to use first."""
    usual = {
        "name": f"contacts/{uuid.uuid4()}",
        "display_name": f"{given_name} Example",
        "given_name": given_name,
        "emails": [{"address": address, "primary": not place} for place, address in enumerate(emails)],
    }
    return Contact(**{**usual, **fields})


def account(**fields: Any) -> Account:
    """Return an account with a new name."""
    return Account(**{"name": f"accounts/{uuid.uuid4()}", "display_name": "Example Ltd", **fields})


def affiliation(of: Contact, to: Account, **fields: Any) -> Affiliation:
    """Return what a contact is to an account."""
    return Affiliation(**{"name": f"affiliations/{uuid.uuid4()}", "contact": of.name, "account": to.name, **fields})


def status(address: str, **fields: Any) -> AddressStatus:
    """Return what is known of an e-mail address."""
    name = f"addressStatuses/{uuid.uuid4()}"
    return AddressStatus(name=name, kind=AddressStatus.KIND_EMAIL, address=address, **fields)


def complaint(of: Contact | None = None, by: Account | None = None) -> Ticket:
    """Return a complaint that is open."""
    return Ticket(
        name=f"tickets/{uuid.uuid4()}",
        type=Ticket.TYPE_COMPLAINT,
        category=TICKET_CATEGORY_OPEN,
        requester=of.name if of else "",
        account=by.name if by else "",
    )


def party_of(contact: Contact) -> str:
    """Return the name of the party of a contact."""
    return contact.name.replace("contacts/", "parties/")


def party_id(contact: Contact) -> uuid.UUID:
    """Return the id of the party of a contact."""
    return uuid.UUID(contact.name.rpartition("/")[2])
