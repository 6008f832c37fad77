"""Custom fields: what a tenant's own field may hold, and whether a record's values are that. Pure; no storage."""

from __future__ import annotations

import datetime as dt
import enum
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kontor_kit import literals
from kontor_kit.errors import InvalidArgument, Violation
from kontor_kit.filters import Value

MAX_LENGTH = 1000
"""How many characters a STRING has at most where its definition does not say."""

MAX_INTEGER = 10**15
"""Integers below it survive JSON, where numbers are doubles."""


class FieldType(enum.StrEnum):
    """What a field holds. URL, EMAIL and PHONE are text that a service's own rules bring into form."""

    STRING = "STRING"
    INTEGER = "INTEGER"
    NUMBER = "NUMBER"
    BOOLEAN = "BOOLEAN"
    DATE = "DATE"
    TIMESTAMP = "TIMESTAMP"
    ENUM = "ENUM"
    MULTI_ENUM = "MULTI_ENUM"
    URL = "URL"
    EMAIL = "EMAIL"
    PHONE = "PHONE"


Format = Callable[[str], str]
"""Brings text into its normal form; raises ValueError with a description where it has none."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One of a tenant's own fields of a resource."""

    key: str
    type: FieldType
    required: bool = False
    filterable: bool = False
    options: frozenset[str] = frozenset()
    """What an ENUM or a MULTI_ENUM takes."""
    retired: frozenset[str] = field(default=frozenset())
    """The options among them that a record may keep, but not get."""
    min_value: float | None = None
    max_value: float | None = None
    max_length: int = 0
    """How many characters a STRING has at most; MAX_LENGTH where it is 0."""

    @property
    def repeated(self) -> bool:
        """Whether a record has a list of values."""
        return self.type is FieldType.MULTI_ENUM

    @property
    def is_text(self) -> bool:
        """Whether the values are compared as text."""
        return self.type not in _LITERALS

    @property
    def literal(self) -> Callable[[Value, str], Any]:
        """What makes a value of a filter one that can be compared; takes the value and the field's path."""
        return _LITERALS.get(self.type, _text)

    def typed(self, value: Any) -> list[Any]:
        """Return what a checked value is compared as, for example a date for `"2026-01-31"`; one entry an option."""
        if self.repeated:
            return list(value)
        if self.type in _TIMES:
            return [self.literal(Value(value), self.key)]
        return [value]


class Checked(NamedTuple):
    """The values in their normal form, and what is wrong with them."""

    values: dict[str, Any]
    violations: list[Violation]


def check(
    values: Mapping[str, Any],
    definitions: Mapping[str, Definition],
    prefix: str,
    *,
    before: Mapping[str, Any] | None = None,
    formats: Mapping[FieldType, Format] | None = None,
) -> Checked:
    """Check the values of a record's custom fields, as JSON has them, against the definitions by key.

    `before` are the values that the record has, None where it is new. What a record has already stays as it is, even
    where the definition has changed or is gone. Null counts as no value. `prefix` is the path of the values in the
    request, `account.custom_fields`.
    """
    stored = before or {}
    checked = Checked({}, [])
    for key, value in values.items():
        if value is None:
            continue
        if key in stored and _same(stored[key], value):
            checked.values[key] = value
        elif (definition := definitions.get(key)) is None:
            checked.violations.append(Violation(f"{prefix}.{key}", "there is no such custom field"))
        else:
            try:
                checked.values[key] = _normal(definition, value, stored.get(key), formats or {})
            except ValueError as error:
                checked.violations.append(Violation(f"{prefix}.{key}", str(error)))
    for key, definition in definitions.items():
        asked = before is None or key in stored
        if definition.required and asked and values.get(key) in (None, "", []):
            checked.violations.append(Violation(f"{prefix}.{key}", "is required"))
    return checked


def _same(left: Any, right: Any) -> bool:
    # True == 1 in Python, but not in JSON.
    return left == right and isinstance(left, bool) == isinstance(right, bool)


def _normal(definition: Definition, value: Any, before: Any, formats: Mapping[FieldType, Format]) -> Any:
    match definition.type:
        case FieldType.INTEGER | FieldType.NUMBER:
            return _number(definition, value)
        case FieldType.BOOLEAN:
            if isinstance(value, bool):
                return value
            raise ValueError("must be true or false")
        case FieldType.ENUM:
            return _choice(definition, value, [before])
        case FieldType.MULTI_ENUM:
            return _choices(definition, value, before)
        case FieldType.DATE | FieldType.TIMESTAMP:
            return _time(definition, value)
        case _:
            return formats.get(definition.type, str)(_string(definition, value))


def _string(definition: Definition, value: Any) -> str:
    limit = definition.max_length or MAX_LENGTH
    if isinstance(value, str) and len(value) <= limit and "\0" not in value:
        return value
    raise ValueError(f"must be text of at most {limit} characters")


def _number(definition: Definition, value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("must be a number")
    number: int | float = value
    if definition.type is FieldType.INTEGER:
        number = int(value)
        if number != value or abs(number) >= MAX_INTEGER:
            raise ValueError("must be a whole number of at most 15 digits")
    if definition.min_value is not None and number < definition.min_value:
        raise ValueError(f"must not be less than {definition.min_value:.15g}")
    if definition.max_value is not None and number > definition.max_value:
        raise ValueError(f"must not be more than {definition.max_value:.15g}")
    return number


def _choice(definition: Definition, value: Any, kept: list[Any]) -> str:
    if isinstance(value, str) and value in definition.options and (value not in definition.retired or value in kept):
        return value
    offered = sorted(definition.options - definition.retired)
    more = ", ..." if len(offered) > 20 else ""
    raise ValueError(f"must be one of {', '.join(offered[:20])}{more}")


def _choices(definition: Definition, value: Any, before: Any) -> list[str]:
    if not isinstance(value, list) or len(value) > len(definition.options):
        raise ValueError("must be a list of options")
    if len(set(map(str, value))) < len(value):
        raise ValueError("must not name an option twice")
    kept = before if isinstance(before, list) else []
    return [_choice(definition, item, kept) for item in value]


def _time(definition: Definition, value: Any) -> str:
    try:
        if not isinstance(value, str):
            raise InvalidArgument
        (moment,) = definition.typed(value)
    except InvalidArgument:
        example = "2026-01-31" if definition.type is FieldType.DATE else "2026-01-31T08:00:00Z"
        raise ValueError(f"must be of the form {example}") from None
    if isinstance(moment, dt.datetime):
        return moment.replace(tzinfo=None).isoformat() + "Z"
    return str(value)


def _text(value: Value, _: str) -> str:
    return value.text


_LITERALS: dict[FieldType, Callable[[Value, str], Any]] = {
    FieldType.INTEGER: literals.to_int,
    FieldType.NUMBER: literals.to_float,
    FieldType.BOOLEAN: literals.to_bool,
    FieldType.DATE: literals.to_date,
    FieldType.TIMESTAMP: literals.to_timestamp,
}
_TIMES = (FieldType.DATE, FieldType.TIMESTAMP)
