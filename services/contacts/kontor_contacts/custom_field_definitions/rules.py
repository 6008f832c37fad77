"""What a definition of a custom field must be like."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from kontor_kit.errors import Violation

MAX_FILTERABLE = 20
"""How many fields of one collection a tenant can filter by."""

MAX_DEFINITIONS = 200
"""How many fields of one collection a tenant can have."""

_WITH_OPTIONS = ("ENUM", "MULTI_ENUM")
_WITH_RANGE = ("INTEGER", "NUMBER")


class Option(Protocol):
    """As the message CustomFieldDefinition.Option."""

    value: str
    retired: bool


def check_options(type_: str, options: Sequence[Option], before: Sequence[Option]) -> list[Violation]:
    """Return what is wrong with the options of a field; `type_` is `ENUM` and so on, `before` are those stored."""
    if type_ not in _WITH_OPTIONS:
        return [Violation("options", f"a field of type {type_} has no options")] if options else []
    violations: list[Violation] = []
    if all(option.retired for option in options):
        violations.append(Violation("options", "must have one that is not retired"))
    seen: set[str] = set()
    for index, option in enumerate(options):
        if option.value in seen:
            violations.append(Violation(f"options[{index}].value", "is there twice"))
        seen.add(option.value)
    gone = sorted({option.value for option in before} - seen)
    if gone:
        violations.append(
            Violation("options", f"records may have {', '.join(gone[:5])}: retire it instead of removing it")
        )
    return violations


def check_limits(type_: str, min_value: float | None, max_value: float | None, max_length: int) -> list[Violation]:
    """Return what is wrong with the limits of a field."""
    violations: list[Violation] = []
    for field, value in (("min_value", min_value), ("max_value", max_value)):
        if value is not None and type_ not in _WITH_RANGE:
            violations.append(Violation(field, f"a field of type {type_} has no range"))
    if min_value is not None and max_value is not None and max_value < min_value:
        violations.append(Violation("max_value", "must not be less than min_value"))
    if max_length and type_ != "STRING":
        violations.append(Violation("max_length", f"a field of type {type_} has no length"))
    return violations


def check_collection(collection: str, having: Collection[str]) -> list[Violation]:
    """Return what is wrong with the collection that a field is for; `having` are those with custom fields."""
    if collection in having:
        return []
    return [Violation("resource_type", f"must be a collection with custom fields: {', '.join(sorted(having))}")]
