"""Field behaviours (https://google.aip.dev/203): what a caller may set, must set, and may never change.

The annotations of a message are read once per type; a message whose type has none of a kind costs one look-up.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from google.api import resource_pb2
from google.api.field_behavior_pb2 import IMMUTABLE, OUTPUT_ONLY, REQUIRED, field_behavior
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from kontor_kit.errors import Violation


@functools.cache
def of(field: FieldDescriptor) -> frozenset[int]:
    """Return the behaviours that a field declares, values of `google.api.FieldBehavior`."""
    return frozenset(field.GetOptions().Extensions[field_behavior])


def clean(message: Message) -> None:
    """Clear all OUTPUT_ONLY fields, at any depth: what a caller sends there is ignored."""
    plan = _plan(message.DESCRIPTOR, OUTPUT_ONLY)
    if plan:
        _clean(message, plan)


def require(message: Message, prefix: str = "") -> list[Violation]:
    """Return the REQUIRED fields that are not set, at any depth; `prefix` is the path of `message` in the request.

    In an update request (`Update...Request`) the fields inside the resource are not looked at: only those that the
    mask names are required there, see `require_named`.
    """
    plan = _plan(message.DESCRIPTOR, REQUIRED)
    return list(_missing(message, plan, prefix)) if plan else []


def require_named(message: Message, paths: Iterable[str], prefix: str = "") -> list[Violation]:
    """Return the REQUIRED fields that are not set among those that `paths` name, and at any depth inside of them.

    `paths` are those that `masks.update_paths` returned for this message.
    """
    violations: list[Violation] = []
    for path in paths:
        head, _, rest = path.partition(".")
        field = message.DESCRIPTOR.fields_by_name[head]
        plan = _plan(message.DESCRIPTOR, REQUIRED)
        inner = field.message_type
        if plan is None or (inner is not None and inner.full_name == "google.protobuf.Struct"):
            continue
        if rest:
            if message.HasField(head):
                violations += require_named(getattr(message, head), [rest], _join(prefix, head))
            continue
        part = _Plan(
            [own for own in plan.own if own[0] == head], [nested for nested in plan.nested if nested[0] == head]
        )
        violations += _missing(message, part, prefix)
    return violations


def immutable_changes(before: Message, after: Message, prefix: str = "") -> list[Violation]:
    """Return the IMMUTABLE fields that differ between two versions of a record, except inside repeated fields."""
    plan = _plan(before.DESCRIPTOR, IMMUTABLE)
    return list(_changed(before, after, plan, prefix)) if plan else []


@dataclass(slots=True)
class _Plan:
    """Where the fields of one behaviour are in a message type."""

    own: list[tuple[str, bool]]
    """Name of the field, and whether it knows presence."""
    nested: list[tuple[str, bool, _Plan]]
    """Name of the field, whether it is repeated, and where they are inside of it."""


@functools.cache
def _plan(descriptor: Descriptor, behaviour: int) -> _Plan | None:
    """Return None where neither the type nor any type inside of it has a field of this behaviour."""
    return _build(descriptor, behaviour, {}) if _is_relevant(descriptor, behaviour) else None


def _build(descriptor: Descriptor, behaviour: int, known: dict[Descriptor, _Plan]) -> _Plan:
    if descriptor in known:
        return known[descriptor]
    plan = known[descriptor] = _Plan([], [])
    for field in descriptor.fields:
        if behaviour in of(field):
            plan.own.append((field.name, field.has_presence))
        inner = field.message_type
        if inner is None or inner.GetOptions().map_entry or not _is_relevant(inner, behaviour):
            continue
        if behaviour == REQUIRED and descriptor.name.startswith("Update") and _is_resource(inner):
            continue
        plan.nested.append((field.name, field.is_repeated, _build(inner, behaviour, known)))
    return plan


@functools.cache
def _is_relevant(descriptor: Descriptor, behaviour: int) -> bool:
    seen = {descriptor}
    ahead = [descriptor]
    while ahead:
        for field in ahead.pop().fields:
            if behaviour in of(field):
                return True
            if field.message_type is not None and field.message_type not in seen:
                seen.add(field.message_type)
                ahead.append(field.message_type)
    return False


def _is_resource(descriptor: Descriptor) -> bool:
    return bool(descriptor.GetOptions().HasExtension(resource_pb2.resource))


def _clean(message: Message, plan: _Plan) -> None:
    for name, _ in plan.own:
        message.ClearField(name)
    for name, repeated, inner in plan.nested:
        if repeated:
            for item in getattr(message, name):
                _clean(item, inner)
        elif message.HasField(name):
            _clean(getattr(message, name), inner)


def _missing(message: Message, plan: _Plan, prefix: str) -> Iterator[Violation]:
    for name, has_presence in plan.own:
        if not (message.HasField(name) if has_presence else getattr(message, name)):
            yield Violation(_join(prefix, name), "is required")
    for name, repeated, inner in plan.nested:
        if repeated:
            for index, item in enumerate(getattr(message, name)):
                yield from _missing(item, inner, f"{_join(prefix, name)}[{index}]")
        elif message.HasField(name):
            yield from _missing(getattr(message, name), inner, _join(prefix, name))


def _changed(before: Message, after: Message, plan: _Plan, prefix: str) -> Iterator[Violation]:
    for name, has_presence in plan.own:
        appeared = has_presence and before.HasField(name) != after.HasField(name)
        if appeared or getattr(before, name) != getattr(after, name):
            yield Violation(_join(prefix, name), "cannot be changed")
    for name, repeated, inner in plan.nested:
        if not repeated and (before.HasField(name) or after.HasField(name)):
            yield from _changed(getattr(before, name), getattr(after, name), inner, _join(prefix, name))


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
