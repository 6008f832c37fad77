"""The normal forms of what people write in many ways: e-mail addresses, phone numbers, codes, websites, time zones.

The functions that take text return its normal form, and raise ValueError with a description where it has none.
"""

from __future__ import annotations

import functools
import re
import urllib.parse
import zoneinfo
from collections.abc import Callable, Iterator

import email_validator
import idna
import langcodes
import phonenumbers
import pycountry

from kontor_kit.errors import Violation

# Kosovo has no code of ISO 3166-1. This one, reserved for users, is what the EU, banks and phone numbers use.
_KOSOVO = "XK"
_UNFIT_FOR_URL = re.compile(r"[\s\\\x00-\x1f\x7f]")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LONGEST_WEBSITE = 2000  # What the contract allows, in the form that is stored.


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


def email(address: str) -> str:
    """Return an e-mail address with its domain in lower case and in Unicode; whether it exists is not asked."""
    try:
        return email_validator.validate_email(address, check_deliverability=False, strict=True).normalized
    except email_validator.EmailNotValidError as error:
        raise ValueError(f"is not an e-mail address: {error}") from None


def ascii_domain(domain: str) -> str:
    """Return a domain as it stands on the wire (IDNA 2008, in which `ß` is a letter of its own)."""
    return idna.encode(domain, uts46=True).decode()


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
        host = ascii_domain(parts.hostname or "").removesuffix(".")
    except ValueError:
        raise ValueError("is not the address of a website") from None
    if parts.scheme not in _DEFAULT_PORTS or parts.username is not None or parts.password is not None:
        raise ValueError("must begin with http:// or https://, and name no user")
    if "." not in host or host.rpartition(".")[2].isdigit():
        raise ValueError("must name a host with a domain")
    place = host if port in (None, _DEFAULT_PORTS[parts.scheme]) else f"{host}:{port}"
    path = "" if parts.path == "/" and not parts.query and not parts.fragment else parts.path
    whole = urllib.parse.urlunsplit((parts.scheme, place, path, parts.query, parts.fragment))
    if len(whole) > _LONGEST_WEBSITE:
        raise ValueError(
            f"must have at most {_LONGEST_WEBSITE} characters, its scheme and the ASCII form of its host too"
        )
    return whole


def time_zone(name: str) -> str:
    """Return the name of a time zone of the IANA database."""
    if name not in _time_zones():
        raise ValueError("is not a time zone of the IANA database, for example Europe/Zurich")
    return name


@functools.cache
def _time_zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())
