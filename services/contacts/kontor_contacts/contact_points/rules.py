"""How contact points are written, and which of them tell that two records may be the same.

Paths in violations are those inside of the record.
"""

from __future__ import annotations

import functools
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from kontor_kit.errors import Violation
from kontor_kit.folding import fold
from kontor_kit.normal_forms import country, email, normalise_field, phone


class Markable(Protocol):
    """A contact point that can be marked as the one to use first."""

    primary: bool


class Email(Markable, Protocol):
    """As the message EmailAddress."""

    address: str


class Phone(Markable, Protocol):
    """As the message PhoneNumber."""

    number: str


class Address(Markable, Protocol):
    """As the message PostalAddress."""

    postal_code: str
    region_code: str


class Reachable(Protocol):
    """A record with contact points: the messages Account and Contact."""

    @property
    def emails(self) -> Sequence[Email]:
        """The e-mail addresses."""

    @property
    def phones(self) -> Sequence[Phone]:
        """The phone numbers."""

    @property
    def addresses(self) -> Sequence[Address]:
        """The postal addresses."""


class MatchKey(NamedTuple):
    """Two records with a key in common are suspected to be the same."""

    field: str
    """The field that the suspicion comes from, for example `emails`."""
    value: str


def normalise(record: Reachable, default_region: str = "") -> list[Violation]:
    """Bring the contact points of a record into their normal form, in place, and return what is wrong with them.

    A phone number without country code is one of the country of the primary address, or of `default_region`. The first
    contact point of each sort is marked primary where none is.
    """
    violations = [
        *_each(record.addresses, "region_code", country, "addresses"),
        *_each(record.emails, "address", email, "emails"),
    ]
    region = next((address.region_code for address in _primary_first(record.addresses)), "") or default_region
    violations += _each(record.phones, "number", functools.partial(phone, region=region), "phones")
    seen: dict[str, int] = {}
    for index, entry in enumerate(record.emails):
        first = seen.setdefault(entry.address.lower(), index)
        if first != index:
            violations.append(Violation(f"emails[{index}].address", f"is the same as emails[{first}]"))
    violations += mark_primary(record.emails, "emails")
    violations += mark_primary(record.phones, "phones")
    violations += mark_primary(record.addresses, "addresses")
    return violations


def mark_primary(entries: Sequence[Markable], path: str) -> list[Violation]:
    """Mark the first entry where none is marked; two marks are one too many."""
    marked = [index for index, entry in enumerate(entries) if entry.primary]
    if entries and not marked:
        entries[0].primary = True
    return [Violation(f"{path}[{index}].primary", f"{path}[{marked[0]}] is primary already") for index in marked[1:]]


def email_key(address: str) -> str:
    """Return what is the same for two addresses that reach the same mailbox: all in lower case."""
    return address.lower()


def name_keys(field: str, name: str, record: Reachable, website_address: str = "") -> set[MatchKey]:
    """Return the keys that a folded name makes: together with each postal code and with the website's domain.

    A name alone makes one only where the record has neither, nor an e-mail address or a phone number: nothing else
    could tell the two apart.
    """
    if not name:
        return set()
    places = {f"{entry.region_code}:{fold(entry.postal_code)}" for entry in record.addresses if entry.postal_code}
    if website_address:
        places.add((urllib.parse.urlsplit(website_address).hostname or "").removeprefix("www."))
    if not places and not record.emails and not record.phones:
        places.add("")
    return {MatchKey(field, f"{name}|{place}") for place in places}


def email_keys(record: Reachable) -> set[MatchKey]:
    """Return a key for each e-mail address."""
    return {MatchKey("emails", email_key(entry.address)) for entry in record.emails}


def _each(entries: Iterable[object], field: str, rule: Callable[[str], str], path: str) -> Iterator[Violation]:
    for index, entry in enumerate(entries):
        yield from normalise_field(entry, field, rule, f"{path}[{index}].{field}")


def _primary_first(addresses: Sequence[Address]) -> list[Address]:
    return sorted(addresses, key=lambda address: not address.primary)
