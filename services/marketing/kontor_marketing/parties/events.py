"""What happens to parties when something happens elsewhere: they follow it, a snapshot included."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any, Final

from kontor.contacts.v1 import account_pb2, address_status_pb2, affiliation_pb2, contact_pb2
from kontor.ticketing.v1 import ticket_category_pb2, ticket_pb2
from kontor_kit.db import Transaction
from kontor_kit.due import Due
from kontor_kit.ids import parse_name
from kontor_kit.inbox.events import Event, Handlers
from kontor_kit.inbox.handling import Work
from kontor_kit.store import is_live
from kontor_kit.tracing import Trace
from kontor_marketing.parties import known, rules
from kontor_marketing.parties.table import known_accounts, known_affiliations, known_statuses, known_tickets

_DONE: Final = (ticket_category_pb2.TICKET_CATEGORY_SOLVED, ticket_category_pb2.TICKET_CATEGORY_CLOSED)


def declare(handlers: Handlers) -> None:
    """Declare the handlers of parties."""
    handlers.on("kontor.contacts.v1.contact.*")(follow_contact)
    handlers.on("kontor.contacts.v1.account.*")(follow_account)
    handlers.on("kontor.contacts.v1.affiliation.*")(follow_affiliation)
    handlers.on("kontor.contacts.v1.address_status.*")(follow_address_status)
    # Without a service desk nobody complains.
    handlers.on("kontor.ticketing.v1.ticket.*", optional=True)(follow_ticket)


def follow_contact(event: Event, work: Work) -> None:
    """A party is what its contact says."""
    contact: Any = event.record(contact_pb2.Contact())
    contact.name = event.resource_name
    work.service["parties"].follow_contact(work.tx, work.trace, contact, event.version)


def follow_account(event: Event, work: Work) -> None:
    """Parties know the organisation to think of first."""
    account: Any = event.record(account_pb2.Account())
    id = parse_name(event.resource_name, "accounts/{account}", "account")
    values = {
        "account": id,
        "version": event.version,
        "live": is_live(account),
        "display_name": account.display_name or None,
        "industry": account.industry or None,
        "tier": account.tier,
        "roles": list(account.roles) or None,
        "country": rules.country_of(account) or None,
    }
    if known.keep(work.tx, known_accounts, values)[1]:
        known.take_turns(work.tx)
        work.service["parties"].follow_around(work.tx, work.trace, known.affiliated(work.tx, id))


def follow_affiliation(event: Event, work: Work) -> None:
    """Which organisation to think of first follows from the affiliations."""
    affiliation: Any = event.record(affiliation_pb2.Affiliation())
    contact = parse_name(affiliation.contact, "contacts/{contact}", "contact")
    day = affiliation.valid_to
    values = {
        "affiliation": parse_name(event.resource_name, "affiliations/{affiliation}", "affiliation"),
        "version": event.version,
        "live": is_live(affiliation),
        "contact": contact,
        "account": parse_name(affiliation.account, "accounts/{account}", "account"),
        "primary": affiliation.primary,
        "valid_to": dt.date(day.year, day.month, day.day) if affiliation.HasField("valid_to") else None,
    }
    known.take_turns(work.tx, contact)
    if known.keep(work.tx, known_affiliations, values)[1]:
        work.service["parties"].follow_around(work.tx, work.trace, [contact])


def follow_address_status(event: Event, work: Work) -> None:
    """What is known of an address holds for every party that has it; it is looked up, so that there is no more to do."""
    status: Any = event.record(address_status_pb2.AddressStatus())
    values = {
        "status": parse_name(event.resource_name, "addressStatuses/{address_status}", "status"),
        "version": event.version,
        "live": is_live(status),
        "address": rules.address_key(status.address),
        "invalid": status.invalid,
        "opted_out": status.opted_out,
    }
    known.keep(work.tx, known_statuses, values)


def follow_ticket(event: Event, work: Work) -> None:
    """Complaints count for who complains and for all of the account, until they are solved."""
    ticket: Any = event.record(ticket_pb2.Ticket())
    complains = ticket.type == ticket.TYPE_COMPLAINT and ticket.category not in _DONE and is_live(ticket)
    values: dict[str, Any] = {
        "ticket": parse_name(event.resource_name, "tickets/{ticket}", "ticket"),
        "version": event.version,
        "complains": complains,
        "contact": parse_name(ticket.requester, "contacts/{contact}", "requester") if ticket.requester else None,
        "account": parse_name(ticket.account, "accounts/{account}", "account") if ticket.account else None,
    }
    before, differs = known.keep(work.tx, known_tickets, values)
    told = [each for each in (before, values) if each is not None and each["complains"]] if differs else []
    if told:
        known.take_turns(work.tx)
        parties = {each["contact"] for each in told} - {None}
        for account in {each["account"] for each in told} - {None}:
            parties.update(known.affiliated(work.tx, account))
        work.service["parties"].follow_around(work.tx, work.trace, parties)


def _end(records: Any, tx: Transaction, trace: Trace, id: uuid.UUID, now: dt.datetime) -> None:
    if contacts := known.end(tx, id, now.date()):
        records["parties"].follow_around(tx, trace, contacts)


END_AFFILIATIONS: Final = Due(
    "end-affiliations",
    "known_affiliations",
    ["live AND valid_to < CAST(timezone('UTC', :now) AS date)"],
    _end,
    seconds=300.0,
    marks=False,
    key="affiliation",
)
"""Lets parties leave the organisation where somebody's last day there is over, of which nobody tells."""
