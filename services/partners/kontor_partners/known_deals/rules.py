"""Who an end customer is: whether what two partners wrote down, or an account, is the same company."""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from kontor_kit import normal_forms
from kontor_kit.folding import fold


class Kind(enum.IntEnum):
    """What a company can be known by, the surest first."""

    ACCOUNT = 1
    """The record that staff keep of it."""
    REGISTRATION = 2
    """Its number in a register, for example its VAT id."""
    DOMAIN = 3
    """The domain of its website or of its mail."""
    NAME = 4
    """Its name and postal code."""


class Key(NamedTuple):
    """One thing that a company is known by, in its normal form."""

    kind: Kind
    value: str

    def __str__(self) -> str:
        return f"{self.kind.name}:{self.value}"

    @classmethod
    def of(cls, text: str) -> Key:
        """Return the key that `str` has written."""
        kind, _, value = text.partition(":")
        return cls(Kind[kind], value)


# fmt: off
_PUBLIC_MAIL: Final = frozenset((
    "aol.com", "bluewin.ch", "fastmail.com", "free.fr", "freenet.de", "gmail.com", "gmx.at", "gmx.ch", "gmx.com",
    "gmx.de", "gmx.net", "googlemail.com", "hotmail.com", "hotmail.de", "icloud.com", "laposte.net", "libero.it",
    "live.com", "mail.com", "mail.ru", "mailbox.org", "me.com", "orange.fr", "outlook.com", "outlook.de",
    "posteo.de", "proton.me", "protonmail.com", "qq.com", "t-online.de", "web.de", "wp.pl", "yahoo.com", "yahoo.de",
    "yandex.ru", "163.com",
))
"""Domains under which anybody has an address; they say nothing of a company."""
# fmt: on

# fmt: off
_LEGAL_FORMS: Final = frozenset((
    "ab", "ag", "aps", "as", "asa", "bv", "co", "company", "corp", "corporation", "eg", "ek", "ev", "gbr", "gmbh",
    "inc", "incorporated", "kft", "kg", "kgaa", "kk", "lda", "limited", "llc", "llp", "lp", "ltd", "mbh", "nv",
    "ohg", "oy", "oyj", "plc", "pte", "pty", "pvt", "sa", "sarl", "sas", "se", "sl", "spa", "srl", "sro", "ug",
))
# fmt: on


def core_name(name: str) -> str:
    """Return what is left of a company's name without punctuation and legal form: `acme` of `ACME GmbH & Co. KG`."""
    words = re.findall(r"\w+", re.sub(r"['.]", "", fold(name)))
    end = len(words)
    while end > 1 and words[end - 1] in _LEGAL_FORMS:
        end -= 1
    return " ".join(words[:end])


def domain(website_or_email: str) -> str:
    """Return the domain in an e-mail address or a website's, without `www.`; empty where it says nothing of a company."""
    host = website_or_email.rpartition("@")[2]
    try:
        host = normal_forms.website(host).partition("://")[2]
    except ValueError:
        return ""
    host = re.split("[/:?#]", host)[0].removeprefix("www.")
    return "" if host in _PUBLIC_MAIL else host


def register_number(country: str, number: str) -> str:
    """Return a number in a register in its normal form, `DE/811234567`; empty where country or number are."""
    plain = re.sub(r"[^0-9A-Z]", "", number.upper())
    plain = plain.removeprefix(country)
    return f"{country}/{plain}" if country and plain else ""


def keys(
    *,
    account: str = "",
    country: str = "",
    registration_id: str = "",
    addresses: Iterable[str] = (),
    names: Iterable[str] = (),
    postal_codes: Iterable[str] = (),
) -> frozenset[Key]:
    """Return what a company is known by.

    `country` is a code of ISO 3166-1, `addresses` are websites and e-mail addresses, each of `names` goes with each of
    `postal_codes`.
    """
    found = {Key(Kind.ACCOUNT, account), Key(Kind.REGISTRATION, register_number(country, registration_id))}
    found |= {Key(Kind.DOMAIN, domain(address)) for address in addresses}
    codes = [code for text in postal_codes if (code := re.sub(r"[\W_]", "", text).upper())]
    cores = [core for name in names if (core := core_name(name))]
    found |= {Key(Kind.NAME, f"{country}/{code}/{core}") for core in cores for code in codes}
    return frozenset(key for key in found if key.value)


def match(one: Collection[Key], other: Collection[Key]) -> Kind | None:
    """Return by what two companies are known to be the same, the surest that there is; None where they are not.

    Two accounts are two companies, whatever else is alike. Nothing else tells companies apart: whoever writes another
    number or website does not get past the one who was first.
    """
    for kind in Kind:
        mine, theirs = ({key.value for key in keys if key.kind is kind} for keys in (one, other))
        if mine & theirs:
            return kind
        if kind is Kind.ACCOUNT and mine and theirs:
            return None
    return None


def resolve(customer: Collection[Key], accounts: Mapping[str, Collection[Key]]) -> str:
    """Return the account that a customer is by the surest keys; empty where there is none, or more than one."""
    candidates = accounts
    for kind in Kind:
        wanted = {key for key in customer if key.kind is kind}
        found = {account: known for account, known in candidates.items() if wanted.intersection(known)}
        if len(found) == 1:
            return next(iter(found))
        candidates = found or candidates
    return ""
