"""How contact points are written, and which of them tell that two records may be the same.

Paths in violations are those inside of the record.

The functions that take text return its normal form, and raise ValueError with a description where it has none.
"""

from __future__ import annotations

import functools
import re
import urllib.parse
import zoneinfo
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import email_validator
import idna
import langcodes
import phonenumbers
import pycountry

from kontor_kit.errors import Violation
from kontor_kit.folding import fold

# Kosovo has no code of ISO 3166-1. This one, reserved for users, is what the EU, banks and phone numbers use.
_KOSOVO = "XK"
_UNFIT_FOR_URL = re.compile(r"[\s\\\x00-\x1f\x7f]")
_DEFAULT_PORTS = {"http": 80, "https": 443}


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


def normalise_field(record: object, field: str, rule: Callable[[str], str], path: str = "") -> Iterator[Violation]:
    """Bring one text field into its normal form, in place, where it is set; yield what is wrong with it.

    `path` is where the field is in the request, in case that is not its name.
    """
    value = getattr(record, field)
    if not value:
        return
    try:
        setattr(record, field, rule(value))
    except ValueError as error:
        yield Violation(path or field, str(error))


def mark_primary(entries: Sequence[Markable], path: str) -> list[Violation]:
    """Mark the first entry where none is marked; two marks are one too many."""
    marked = [index for index, entry in enumerate(entries) if entry.primary]
    if entries and not marked:
        entries[0].primary = True
    return [Violation(f"{path}[{index}].primary", f"{path}[{marked[0]}] is primary already") for index in marked[1:]]


def email(address: str) -> str:
    """Return an e-mail address with its domain in lower case and in Unicode; whether it exists is not asked."""
    try:
        return email_validator.validate_email(address, check_deliverability=False, strict=True).normalized
    except email_validator.EmailNotValidError as error:
        raise ValueError(f"is not an e-mail address: {error}") from None


def phone(number: str, region: str = "") -> str:
    """Return a phone number in E.164 form; without country code it is one of `region` (ISO 3166-1 alpha-2)."""
    try:
        parsed = phonenumbers.parse(number, region or None)
    except phonenumbers.NumberParseException as error:
        if error.error_type == phonenumbers.NumberParseException.INVALID_COUNTRY_CODE and "+" not in number:
            raise ValueError("needs its country code, for example +49") from None
        raise ValueError("is not a phone number") from None
    if parsed.extension:
        raise ValueError("must not have an extension: it has no place in the E.164 form")
    if not phonenumbers.is_valid_number(parsed):
        raise ValueError("is not a phone number of any country's numbering plan")
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def country(code: str) -> str:
    """Return a country code of ISO 3166-1 alpha-2 in upper case; `XK` is taken for Kosovo."""
    upper = code.upper()
    if upper != _KOSOVO and (not re.fullmatch("[A-Za-z]{2}", code) or pycountry.countries.get(alpha_2=upper) is None):
        raise ValueError("is not a country code of two letters (ISO 3166-1)")
    return upper


def currency(code: str) -> str:
    """Return a currency code of ISO 4217 in upper case."""
    upper = code.upper()
    if not re.fullmatch("[A-Za-z]{3}", code) or pycountry.currencies.get(alpha_3=upper) is None:
        raise ValueError("is not a currency code of three letters (ISO 4217)")
    return upper


def language(tag: str) -> str:
    """Return a language tag of BCP 47 in its canonical form, for example `de-CH` for `de_ch`."""
    try:
        standard = langcodes.standardize_tag(tag)
        known = langcodes.tag_is_valid(standard)
    except ValueError:
        known = False
    if not known or standard == "und":
        raise ValueError("is not a language tag (BCP 47), for example de-CH")
    return standard


def website(url: str) -> str:
    """Return the address of a website with its host in lower case and in ASCII (IDNA); `https` where it says none."""
    text = url if "://" in url else f"https://{url}"
    if _UNFIT_FOR_URL.search(text):
        raise ValueError("must not contain white space, backslashes or control characters")
    try:
        parts = urllib.parse.urlsplit(text)
        port = parts.port
        host = idna.encode(parts.hostname or "", uts46=True).decode().removesuffix(".")
    except ValueError:
        raise ValueError("is not the address of a website") from None
    if parts.scheme not in _DEFAULT_PORTS or parts.username is not None or parts.password is not None:
        raise ValueError("must begin with http:// or https://, and name no user")
    if "." not in host or host.rpartition(".")[2].isdigit():
        raise ValueError("must name a host with a domain")
    place = host if port in (None, _DEFAULT_PORTS[parts.scheme]) else f"{host}:{port}"
    path = "" if parts.path == "/" and not parts.query and not parts.fragment else parts.path
    return urllib.parse.urlunsplit((parts.scheme, place, path, parts.query, parts.fragment))


def time_zone(name: str) -> str:
    """Return the name of a time zone of the IANA database."""
    if name not in _time_zones():
        raise ValueError("is not a time zone of the IANA database, for example Europe/Zurich")
    return name


@functools.cache
def _time_zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


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
