"""What a programme must be like, and what it grants at a level."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any, Final

from kontor_kit import normal_forms
from kontor_kit.errors import Violation

PROTECTION_DAYS: Final = 90
MAX_PROTECTION_DAYS: Final = 180
OFFER_HOURS: Final = 48
"""What holds where a programme does not say."""


def normalise(programme: Any) -> list[Violation]:
    """Bring a programme into its normal form, in place, and return what is wrong with it."""
    violations: list[Violation] = []
    if not programme.display_name.strip():
        violations.append(Violation("display_name", "must not be blank"))
    violations += normal_forms.normalise_field(programme, "currency_code", normal_forms.currency)
    programme.max_protection_days = programme.max_protection_days or MAX_PROTECTION_DAYS
    ids: set[str] = set()
    for place, level in enumerate(programme.levels):
        level.protection_days = level.protection_days or PROTECTION_DAYS
        level.offer_hours = level.offer_hours or OFFER_HOURS
        if level.id in ids:
            violations.append(Violation(f"levels[{place}].id", "another level has this id"))
        ids.add(level.id)
        if level.protection_days > programme.max_protection_days:
            violations.append(
                Violation(f"levels[{place}].protection_days", "must not be more than max_protection_days")
            )
        violations += _check_criteria(level, f"levels[{place}]")
    return violations


def _check_criteria(level: Any, path: str) -> list[Violation]:
    found: list[Violation] = []
    for place, criterion in enumerate(level.criteria):
        at = f"{path}.criteria[{place}]"
        if bool(criterion.measure) != criterion.HasField("minimum"):
            found.append(Violation(at, "needs both a measure and a minimum, or neither"))
        elif criterion.HasField("minimum"):
            found += _check_minimum(criterion.minimum.value, f"{at}.minimum")
    return found


def _check_minimum(text: str, path: str) -> list[Violation]:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    is_good = number.is_finite() and number >= 0
    return [] if is_good else [Violation(path, "must be a decimal number that is not below 0, for example 12.5")]


def find(programme: Any, level_id: str) -> Any | None:
    """Return the level of this id; None where there is none."""
    return next((level for level in programme.levels if level.id == level_id), None)


def rank(programme: Any, level_id: str) -> int:
    """Return how high a level stands, 0 for the lowest; -1 where there is none of this id."""
    return next((place for place, level in enumerate(programme.levels) if level.id == level_id), -1)


def removed(before: Any, after: Any) -> set[str]:
    """Return the ids of the levels that are there before and not after."""
    return {level.id for level in before.levels} - {level.id for level in after.levels}
