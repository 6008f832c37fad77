"""What a party is made of: the contact, the organisation to think of first, and the complaints that are open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

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
