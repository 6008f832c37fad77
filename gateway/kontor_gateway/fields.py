"""The Lua tables that the request filter checks against: the fields of every message that a REST request can hold."""

from __future__ import annotations

import json
from collections.abc import Iterator

from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Proto

from kontor_gateway.contract import Binding, Contract, Field, Message, Method

_INTEGERS = {
    Proto.TYPE_INT32: "int32",
    Proto.TYPE_SINT32: "int32",
    Proto.TYPE_SFIXED32: "int32",
    Proto.TYPE_UINT32: "uint32",
    Proto.TYPE_FIXED32: "uint32",
    Proto.TYPE_INT64: "int64",
    Proto.TYPE_SINT64: "int64",
    Proto.TYPE_SFIXED64: "int64",
    Proto.TYPE_UINT64: "uint64",
    Proto.TYPE_FIXED64: "uint64",
}
_SCALARS = {
    **_INTEGERS,
    Proto.TYPE_STRING: "string",
    Proto.TYPE_BYTES: "bytes",
    Proto.TYPE_BOOL: "bool",
    Proto.TYPE_DOUBLE: "double",
    Proto.TYPE_FLOAT: "double",
    Proto.TYPE_ENUM: "enum",
}
# Messages that have a form of their own in JSON.
_WELL_KNOWN = {
    "google.protobuf.Timestamp": "timestamp",
    "google.protobuf.Duration": "duration",
    "google.protobuf.FieldMask": "mask",
    "google.protobuf.Struct": "struct",
    "google.protobuf.Value": "any",
    "google.protobuf.ListValue": "array",
    "google.protobuf.Any": "struct",
    "google.protobuf.StringValue": "string",
    "google.protobuf.BytesValue": "bytes",
    "google.protobuf.BoolValue": "bool",
    "google.protobuf.Int32Value": "int32",
    "google.protobuf.UInt32Value": "uint32",
    "google.protobuf.Int64Value": "int64",
    "google.protobuf.UInt64Value": "uint64",
    "google.protobuf.DoubleValue": "double",
    "google.protobuf.FloatValue": "double",
}
HTTP_BODY = "google.api.HttpBody"


def kind_of(field: Field) -> str:
    """The kind of a field's values in JSON: a scalar type, `enum`, `message`, or what a well-known type becomes."""
    if field.type_name in _WELL_KNOWN:
        return _WELL_KNOWN[field.type_name]
    return _SCALARS.get(field.proto.type, "message")


def route_key(method: Method, binding: Binding) -> str:
    """What a route tells the request filter: the method, and by which of its bindings it was called."""
    return f"{method.full_name}#{method.bindings.index(binding)}"


def tables(contract: Contract) -> str:
    """Lua source that defines MESSAGES, ENUMS and METHODS for all methods with a REST route."""
    messages = reachable(contract, (method.request for method in contract.methods if method.bindings))
    lines = ["local MESSAGES, ENUMS, METHODS = {}, {}, {}"]
    fields = [field for message in messages for field in _fields(contract, message)]
    for name in sorted({field.type_name for field in fields if kind_of(field) == "enum"}):
        values = ",".join(f"{value}=true" for value in contract.enums[name].values)
        lines.append(f"ENUMS[{_text(name)}]={{{values}}}")
    for message in messages:
        lines.append(_message(contract, message))
    for method in contract.methods:
        lines += [_method(contract, method, binding) for binding in method.bindings]
    return "\n".join(lines) + "\n"


def reachable(contract: Contract, names: Iterator[str]) -> list[Message]:
    """The named messages and those inside of them, without map entries and well-known types, sorted by name."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found or name in _WELL_KNOWN or name == HTTP_BODY:
            continue
        found.add(name)
        for field in _fields(contract, contract.messages[name]):
            if kind_of(field) == "message":
                waiting.append(field.type_name)
    return [contract.messages[name] for name in sorted(found)]


def _fields(contract: Contract, message: Message) -> Iterator[Field]:
    """The fields of a message; in place of a map the field of its values."""
    for field in message.fields.values():
        entry = contract.map_entry(field)
        yield entry.fields["value"] if entry else field


def _message(contract: Contract, message: Message) -> str:
    fields = []
    for field in message.fields.values():
        item = f"name={_text(field.name)}"
        values = field
        if entry := contract.map_entry(field):
            values = entry.fields["value"]
            item += f",key={_text(_key_kind(entry.fields['key']))}"
        elif field.is_repeated:
            item += ",list=true"
        kind = kind_of(values)
        item += f",kind={_text(kind)}"
        if kind in ("enum", "message"):
            item += f",type={_text(values.type_name)}"
        fields.append(f"[{_text(field.json_name)}]={{{item}}}")
    aliases = [
        f"m.{field.name}=m.{field.json_name}" for field in message.fields.values() if field.name != field.json_name
    ]
    body = ";".join(aliases)
    return f"do local m={{{','.join(fields)}}};{body} MESSAGES[{_text(message.full_name)}]=m end"


def _key_kind(key: Field) -> str:
    kind = kind_of(key)
    return "int" if "int" in kind else kind


def _method(contract: Contract, method: Method, binding: Binding) -> str:
    bound = ",".join(f"[{_text(variable.path)}]=true" for variable in binding.template.variables)
    item = f"request={_text(method.request)},bound={{{bound}}}"
    if binding.body:
        item += f",body={_text(binding.body)}"
        field = contract.messages[method.request].fields.get(binding.body)
        if field and field.is_required:
            item += ",needs_body=true"
        if HTTP_BODY in (method.request, field.type_name if field else ""):
            item += ",raw=true"
        elif guarded := _guarded(contract, method, binding):
            item += f",pattern={_text(binding.template.lua_pattern)},guarded={{{guarded}}}"
    return f"METHODS[{_text(route_key(method, binding))}]={{{item}}}"


def _guarded(contract: Contract, method: Method, binding: Binding) -> str:
    """The fields that the path fills, in the order of the template; "" where the body can contradict none of them."""
    inside = [variable for variable in binding.template.variables if variable.path.startswith(f"{binding.body}.")]
    if binding.body != "*" and not inside:
        return ""
    items = []
    for variable in binding.template.variables:
        *parents, name = variable.path.split(".")
        message = method.request
        for parent in parents:
            message = contract.messages[message].fields[parent].type_name
        items.append(f"{{message={_text(message)},field={_text(name)},level={len(parents) + 1}}}")
    return ",".join(items)


def _text(value: str) -> str:
    return json.dumps(value)
