"""Terms: the values of many-valued and custom fields as rows that one index serves.

A term is a field's path and a value as text whose byte order is the order of the values, so that equality, ranges and
prefixes are all ranges of one b-tree. Text is folded: whoever filters by `tags:vip` finds `VIP`.

Both stand in one column, `accounts.tags=vip`: PostgreSQL knows how often one column has a value, and takes two columns
as if they had nothing to do with each other; with two it walked through a whole tenant for a value that nobody has.
"""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Iterable
from typing import Any, NamedTuple

from kontor_kit.folding import fold

MAX_LENGTH = 500
"""Longer values are cut: an index row must fit into a page. A filter cuts the same way."""

AFTER_ALL = "\U0010ffff"
"""Stands behind every character that text can have, so that `prefix + AFTER_ALL` ends a range."""


class Term(NamedTuple):
    """One value of one field."""

    field: str
    value: str

    @property
    def text(self) -> str:
        """What is stored."""
        return f"{self.field}={self.value}"


def first_of(field: str) -> str:
    """Return what no term of the field stands before."""
    return f"{field}="


def end_of(field: str) -> str:
    """Return what all terms of the field stand before."""
    return f"{field}>"


def field_of(text: str) -> str:
    """Return the field of a stored term."""
    return text.partition("=")[0]


def encode(value: Any) -> str:
    """Return the text of a value: of str, bool, int, float (as double), datetime (UTC, microseconds) or date."""
    if isinstance(value, str):
        return fold(value)[:MAX_LENGTH]
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        # IEEE 754 sorts like an integer once the sign bit is flipped, and all bits of negative numbers.
        (bits,) = struct.unpack(">Q", struct.pack(">d", float(value) + 0.0))
        return f"{bits ^ 0xFFFFFFFFFFFFFFFF if bits >> 63 else bits | 1 << 63:016x}"
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat(timespec="microseconds")
    if isinstance(value, dt.date):
        return value.isoformat()
    raise TypeError(f"no term can be made of a {type(value).__name__}")


def terms(field: str, values: Iterable[Any]) -> set[Term]:
    """Return the terms of a field's values; empty text makes none."""
    return {Term(field, text) for value in values if (text := encode(value))}
