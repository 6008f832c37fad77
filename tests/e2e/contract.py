"""The contract as these tests see it: every method there is, and a valid request for each of them."""

from __future__ import annotations

import itertools
import uuid
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from importlib import import_module, resources
from typing import Any

from buf.validate import validate_pb2
from google.api import annotations_pb2, field_behavior_pb2, resource_pb2
from google.protobuf import descriptor_pool, json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import Message

from kontor_kit.calls import PUBLIC, MethodSpec
from tests.e2e.samples import (
    BEGUN,
    CALLER,
    FOLLOWED,
    LINK,
    MAKERS,
    MESSAGES,
    RECORDS,
    REQUESTS,
    START,
    TEXTS,
    TIMES,
    Names,
    nothing,
    state_for,
)

TENANT = "identity.kontor/Tenant"
OPERATION = "Operation"
"""What every service has as `contacts.kontor/Operation`, without a message of its own for it."""

_NUMBERS = itertools.count(1)
_RUN = uuid.uuid4().hex[:12]
# Not required of everything that has it; but a record has to be called something.
_ALWAYS = "display_name"
_FIXED = {"IDENTIFIER", "IMMUTABLE", "OUTPUT_ONLY"}


@cache
def methods() -> tuple[MethodSpec, ...]:
    """Return every method of the platform that clients can call; the rest is between services."""
    contract = FileDescriptorSet.FromString((resources.files("kontor") / "descriptors.binpb").read_bytes())
    ours = [file for file in contract.file if file.package.startswith("kontor.")]
    for file in ours:
        import_module(file.name.removesuffix(".proto").replace("/", ".") + "_pb2")
    pool = descriptor_pool.Default()
    services = [pool.FindServiceByName(f"{file.package}.{service.name}") for file in ours for service in file.service]
    return tuple(
        MethodSpec.of(method)
        for service in services
        for method in service.methods
        if method.GetOptions().HasExtension(annotations_pb2.http)
    )


def protected() -> list[MethodSpec]:
    """Return the methods that need a token."""
    return [spec for spec in methods() if spec.permission != PUBLIC]


def method(name: str) -> MethodSpec:
    """Return the method of a name, for example `GetAccount`."""
    (found,) = (spec for spec in methods() if spec.name == name)
    return found


def services() -> list[str]:
    """Return who serves methods."""
    return sorted({service_of(spec) for spec in methods()})


def service_of(spec: MethodSpec) -> str:
    """Return who serves a method, for example `contacts`."""
    return spec.service.split(".")[1]


def behaviours(field: FieldDescriptor) -> set[str]:
    """Return the names of the field's behaviours, for example REQUIRED."""
    options = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    return {field_behavior_pb2.FieldBehavior.Name(value) for value in options}


def reference(field: FieldDescriptor) -> str:
    """Return the type of the resource that a field names; empty where it names none."""
    return str(field.GetOptions().Extensions[resource_pb2.resource_reference].type)


def resource_type(message: Descriptor | None) -> str:
    """Return the type of a resource; empty for other messages."""
    return str(message.GetOptions().Extensions[resource_pb2.resource].type) if message is not None else ""


def resource_types() -> set[str]:
    """Return the types of all resources that methods answer with."""
    return {resource_type(spec.descriptor.output_type) for spec in methods()} - {""}


def is_of_operations(spec: MethodSpec) -> bool:
    """Tell whether a method is one of those that every service has for its operations."""
    return spec.service.endswith(f".{OPERATION}Service")


def target(spec: MethodSpec) -> str:
    """Return the type of the record that a request names to do something to it; empty where it names none."""
    if is_of_operations(spec):
        return "" if spec.name.startswith("List") else f"{service_of(spec)}.kontor/{OPERATION}"
    for field in spec.descriptor.input_type.fields:
        if field.name in ("name", "names", "parent"):
            return reference(field)
        if field.message_type is not None and spec.name.startswith("Update") and resource_type(field.message_type):
            return resource_type(field.message_type)
    return ""


def is_creating(spec: MethodSpec) -> bool:
    """Tell whether a method makes records that do not hang on another one."""
    return not spec.is_read and not target(spec)


def is_finding(spec: MethodSpec) -> bool:
    """Tell whether a method finds records that the request does not name, or one."""
    if is_of_operations(spec):
        return not target(spec)
    if spec.is_read and not target(spec) and resource_type(spec.descriptor.output_type):
        return True
    lists = [field.message_type for field in spec.descriptor.output_type.fields if field.is_repeated]
    inner = [field.message_type for row in lists if row is not None for field in row.fields]
    return spec.is_read and not target(spec) and any(map(resource_type, [*lists, *inner]))


def request(spec: MethodSpec, names: Names) -> Any:
    """Return a valid request about the records `names`, as small as can be; what has to be unique is new."""
    made = spec.input()
    if is_of_operations(spec):
        name, value = ("name", names[target(spec)]) if target(spec) else ("parent", f"services/{service_of(spec)}")
        setattr(made, name, value)
        return made
    if spec.name.startswith("Update"):
        record = record_in(made)
        record.name = names[resource_type(record.DESCRIPTOR)]
        _change(record)
        return made
    _fill(made, names)
    record = record_in(made)
    if record is not None:
        put(record, RECORDS.get(resource_type(record.DESCRIPTOR), nothing)(names))
    put(made, REQUESTS.get(spec.name, nothing)(names))
    return made


def put(message: Message, fields: Mapping[str, Any]) -> None:
    """Set fields of a message, given as in JSON, to these values instead of those that they have."""
    known = {field.json_name: field.name for field in message.DESCRIPTOR.fields}
    for name in fields:
        message.ClearField(known[name])
    json_format.ParseDict(fields, message)


def maker(kind: str) -> MethodSpec:
    """Return the method that records of a kind come from."""
    return method(MAKERS.get(kind, f"Create{kind.partition('/')[2]}"))


def needs(kind: str) -> set[str]:
    """Return the kinds of the records without which one of this kind cannot be made."""
    begun = {BEGUN[kind][1]} if kind in BEGUN else set()
    kind = FOLLOWED.get(kind, kind)
    spec, asked = maker(kind), defaultdict[str, str](str)
    state = state_for(spec.name)
    for fields in (RECORDS.get(kind), REQUESTS.get(spec.name), *(state.asking if state else ())):
        if fields is not None:
            fields(asked)
    pending, found = [spec.descriptor.input_type], {*asked, *begun, state.kind if state else ""}
    while pending:
        for field in pending.pop().fields:
            if "REQUIRED" in behaviours(field):
                found.add(reference(field))
                pending += [field.message_type] if field.message_type is not None else []
    return found - {"", CALLER, LINK}


def made_by(answer: Any, kind: str) -> str:
    """Return the name of the record of a kind that an answer holds."""
    if resource_type(answer.DESCRIPTOR) == kind:
        return str(answer.name)
    for field, value in answer.ListFields():
        if resource_type(field.message_type) == kind:
            return str((value[0] if field.is_repeated else value).name)
    raise AssertionError(f"no {kind} in {answer}")


def record_in(made: Any) -> Any:
    """Return the record that a request holds, the first of a batch; None where it holds none."""
    for field in made.DESCRIPTOR.fields:
        if field.name == "requests":
            return record_in(made.requests[0])
        if resource_type(field.message_type):
            return getattr(made, field.name)
    return None


def _change(record: Any) -> None:
    """Give something another value that may have any."""
    fields = [field for field in record.DESCRIPTOR.fields if not behaviours(field) & _FIXED and not reference(field)]
    texts = [field for field in fields if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated]
    free = [field for field in texts if field.name != "etag"]
    for field in sorted(free, key=lambda field: "REQUIRED" in behaviours(field)):
        setattr(record, field.name, _text(field))
        return
    for field in fields:
        if field.is_repeated and field.message_type is not None:
            _fill_message(field, getattr(record, field.name).add(), {})
            return
        if field.message_type is not None and field.message_type.full_name in MESSAGES:
            _fill_message(field, getattr(record, field.name), {})
            return


def _fill(message: Message, names: Names) -> None:
    for field in message.DESCRIPTOR.fields:
        if "REQUIRED" not in behaviours(field) and field.name != _ALWAYS:
            continue
        if field.message_type is not None:
            inner = getattr(message, field.name).add() if field.is_repeated else getattr(message, field.name)
            inner.SetInParent()
            _fill_message(field, inner, names)
            continue
        value = _value(field, names)
        if field.is_repeated:
            getattr(message, field.name).append(value)
        else:
            setattr(message, field.name, value)


def _fill_message(field: FieldDescriptor, inner: Any, names: Names) -> None:
    kind = inner.DESCRIPTOR.full_name
    if kind == "google.protobuf.Timestamp":
        inner.FromJsonString(TIMES.get(field.name, START))
    elif kind == "google.type.Date":
        # The first of a month: periods begin there.
        number = next(_NUMBERS)
        inner.year, inner.month, inner.day = 2030 + number // 12, 1 + number % 12, 1
    elif kind in MESSAGES:
        json_format.ParseDict(MESSAGES[kind], inner)
    else:
        _fill(inner, names)


def _value(field: FieldDescriptor, names: Names) -> Any:
    if field.enum_type is not None:
        rules = field.GetOptions().Extensions[validate_pb2.field]
        refused = {0, *rules.enum.not_in, *rules.repeated.items.enum.not_in}
        return next(value.number for value in field.enum_type.values if value.number not in refused)
    if field.type == FieldDescriptor.TYPE_STRING:
        return names[reference(field)] if reference(field) else _text(field)
    return 1


def _text(field: FieldDescriptor) -> str:
    return TEXTS.get(field.name, "Example {}").format(f"{_RUN}{next(_NUMBERS)}")


def references(spec: MethodSpec) -> list[str]:
    """Return the fields of the record in a request that name other records, those that a caller can set."""
    record = record_in(spec.input())
    fields = [] if record is None else record.DESCRIPTOR.fields
    return [field.name for field in fields if reference(field) and "OUTPUT_ONLY" not in behaviours(field)]


def refer(record: Any, name: str, names: Names) -> None:
    """Let the field of a record name the record of `names`."""
    field = record.DESCRIPTOR.fields_by_name[name]
    if field.is_repeated:
        getattr(record, name).append(names[reference(field)])
    else:
        setattr(record, name, names[reference(field)])
