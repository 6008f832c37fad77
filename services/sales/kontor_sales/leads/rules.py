"""What a lead must be like, and what may become of it."""

from __future__ import annotations

import re
from typing import Any, Final

from kontor_kit import normal_forms
from kontor_kit.errors import FailedPrecondition, Violation
from kontor_kit.folding import fold

NEW, WORKING, QUALIFIED, UNQUALIFIED, CONVERTING, CONVERTED = range(1, 7)
"""As Lead.State."""
OPEN: Final = (NEW, WORKING, QUALIFIED)
"""The states in which somebody has to do something about it."""
MAX_DISPLAY_NAME: Final = 200

_WORDS: Final = {
    NEW: "new",
    WORKING: "being worked on",
    QUALIFIED: "qualified",
    UNQUALIFIED: "not qualified",
    CONVERTING: "being converted",
    CONVERTED: "converted",
}
_STEPS: Final = {
    WORKING: (NEW, QUALIFIED, UNQUALIFIED),
    QUALIFIED: (NEW, WORKING, UNQUALIFIED),
    UNQUALIFIED: OPEN,
    CONVERTING: OPEN,
}
"""State to the states that lead there."""


def normalise(lead: Any, before: Any | None = None) -> list[Violation]:
    """Bring the message of a lead into its normal form, in place, and return what is wrong with it.

    `before` is it as stored.
    """
    found = [
        *normal_forms.normalise_field(lead, "region_code", normal_forms.country),
        *normal_forms.normalise_field(lead, "email", normal_forms.email),
        *normal_forms.normalise_field(lead, "website", normal_forms.website),
        *normal_forms.normalise_field(lead, "language_code", normal_forms.language),
    ]
    region = lead.region_code if len(lead.region_code) == 2 else ""
    found += normal_forms.normalise_field(lead, "phone", lambda number: normal_forms.phone(number, region))
    lead.display_name = display_name(lead, before)
    if not lead.display_name:
        found.append(Violation("display_name", "is required where there is no other name to make it of"))
    lead.state = lead.state or NEW
    return found


def display_name(lead: Any, before: Any | None = None) -> str:
    """Return what the lead is called: what was submitted, else what the other fields make.

    A name that was made of the fields `before` and not changed is made anew.
    """
    given: str = lead.display_name.strip()
    if given and (before is None or given != before.display_name or given != made_name(before)):
        return given
    return made_name(lead)


def made_name(lead: Any) -> str:
    """Return the name that the other fields make: the person, else the organisation, e-mail address or phone number."""
    person = " ".join(part for name in (lead.given_name, lead.family_name) for part in name.split())
    name: str = person or lead.company.strip() or lead.email or lead.phone
    return name[:MAX_DISPLAY_NAME].rstrip()


def match_keys(lead: Any) -> set[tuple[str, str]]:
    """Return the keys (field, value) by which duplicates are suspected; the lead must be in its normal form.

    Colleagues share a phone number: it counts together with the name.
    """
    keys = {("email", lead.email.lower())} if lead.email else set()
    name = " ".join(sorted(re.findall(r"\w+", fold(f"{lead.given_name} {lead.family_name}"))))
    if lead.phone:
        keys.add(("phone", f"{lead.phone}|{name}"))
    if name and lead.company:
        keys.add(("display_name", f"{name}|{fold(lead.company)}"))
    return keys


def check_step(before: int, after: int) -> None:
    """Raise FailedPrecondition where a lead cannot pass from one state to another."""
    if before != after and before not in _STEPS[after]:
        raise FailedPrecondition(
            f"the lead is {_WORDS[before]}; it cannot become one that is {_WORDS[after]}", reason="WRONG_STATE"
        )


def check_writable(state: int) -> None:
    """Raise FailedPrecondition where nobody can change a lead in this state."""
    if state == CONVERTING:
        raise FailedPrecondition("the lead is being converted; wait until it is done", reason="LEAD_CONVERTING")
    if state == CONVERTED:
        raise FailedPrecondition("the lead was converted; change what was made of it", reason="LEAD_CONVERTED")
