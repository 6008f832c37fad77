"""The `order_by` of List methods (https://google.aip.dev/132#ordering): `display_name, update_time desc`."""

from __future__ import annotations

import re
from typing import NamedTuple

from kontor_kit.errors import InvalidArgument
from kontor_kit.spelling import proto_path

MAX_TERMS = 5

_TERM = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*)(?:\s+(asc|desc))?\s*")


class OrderTerm(NamedTuple):
    """One field to sort by."""

    path: str
    descending: bool


def parse(text: str) -> tuple[OrderTerm, ...]:
    """Read an order; empty where the text is blank. Raises InvalidArgument for the field `order_by`.

    A field is spelled as in the protos or as in JSON: `display_name` is `displayName`.
    """
    if not text or text.isspace():
        return ()
    parts = text.split(",")
    if len(parts) > MAX_TERMS:
        raise InvalidArgument(("order_by", f"must not name more than {MAX_TERMS} fields"))
    terms: dict[str, OrderTerm] = {}
    for part in parts:
        match = _TERM.fullmatch(part)
        if match is None:
            shown = part.strip()[:60]
            raise InvalidArgument(("order_by", f"{shown!r} is not a field, or a field followed by desc"))
        spelled, direction = match.groups()
        path = proto_path(spelled)
        if path in terms:
            raise InvalidArgument(("order_by", f"{path} is named twice"))
        terms[path] = OrderTerm(path, direction == "desc")
    return tuple(terms.values())
