"""What an address status must be like."""

from __future__ import annotations

from kontor_contacts.contact_points import rules as contact_points
from kontor_kit import normal_forms


def email(address: str) -> str:
    """Return an e-mail address as it is looked up, all in lower case; raises ValueError where it is none."""
    return contact_points.email_key(normal_forms.email(address))


def phone(address: str) -> str:
    """Return a phone number as it is looked up, in E.164 form; raises ValueError where it is none."""
    return normal_forms.phone(address)
