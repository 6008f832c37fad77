"""What a contact must be like."""

from __future__ import annotations

import re
from typing import Protocol

from kontor_contacts.contact_points import rules as contact_points
from kontor_contacts.contact_points.rules import MatchKey
from kontor_kit import normal_forms
from kontor_kit.errors import Violation
from kontor_kit.folding import fold

MAX_DISPLAY_NAME = 200


class Contact(contact_points.Reachable, Protocol):
    """As the message Contact."""

    display_name: str
    given_name: str
    middle_name: str
    family_name: str
    name_suffix: str
    language_code: str
    time_zone: str


def normalise(contact: Contact, before: Contact | None, default_region: str = "") -> list[Violation]:
    """Bring a contact into its normal form, in place, and return what is wrong with it; `before` is it as stored."""
    violations = contact_points.normalise(contact, default_region)
    violations += normal_forms.normalise_field(contact, "language_code", normal_forms.language)
    violations += normal_forms.normalise_field(contact, "time_zone", normal_forms.time_zone)
    contact.display_name = display_name(contact, before)
    if not contact.display_name:
        violations.append(Violation("display_name", "is required where there is no other name to make it of"))
    return violations


def display_name(contact: Contact, before: Contact | None = None) -> str:
    """Return what people call the contact: what was submitted, else what the other fields make.

    A name that was made of the fields `before` and not changed is made anew.
    """
    given = contact.display_name.strip()
    if given and (before is None or given != before.display_name or given != made_name(before)):
        return contact.display_name
    return made_name(contact)


def made_name(contact: Contact) -> str:
    """Return the name that the other fields make: the person's names, else an e-mail address, else a phone number."""
    names = (contact.given_name, contact.middle_name, contact.family_name, contact.name_suffix)
    name = " ".join(part for name in names for part in name.split())
    if not name and contact.emails:
        name = contact.emails[0].address
    if not name and contact.phones:
        name = contact.phones[0].number
    return name[:MAX_DISPLAY_NAME].rstrip()


def is_step_allowed(before: int, after: int) -> bool:
    """Whether a contact may pass from one lifecycle stage to another: forward, or to and from none (0)."""
    return before == 0 or after == 0 or after >= before


def match_keys(contact: Contact) -> set[MatchKey]:
    """Return the keys by which duplicates of a contact are suspected; it must be in its normal form.

    Colleagues and families share a phone number: it counts together with the family name.
    """
    family = _words(contact.family_name or contact.display_name)
    keys = contact_points.email_keys(contact)
    keys |= {MatchKey("phones", f"{entry.number}|{family}") for entry in contact.phones}
    name = _words(f"{contact.given_name} {contact.family_name}".strip() or contact.display_name)
    return keys | contact_points.name_keys("display_name", name, contact)


def _words(name: str) -> str:
    """Return the folded words in alphabetical order: `Meyer, Hans` is `Hans Meyer`."""
    return " ".join(sorted(re.findall(r"\w+", fold(name))))
