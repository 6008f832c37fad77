"""What a party is made of, and what has to be known of it before it is written to."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kontor_marketing.suppressions import rules as suppressions

_COPIED = ("salutation", "honorific", "given_name", "family_name", "language_code", "lifecycle_stage", "owner", "team")


class Around(NamedTuple):
    """What is known around a contact."""

    account: str = ""
    """The name of the organisation to think of first."""
    display_name: str | None = None
    industry: str | None = None
    tier: int | None = None
    roles: Sequence[int] | None = None
    country: str | None = None
    open_complaints: int = 0


def address_key(address: str) -> str:
    """Return an e-mail address as it is compared: whoever writes it with capitals means the same one."""
    return address.strip().lower()


def follow_contact(party: Any, contact: Any, version: int) -> None:
    """Write what a version of the contact says into its party, in place."""
    for field in _COPIED:
        setattr(party, field, getattr(contact, field))
    party.contact, party.contact_version = contact.name, version
    party.ClearField("emails")
    for email in sorted(contact.emails, key=lambda each: not each.primary):
        party.emails.add(address=email.address, primary=email.primary)
    party.display_name = contact.display_name or (party.emails[0].address if party.emails else contact.name)
    party.ClearField("tags")
    party.tags.extend(contact.tags)
    party.country = country_of(contact)


def follow_around(party: Any, around: Around) -> None:
    """Write what is known around the contact into its party, in place."""
    party.account = around.account
    party.account_display_name = around.display_name or ""
    party.industry = around.industry or ""
    party.tier = around.tier or 0
    party.ClearField("roles")
    party.roles.extend(around.roles or ())
    party.account_country = around.country or ""
    party.open_complaints = around.open_complaints


def country_of(record: Any) -> str:
    """Return the country of the postal address to use first, of a contact or an account; empty where none is known."""
    addresses = sorted(record.addresses, key=lambda each: not each.primary)
    return next((str(each.region_code) for each in addresses if each.region_code), "")


@dataclass(frozen=True, slots=True)
class Email:
    """An e-mail address of a party."""

    address: str
    """As it is written."""
    key: str
    """As it is compared."""
    invalid: bool
    opted_out: bool


@dataclass(frozen=True, slots=True)
class Consent:
    """What a party said to the topic."""

    name: str
    """`subscriptions/{subscription}`."""
    version: int
    state: int
    """As Subscription.State."""
    legal_basis: int
    source: str
    state_time: dt.datetime
    evidence: dict[str, Any]
    """As ConsentEvidence, with proto field names."""
    double_opt_in: bool
    """Whether the topic wants it confirmed."""

    @property
    def confirmed(self) -> bool:
        """Tell whether it counts: where the topic wants that, the evidence names the mail that was answered."""
        return not self.double_opt_in or bool(self.evidence.get("message_id"))


@dataclass(frozen=True, slots=True)
class Suppressed:
    """A suppression that holds now, for e-mail."""

    name: str
    """`suppressions/{suppression}`."""
    reason: int
    """As Suppression.Reason: the higher, the stronger."""
    start_time: dt.datetime
    address: str
    """The address it holds for, whoever has it; empty where it holds for the party only."""
    of_party: bool
    """Whether it holds for the party, whatever its address."""


@dataclass(frozen=True, slots=True)
class PartyFacts:
    """What is known of one party."""

    id: uuid.UUID
    live: bool
    """False where the contact was deleted."""
    display_name: str
    salutation: str
    honorific: str
    given_name: str
    family_name: str
    language_code: str
    country: str
    account: str
    account_display_name: str
    emails: tuple[Email, ...]
    """The one to use first ahead of the others."""
    open_complaints: int
    consent: Consent | None
    """None where the party never said anything to the topic."""
    suppressions: tuple[Suppressed, ...]
    """All that hold now for the party or one of its addresses."""

    def suppression_of(self, address: str) -> Suppressed | None:
        """Return the suppression that counts where the party is written to at `address`; None where it may be."""
        key = address_key(address)
        return suppressions.strongest(each for each in self.suppressions if each.of_party or each.address == key)
