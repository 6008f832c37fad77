"""What every request goes through before its method sees it: field behaviours, and the rules in the contract.

Two kinds of request are looked at later, when more is known: the record of an update (only the merged record must keep
the rules, not the part that was sent), and the rows of a batch (one wrong row need not refuse the others).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import protovalidate
from buf.validate import validate_pb2
from google.api import resource_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from kontor_kit import behaviours
from kontor_kit.calls import MethodSpec
from kontor_kit.errors import InvalidArgument, Violation

_PARTS = ("Update", "Upsert")
_BATCH = "BatchCreate"
_ROWS = "requests"
_FIRST, _LAST = -62_135_596_800, 253_402_300_799
"""The first and the last second of a google.protobuf.Timestamp."""
_SECOND = 1_000_000_000


class Checks:
    """Checks messages against their contract; keeps what it compiled of it."""

    def __init__(self) -> None:
        self._validator = protovalidate.Validator()

    def __call__(self, request: Message, spec: MethodSpec) -> None:
        """Clear what a caller cannot set, and raise InvalidArgument with everything that is wrong with the rest."""
        behaviours.clean(request)
        later = _later(spec)
        violations = self._violations(request)
        if later:
            violations = [found for found in violations if not found.field.startswith(later)]
        if violations:
            raise InvalidArgument(*violations)

    def record(self, message: Message) -> None:
        """Raise InvalidArgument where a record (or a row of a batch) breaks its contract; paths begin in it."""
        violations = self._violations(message)
        if violations:
            raise InvalidArgument(*violations)

    def immutable(self, before: Message, after: Message) -> None:
        """Raise InvalidArgument where a field differs that cannot be changed."""
        violations = behaviours.immutable_changes(before, after)
        if violations:
            raise InvalidArgument(*violations)

    def _violations(self, message: Message) -> list[Violation]:
        if b"\0" in message.SerializeToString():
            nuls = list(_with_nul(message, ""))
            if nuls:
                return nuls
        missing = [*behaviours.require(message), *_wrong_times(message, "")]
        known = {violation.field for violation in missing}
        if not _has_rules(message.DESCRIPTOR):
            return missing
        found = (_violation(violation.proto) for violation in self._validator.collect_violations(message))
        # A field that is missing need not be told to be too short as well.
        return missing + [violation for violation in found if violation.field not in known]


@contextmanager
def at(prefix: str) -> Iterator[None]:
    """Put `prefix` before the paths of all violations that are raised inside."""
    try:
        yield
    except InvalidArgument as error:
        violations = (Violation(f"{prefix}{'.' if field else ''}{field}", text) for field, text in error.violations)
        raise InvalidArgument(*violations, reason=error.reason) from error


@functools.cache
def _later(spec: MethodSpec) -> tuple[str, ...]:
    """Return how the paths begin that are looked at when more is known."""
    if spec.name.startswith(_BATCH):
        return (f"{_ROWS}[",)
    if spec.name.startswith(_PARTS):
        inner = spec.descriptor.input_type.fields
        return tuple(f"{field.name}." for field in inner if field.message_type and _is_resource(field.message_type))
    return ()


@functools.cache
def _has_rules(root: Descriptor) -> bool:
    """Tell whether `root`, or a message anywhere in it, has rules of protovalidate.

    Asking the validator makes a thread let go of the interpreter, which costs a busy server more than all else here.
    """
    for message in _within(root):
        options: list[tuple[Any, Any]] = [(message, validate_pb2.message)]
        options += [(field, validate_pb2.field) for field in message.fields]
        options += [(oneof, validate_pb2.oneof) for oneof in message.oneofs]
        if any(element.GetOptions().HasExtension(option) for element, option in options):
            return True
    return False


def _within(root: Descriptor) -> Iterator[Descriptor]:
    """Yield `root` and the types of all messages anywhere in it, each once."""
    found, queue = {root.full_name}, [root]
    while queue:
        message = queue.pop()
        yield message
        inner = {field.message_type.full_name: field.message_type for field in message.fields if field.message_type}
        queue += [type_ for name, type_ in inner.items() if name not in found]
        found.update(inner)


@functools.cache
def _timed(message: Descriptor) -> tuple[FieldDescriptor, ...]:
    """Return the fields of a message that are times, or messages with times anywhere in them."""
    return tuple(
        field
        for field in message.fields
        if field.message_type and any(type_ is Timestamp.DESCRIPTOR for type_ in _within(field.message_type))
    )


def _wrong_times(message: Message, prefix: str) -> Iterator[Violation]:
    """Find the times that are none: neither PostgreSQL nor Python knows years but those from 1 to 9999."""
    for field in _timed(message.DESCRIPTOR):
        held = getattr(message, field.name)
        if not field.is_repeated:
            entries: Any = [("", held)] if message.HasField(field.name) else []
        else:
            entries = held.items() if isinstance(held, Mapping) else enumerate(held)
        for key, entry in entries:
            path = f"{prefix}{field.name}{_step(key)}"
            if not isinstance(entry, Timestamp):
                yield from _wrong_times(entry, f"{path}.")
            elif not (_FIRST <= entry.seconds <= _LAST and 0 <= entry.nanos < _SECOND):
                yield Violation(path, "must be a time between the years 1 and 9999")


def _with_nul(message: Message, prefix: str) -> Iterator[Violation]:
    """Find the text with a NUL character, which PostgreSQL cannot store."""
    for field, value in message.ListFields():
        entries = (
            value.items() if isinstance(value, Mapping) else enumerate(value) if field.is_repeated else [("", value)]
        )
        for key, entry in entries:
            path = f"{prefix}{field.name}{_step(key)}"
            if isinstance(entry, Message):
                yield from _with_nul(entry, f"{path}.")
            elif (isinstance(entry, str) and "\0" in entry) or (isinstance(key, str) and "\0" in key):
                yield Violation(path.replace("\0", ""), "must not contain the character NUL")


def _step(key: str | int) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    return f".{key}" if key else ""


def _is_resource(descriptor: Descriptor) -> bool:
    return bool(descriptor.GetOptions().HasExtension(resource_pb2.resource))


def _violation(violation: Any) -> Violation:
    """Return the path of the field, such as `account.emails[0].address`, and what is wrong with it."""
    path = ""
    for element in violation.field.elements if violation.field else ():
        path += f".{element.field_name}" if path else element.field_name
        if element.subscript is not None:
            value = element.subscript.value
            path += f'["{value}"]' if isinstance(value, str) else f"[{value}]"
    return Violation(path, violation.message)
