"""What can happen to a user or a service account, and what a password must be like."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from typing import Any, Final

from email_validator import EmailNotValidError, validate_email

from kontor_kit import normal_forms
from kontor_kit.errors import FailedPrecondition, InvalidArgument

MIN_PASSWORD: Final = 12
MAX_PASSWORD: Final = 256
# Parts of a name shorter than this are no hint worth forbidding.
_MIN_PART: Final = 4


class State(enum.IntEnum):
    """Whether somebody gets tokens. The numbers are those of the contract."""

    ACTIVE = 1
    DEACTIVATED = 2


Transition = Callable[[State], State]


def deactivate(state: State) -> State:
    """Return the state afterwards; raises FailedPrecondition where it is that already."""
    if state is State.DEACTIVATED:
        raise FailedPrecondition("is deactivated already", reason="ALREADY_DEACTIVATED")
    return State.DEACTIVATED


def reactivate(state: State) -> State:
    """Return the state afterwards; raises FailedPrecondition where it is that already."""
    if state is State.ACTIVE:
        raise FailedPrecondition("is active already", reason="ALREADY_ACTIVE")
    return State.ACTIVE


def normal_email(address: str, field: str) -> str:
    """Return the address in the one form it is stored and looked up in: lower case. Raises InvalidArgument for `field`.

    Who signs in does not remember how the address was capitalised, and no mail system that is in use tells the
    difference.
    """
    try:
        return validate_email(address, check_deliverability=False).normalized.lower()
    except EmailNotValidError as error:
        raise InvalidArgument((field, str(error))) from None


def check_password(password: str, *, email: str, display_name: str, field: str = "password") -> None:
    """Raise InvalidArgument where the password is too short, too long, or made of who the user is (NIST SP 800-63B)."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise InvalidArgument((field, f"must have {MIN_PASSWORD} to {MAX_PASSWORD} characters"))
    rest = password.lower()
    own = [email.lower(), *re.split(r"[\W_]+", f"{email} {display_name}".lower())]
    for part in sorted(own, key=len, reverse=True):
        if len(part) >= _MIN_PART:
            rest = rest.replace(part, "")
    # What is left once the user's own names are taken away, or one character again and again, is what has to be guessed.
    if len(rest) < MIN_PASSWORD // 2 or len(set(password)) < _MIN_PART:
        raise InvalidArgument((field, "must not be made of the name or the e-mail address, or of few characters"))


def normalise_locale(record: Any) -> None:
    """Bring language and time zone into their normal forms, in place; raises InvalidArgument with all that is wrong."""
    violations = (
        *normal_forms.normalise_field(record, "language_code", normal_forms.language),
        *normal_forms.normalise_field(record, "time_zone", normal_forms.time_zone),
    )
    if violations:
        raise InvalidArgument(*violations)
