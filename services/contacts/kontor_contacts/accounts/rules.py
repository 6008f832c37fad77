"""What an account must be like."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from typing import Protocol

from kontor_contacts.contact_points import rules as contact_points
from kontor_contacts.contact_points.rules import MatchKey
from kontor_kit import money, normal_forms
from kontor_kit.errors import Violation
from kontor_kit.folding import fold

MAX_DEPTH = 20
"""How many accounts stand below one another at most, the topmost counted."""

# fmt: off
_LEGAL_FORMS = frozenset((
    "ab", "ag", "aps", "as", "asa", "bv", "co", "company", "corp", "corporation", "dba", "doo", "eg", "ek", "ev",
    "gbr", "gmbh", "hf", "inc", "incorporated", "kft", "kg", "kgaa", "kk", "lda", "limited", "llc", "llp", "lp",
    "ltd", "ltda", "mbh", "nv", "ohg", "oo", "ooo", "oy", "oyj", "partg", "plc", "pte", "pty", "pvt", "rt", "sa",
    "sarl", "sas", "se", "sl", "sp", "spa", "spol", "srl", "sro", "ug", "z", "zoo", "zrt",
))
# fmt: on


class Account(contact_points.Reachable, Protocol):
    """As the message Account."""

    display_name: str
    legal_name: str
    website: str
    language_code: str

    @property
    def annual_revenue(self) -> money.Money:
        """The revenue of a year."""


def normalise(account: Account, default_region: str = "") -> list[Violation]:
    """Bring an account into its normal form, in place, and return what is wrong with it."""
    violations = contact_points.normalise(account, default_region)
    violations += normal_forms.normalise_field(account, "website", normal_forms.website)
    violations += normal_forms.normalise_field(account, "language_code", normal_forms.language)
    if account.display_name and not account.display_name.strip():
        violations.append(Violation("display_name", "must not be blank"))
    revenue = account.annual_revenue
    if revenue.currency_code or revenue.units or revenue.nanos:
        violations += money.check(revenue, "annual_revenue", negative=True)
    return violations


def parent_problem(account: uuid.UUID, ancestors: Sequence[uuid.UUID], height: int = 0) -> str:
    """Return why an account cannot stand below a parent; empty where it can.

    `ancestors` are the parent, its parent and so on to the top; `height` is how many levels are below the account.
    """
    if ancestors and ancestors[0] == account:
        return "an account cannot be its own parent"
    if account in ancestors:
        return "the parent is below this account already"
    if len(ancestors) + 1 + height > MAX_DEPTH:
        return f"accounts cannot stand more than {MAX_DEPTH} deep"
    return ""


def core_name(name: str) -> str:
    """Return what is left of an organisation's name without punctuation and legal form: `acme` of `ACME GmbH & Co. KG`."""
    words = re.findall(r"\w+", re.sub(r"['.]", "", fold(name)))
    end = len(words)
    while end > 1 and words[end - 1] in _LEGAL_FORMS:
        end -= 1
    return " ".join(words[:end])


def match_keys(account: Account) -> set[MatchKey]:
    """Return the keys by which duplicates of an account are suspected; it must be in its normal form."""
    keys = contact_points.email_keys(account) | {MatchKey("phones", entry.number) for entry in account.phones}
    for field in ("display_name", "legal_name"):
        # Both names make the same kind of key: what one record has as its legal name another has as its display name.
        keys |= contact_points.name_keys("display_name", core_name(getattr(account, field)), account, account.website)
    return keys
