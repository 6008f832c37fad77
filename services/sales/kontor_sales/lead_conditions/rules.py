"""Conditions on leads: whether they are sound, and whether they hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Protocol

from kontor_kit.errors import Violation
from kontor_kit.folding import fold

IN, NOT_IN, STARTS_WITH, AT_LEAST, AT_MOST, IS_SET, IS_NOT_SET = range(1, 8)
"""As LeadCondition.Operator."""

SCORE: Final = "score"
CUSTOM: Final = "custom_fields."
FIELDS: Final = frozenset(
    (
        *("source", "campaign", "language_code", "company", "job_title", "industry", "employee_count", "region_code"),
        *("postal_code", "locality", "email_domain", "phone", "tags", "interests", SCORE),
    )
)


class Condition(Protocol):
    """As the message LeadCondition."""

    field: str
    operator: int

    @property
    def values(self) -> Sequence[str]:
        """What the field is compared with."""


def check(conditions: Iterable[Condition], *, scores: bool = True) -> list[Violation]:
    """Return what is wrong with conditions; `scores` says whether they may ask for the score."""
    found: list[Violation] = []
    for place, condition in enumerate(conditions):
        path, operator = f"conditions[{place}]", condition.operator or IN
        known = condition.field in FIELDS or (condition.field.startswith(CUSTOM) and len(condition.field) > len(CUSTOM))
        if not known or (condition.field == SCORE and not scores):
            choice = ", ".join(sorted(FIELDS if scores else FIELDS - {SCORE}))
            found.append(Violation(f"{path}.field", f"must be one of {choice}, or custom_fields.<key>"))
        if operator in (IS_SET, IS_NOT_SET):
            if condition.values:
                found.append(Violation(f"{path}.values", "must be empty for this operator"))
        elif not condition.values:
            found.append(Violation(f"{path}.values", "is required for this operator"))
        elif operator in (AT_LEAST, AT_MOST) and (len(condition.values) > 1 or _number(condition.values[0]) is None):
            found.append(Violation(f"{path}.values", "must be one number for this operator"))
    return found


def hold(conditions: Iterable[Condition], lead: Any) -> bool:
    """Tell whether all conditions hold of a lead."""
    return all(holds(condition, lead) for condition in conditions)


def holds(condition: Condition, lead: Any) -> bool:
    """Tell whether a condition holds of a lead."""
    held = values(lead, condition.field)
    operator = condition.operator or IN
    if operator == IS_SET:
        return bool(held)
    if operator == IS_NOT_SET:
        return not held
    if operator in (AT_LEAST, AT_MOST):
        bound = _number(condition.values[0])
        numbers = [number for text in held if (number := _number(text)) is not None]
        assert bound is not None, "it was checked when it was stored"
        return any(number >= bound if operator == AT_LEAST else number <= bound for number in numbers)
    wanted = [fold(text) for text in condition.values]
    folded = [fold(text) for text in held]
    if operator == STARTS_WITH:
        return any(text.startswith(begin) for text in folded for begin in wanted)
    return any(text in wanted for text in folded) is (operator == IN)


def values(lead: Any, field: str) -> list[str]:
    """Return what a lead has in a field, as text; nothing where it is not set."""
    if field.startswith(CUSTOM):
        key = field.removeprefix(CUSTOM)
        # A Struct has no `get`.
        held = lead.custom_fields[key] if key in lead.custom_fields else None  # noqa: SIM401
        return [_text(item) for item in _listed(held) if item not in (None, "")]
    if field == "email_domain":
        return [lead.email.rpartition("@")[2]] if lead.email else []
    if field == SCORE:
        return [str(lead.score)]
    if field == "employee_count":
        return [str(lead.employee_count)] if lead.employee_count else []
    return [item for item in _listed(getattr(lead, field)) if item]


def _listed(held: Any) -> list[Any]:
    return [held] if held is None or isinstance(held, str | bool | float | Mapping) else list(held)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
