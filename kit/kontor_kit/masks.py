"""Field masks: which fields a caller wants to read (AIP-157) or to change (AIP-134, AIP-161).

A path names a field (`display_name`), a field inside a message (`annual_revenue.units`) or a key of a Struct
(`custom_fields.segment`, everything behind the first dot). It does not lead into repeated fields.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import cast

from google.api.field_behavior_pb2 import IDENTIFIER, IMMUTABLE, OUTPUT_ONLY
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from kontor_kit import behaviours
from kontor_kit.errors import InvalidArgument, Violation

MAX_PATHS = 200

_STRUCT = Struct.DESCRIPTOR.full_name
# A message's etag guards an update, it is never a value to store; it is no OUTPUT_ONLY field because callers send it.
_ETAG = "etag"


def read_paths(mask: FieldMask, descriptor: Descriptor, field: str = "read_mask") -> tuple[str, ...]:
    """Return the paths to read, without those that others include; empty where all fields are wanted.

    Raises InvalidArgument for `field`, naming each path that does not exist.
    """
    if not mask.paths or list(mask.paths) == ["*"]:
        return ()
    _resolve(mask, descriptor, field)
    return _without_included(mask.paths)


def prune(message: Message, paths: tuple[str, ...]) -> None:
    """Clear what `paths` do not name; nothing where they are empty."""
    if not paths:
        return
    heads = _heads(paths)
    for field, value in message.ListFields():
        rest = heads.get(field.name)
        if rest is None:
            message.ClearField(field.name)
        elif rest and isinstance(value, Struct):
            for key in [key for key in value.fields if key not in rest]:
                del value.fields[key]
        elif rest:
            prune(value, rest)


def update_paths(mask: FieldMask, message: Message, field: str = "update_mask") -> tuple[str, ...]:
    """Return the paths of an update, without those that others include.

    An empty mask stands for the fields that are set in `message` (for a Struct: its keys), `*` for all of them. Fields
    that a caller cannot set are left out (OUTPUT_ONLY, IDENTIFIER, the etag), and with `*` also IMMUTABLE fields that
    are not set. Raises InvalidArgument for `field`, naming each path that does not exist.
    """
    if not mask.paths:
        return tuple(_set_paths(message))
    descriptor = _type(message)
    if list(mask.paths) == ["*"]:
        present = {inner.name for inner, _ in message.ListFields()}
        return tuple(
            inner.name
            for inner in descriptor.fields
            if _is_settable(inner) and (inner.name in present or IMMUTABLE not in behaviours.of(inner))
        )
    chains = _resolve(mask, descriptor, field)
    return _without_included(path for path, chain in chains.items() if all(map(_is_settable, chain)))


def apply(paths: Iterable[str], source: Message, target: Message) -> None:
    """Copy the fields that `paths` name from `source` to `target`; clear those that `source` does not have.

    A key of a Struct is removed where it is missing in `source`, or null.
    """
    for path in paths:
        head, _, rest = path.partition(".")
        if not rest:
            _copy(_type(source).fields_by_name[head], source, target)
        elif isinstance(struct := getattr(source, head), Struct):
            value = struct.fields.get(rest)
            if value is not None and value.WhichOneof("kind") not in (None, "null_value"):
                getattr(target, head).fields[rest].CopyFrom(value)
            elif target.HasField(head):
                getattr(target, head).fields.pop(rest, None)
        elif source.HasField(head) or target.HasField(head):
            apply((rest,), getattr(source, head), getattr(target, head))


def _copy(field: FieldDescriptor, source: Message, target: Message) -> None:
    name = field.name
    if field.is_repeated:
        target.ClearField(name)
        getattr(target, name).MergeFrom(getattr(source, name))
    elif field.has_presence and not source.HasField(name):
        target.ClearField(name)
    elif field.message_type is None:
        setattr(target, name, getattr(source, name))
    else:
        copied = getattr(target, name)
        copied.CopyFrom(getattr(source, name))
        copied.SetInParent()
        if isinstance(copied, Struct):
            for key in [key for key, value in copied.fields.items() if value.WhichOneof("kind") == "null_value"]:
                del copied.fields[key]


def _type(message: Message) -> Descriptor:
    return cast(Descriptor, message.DESCRIPTOR)


def _set_paths(message: Message) -> Iterable[str]:
    for field, value in message.ListFields():
        if not _is_settable(field):
            continue
        if isinstance(value, Struct):
            yield from (f"{field.name}.{key}" for key in value.fields)
        else:
            yield field.name


def _is_settable(field: FieldDescriptor) -> bool:
    declared = behaviours.of(field)
    return field.name != _ETAG and OUTPUT_ONLY not in declared and IDENTIFIER not in declared


def _resolve(mask: FieldMask, descriptor: Descriptor, field: str) -> dict[str, list[FieldDescriptor]]:
    """Return for each path the fields it leads through."""
    if len(mask.paths) > MAX_PATHS:
        raise InvalidArgument((field, f"must not name more than {MAX_PATHS} paths"))
    chains: dict[str, list[FieldDescriptor]] = {}
    violations: list[Violation] = []
    for path in mask.paths:
        try:
            chains[path] = _chain(path, descriptor)
        except ValueError as error:
            violations.append(Violation(field, str(error)))
    if violations:
        raise InvalidArgument(*violations)
    return chains


def _chain(path: str, descriptor: Descriptor) -> list[FieldDescriptor]:
    chain: list[FieldDescriptor] = []
    rest = path
    while True:
        name, dot, rest = rest.partition(".")
        field = descriptor.fields_by_name.get(name)
        if field is None:
            raise ValueError(f"{path!r} names no field of {descriptor.name}")
        chain.append(field)
        if not dot:
            return chain
        inner = field.message_type
        if field.is_repeated:
            raise ValueError(f"{path!r} leads into the repeated field {name}, which is read and written as a whole")
        if inner is not None and inner.full_name == _STRUCT and rest:
            return chain
        if inner is None or inner.file.package == "google.protobuf":
            raise ValueError(f"{path!r} leads into {name}, which has no fields")
        descriptor = inner


def _without_included(paths: Iterable[str]) -> tuple[str, ...]:
    """Drop repetitions, and paths below one that is there too; the order stays."""
    distinct = dict.fromkeys(paths)
    return tuple(path for path in distinct if not any(parent in distinct for parent in _parents(path)))


def _parents(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


@functools.lru_cache(maxsize=256)
def _heads(paths: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return what the paths name below each first part; empty where they name all of it."""
    heads: dict[str, tuple[str, ...]] = {}
    for path in paths:
        head, _, rest = path.partition(".")
        heads[head] = (*heads.get(head, ()), rest) if rest else ()
    return heads
