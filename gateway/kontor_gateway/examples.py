"""Examples: values made from the names, comments and constraints of fields, always the same ones."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from kontor_gateway.contract import Contract, Field, Message
from kontor_gateway.fields import kind_of
from kontor_gateway.schemas import STATUS

_MAX_DEPTH = 6
_IN_COMMENT = re.compile(r"for example `([^`]+)`")
_BY_KIND: dict[str, Any] = {
    "bytes": "S29udG9y",
    "double": 0.5,
    "int64": "1200",
    "uint64": "1200",
    "timestamp": "2026-01-31T09:30:00Z",
    "duration": "90s",
    "mask": "",
    "struct": {},
    "array": [],
    "any": "example",
}
_NUMBERS = {"year": 2026, "month": 1, "day": 31, "nanos": 500_000_000}
# The first pattern that is found in `message.field`, in lower case.
_BY_NAME = (
    (r"email\w*\.address|\.\w*email\w*$", "anna.example@example.com"),
    (r"website|\.ur[li]$", "https://www.example.com"),
    (r"\.given_name", "Anna"),
    (r"\.family_name", "Example"),
    (r"\.lines", "Invalidenstrasse 1"),
    (r"\.language", "de-DE"),
    (r"\.(region|country)", "DE"),
    (r"\.\w*currency", "EUR"),
    (r"\.time_zone", "Europe/Berlin"),
    (r"\.postal_code", "10115"),
    (r"\.locality", "Berlin"),
    (r"\.etag", "v1"),
    (r"\.\w*token", "c2FtcGxl"),
    (r"\.key$", "10042"),
    (r"\.system$", "erp"),
    (r"\.request_id", "3f0e4e2a-6f6b-4f5e-9d6c-2f1a7b8c9d0e"),
    (r"name$|\.title$|\.query$", "Example"),
)


class Examples:
    """Makes examples of messages and fields of one contract."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract

    def answer(self, name: str) -> Any:
        """An example of the message as an answer holds it."""
        return self._message(self.contract.messages[name], is_answer=True, depth=0)

    def request(self, name: str) -> Any:
        """An example of the message as a request holds it."""
        return self._message(self.contract.messages[name], is_answer=False, depth=0)

    def value(self, field: Field, parent: Message, *, is_answer: bool = False, depth: int = 0) -> Any:
        """An example of the field of `parent`; None where none should be shown."""
        if entry := self.contract.map_entry(field):
            return None if is_answer else {"example": self.value(entry.fields["value"], entry, depth=depth + 1)}
        one = self._one(field, parent, is_answer=is_answer, depth=depth)
        return [one] if field.is_repeated and one is not None else one

    def identifier(self, kind: str) -> str:
        """The id that resources of this type have in examples, a UUIDv7."""
        digest = hashlib.sha256(kind.encode()).hexdigest()
        return f"0198c0de-{digest[:4]}-7{digest[4:7]}-8{digest[7:10]}-{digest[10:22]}"

    def _message(self, message: Message, *, is_answer: bool, depth: int) -> dict[str, Any]:
        """All fields in answers; in requests those that are required, and all of a resource that a caller can set."""
        is_request = message.full_name.endswith("Request")
        values = {}
        for field in message.fields.values():
            if is_answer:
                is_shown = field.name != "delete_time" and not field.has_behavior("INPUT_ONLY")
            else:
                is_shown = field.is_required or (not is_request and self._can_be_set(field))
            value = self.value(field, message, is_answer=is_answer, depth=depth) if is_shown else None
            if value not in (None, [], {}, ""):
                values[field.json_name] = value
        return values

    def _can_be_set(self, field: Field) -> bool:
        is_of_server = field.has_behavior("OUTPUT_ONLY") or field.has_behavior("IDENTIFIER")
        return not is_of_server and not field.reference and field.name != "etag"

    def _one(self, field: Field, parent: Message, *, is_answer: bool, depth: int) -> Any:
        kind = kind_of(field)
        if kind == "message":
            if depth >= _MAX_DEPTH or field.type_name in {parent.full_name, STATUS}:
                return None
            return self._message(self.contract.messages[field.type_name], is_answer=is_answer, depth=depth + 1)
        if kind == "enum":
            rules = field.rules.repeated.items.enum if field.is_repeated else field.rules.enum
            unfit = {0, *rules.not_in}
            values = self.contract.enums[field.type_name].proto.value
            return next((value.name for value in values if value.number not in unfit), None)
        if kind in ("int32", "uint32"):
            return self._number(field)
        if kind == "bool":
            return True if field.is_required else None
        if kind != "string":
            return _BY_KIND[kind]
        return self._text(field, parent)

    def _number(self, field: Field) -> int:
        rules = getattr(field.rules, field.rules.WhichOneof("type") or "int32")
        value = _NUMBERS.get(field.name, 50)
        if rules.HasField("gte"):
            value = max(value, rules.gte)
        return min(value, rules.lte) if rules.HasField("lte") else value

    def _text(self, field: Field, parent: Message) -> str:
        if name := self._resource_name(field, parent):
            return name
        said = _IN_COMMENT.search(field.comment)
        where = f"{parent.proto.name}.{field.name}".lower()
        found = next((text for pattern, text in _BY_NAME if re.search(pattern, where)), "example")
        rules = field.rules.repeated.items.string if field.is_repeated else field.rules.string
        candidates = [*([said[1]] if said else ()), *getattr(rules, "in"), found, "example"]
        text = next((candidate for candidate in candidates if re.search(rules.pattern, candidate)), found)
        while len(text) < rules.min_len:
            text += f"-{text}"
        return text[: rules.max_len] if rules.HasField("max_len") else text

    def _resource_name(self, field: Field, parent: Message) -> str:
        is_own = field.name == "name" and bool(parent.resource.type)
        resource = parent if is_own else self.contract.resources.get(field.reference)
        if resource is None:
            return ""
        pattern = resource.resource.pattern[0]
        return re.sub(r"\{(\w+)\}", lambda match: self.identifier(match[1]), pattern)
