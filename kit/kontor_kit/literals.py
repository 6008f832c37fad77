"""The values of a filter as what the compared field holds: numbers, times, enum values, references.

Every function takes the value and the path of the field it is compared with, and raises InvalidArgument for the field
`filter`, naming the path and what is expected.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import uuid
from typing import NoReturn

from google.protobuf.descriptor import EnumDescriptor

from kontor_kit import ids
from kontor_kit.errors import InvalidArgument
from kontor_kit.filters import Value

_INT = re.compile(r"-?[0-9]{1,19}")
_FLOAT = re.compile(r"-?[0-9]{1,400}(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,4})?")
_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
# As in google.protobuf.Duration: about 10,000 years.
_LONGEST = dt.timedelta(seconds=315_576_000_000)
_DURATION = re.compile(r"(-?)([0-9]{1,12})(?:\.([0-9]{1,9}))?s")


def _refuse(value: Value, path: str, expected: str) -> NoReturn:
    written = value.text + ("*" if value.prefix else "")
    shown = written if len(written) <= 60 else written[:57] + "..."
    raise InvalidArgument(("filter", f"{path} is compared with {shown!r}; expected {expected}"))


def to_int(value: Value, path: str, *, bits: int = 64) -> int:
    """Return a signed whole number of at most `bits` bits."""
    if not value.prefix and _INT.fullmatch(value.text):
        number = int(value.text)
        if -(1 << bits - 1) <= number < 1 << bits - 1:
            return number
    _refuse(value, path, f"a whole number of at most {bits} bits")


def to_float(value: Value, path: str) -> float:
    """Return a finite number, for example of `1.5` or `2.997e9`."""
    if not value.prefix and _FLOAT.fullmatch(value.text):
        number = float(value.text)
        if math.isfinite(number):
            return number
    _refuse(value, path, "a number, for example 1.5")


def to_bool(value: Value, path: str) -> bool:
    """Return the truth of `true` or `false`."""
    if value.prefix or value.text not in ("true", "false"):
        _refuse(value, path, "true or false")
    return value.text == "true"


def to_timestamp(value: Value, path: str) -> dt.datetime:
    """Return a time in UTC; the value is in RFC 3339 form. Digits below a microsecond are cut off."""
    match = None if value.prefix else _TIMESTAMP.fullmatch(value.text)
    if match:
        day, time, fraction, offset = match.groups()
        zone = "+00:00" if offset in "Zz" else offset
        try:
            moment = dt.datetime.fromisoformat(f"{day}T{time}.{(fraction or '0')[:6]:0<6}{zone}")
            return moment.astimezone(dt.UTC)
        except (ValueError, OverflowError):
            pass
    _refuse(value, path, "a time with its offset (RFC 3339), for example 2026-01-31T08:00:00Z")


def to_date(value: Value, path: str) -> dt.date:
    """Return a day; the value is in the form of ISO 8601, `2026-01-31`."""
    if not value.prefix and _DATE.fullmatch(value.text):
        try:
            return dt.date.fromisoformat(value.text)
        except ValueError:
            pass
    _refuse(value, path, "a date, for example 2026-01-31")


def to_duration(value: Value, path: str) -> dt.timedelta:
    """Return a length of time; the value is seconds with an `s`, `90s` or `1.5s`. Less than a microsecond is cut off."""
    match = None if value.prefix else _DURATION.fullmatch(value.text)
    if match:
        sign, seconds, fraction = match.groups()
        length = dt.timedelta(seconds=int(seconds), microseconds=int(f"{(fraction or '0')[:6]:0<6}"))
        if length <= _LONGEST:
            return -length if sign else length
    _refuse(value, path, "seconds with an s, for example 90s")


def to_enum(value: Value, path: str, descriptor: EnumDescriptor) -> int:
    """Return the number of an enum value that is given by its name."""
    known = descriptor.values_by_name
    if value.prefix or value.text not in known:
        _refuse(value, path, f"one of {', '.join(known)}")
    return int(known[value.text].number)


def to_reference(value: Value, path: str, pattern: str) -> uuid.UUID:
    """Return the id in a resource name of the form `pattern`, for example `accounts/{account}`."""
    if not value.prefix:
        try:
            return ids.parse_name(value.text, pattern, "filter")
        except InvalidArgument:
            pass
    _refuse(value, path, f"a name of the form {pattern}")
