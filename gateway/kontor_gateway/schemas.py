"""JSON schemas of messages and fields, for OpenAPI 3.1.

A message has up to three schemas, because the same message is read and written by different rules:

- `contacts.v1.Account`: what an answer holds. Fields with default values are left out of answers, so nothing is
  required, and clients have to expect fields that are added later.
- `contacts.v1.AccountInput`: what a request may hold, with all constraints; anything else is refused.
- `contacts.v1.AccountPatch`: the same for updates, where no field of the resource itself is required.
"""

from __future__ import annotations

from typing import Any, Literal

from google.protobuf.message import Message as ProtoMessage

from kontor_gateway.contract import Contract, Enum, Field, Message
from kontor_gateway.fields import kind_of

Json = dict[str, Any]
Mode = Literal["output", "input", "patch"]

STATUS = "google.rpc.Status"
_SUFFIX: dict[Mode, str] = {"output": "", "input": "Input", "patch": "Patch"}
_KINDS: dict[str, Json] = {
    "string": {"type": "string"},
    "bytes": {"type": "string", "contentEncoding": "base64"},
    "bool": {"type": "boolean"},
    "double": {"type": "number", "format": "double"},
    "int32": {"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1},
    "uint32": {"type": "integer", "format": "int64", "minimum": 0, "maximum": 2**32 - 1},
    "int64": {"type": "string", "format": "int64", "pattern": "^-?[0-9]{1,19}$"},
    "uint64": {"type": "string", "format": "uint64", "pattern": "^[0-9]{1,20}$"},
    "timestamp": {"type": "string", "format": "date-time"},
    "duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
    "mask": {"type": "string", "pattern": "^[A-Za-z0-9_.,*]*$"},
    "struct": {"type": "object", "additionalProperties": True},
    "array": {"type": "array"},
    "any": {},
}
_FORMATS = {"email": "email", "uri": "uri", "hostname": "hostname", "uuid": "uuid", "ipv4": "ipv4", "ipv6": "ipv6"}


class Schemas:
    """Collects the component schemas that are asked for, and those that they refer to."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.components: dict[str, Json] = {}

    def message(self, name: str, mode: Mode) -> Json:
        """A reference to the schema of the message, which is added to the components."""
        key = schema_name(name) + _SUFFIX[mode]
        if key not in self.components:
            self.components[key] = {}  # A message may hold itself.
            self.components[key] = self._message(self.contract.messages[name], mode)
        return _reference(key)

    def field(self, field: Field, mode: Mode) -> Json:
        """The schema of a field's values, without its description."""
        if entry := self.contract.map_entry(field):
            return self._map(field, entry, mode)
        value = self._value(field, mode)
        if not field.is_repeated:
            return value | ({} if mode == "output" else _rules(field.rules, value, self._enum_of(field)))
        if mode == "output":
            return {"type": "array", "items": value}
        rules = field.rules.repeated
        schema: Json = {"type": "array", "items": value | _rules(rules.items, value, self._enum_of(field))}
        return schema | _present(rules, min_items="minItems", max_items="maxItems", unique="uniqueItems")

    def _message(self, message: Message, mode: Mode) -> Json:
        schema: Json = {"type": "object", "title": message.full_name.rsplit(".", 1)[-1]}
        if message.comment:
            schema["description"] = message.comment
        properties = {
            field.json_name: self._property(field, mode)
            for field in message.fields.values()
            if not (mode == "output" and field.has_behavior("INPUT_ONLY"))
        }
        schema["properties"] = properties
        if mode == "output":
            return schema
        required = [field.json_name for field in message.fields.values() if field.is_required]
        if required and mode == "input":
            schema["required"] = required
        schema["additionalProperties"] = False
        return schema

    def _property(self, field: Field, mode: Mode) -> Json:
        schema = self.field(field, "input" if mode == "patch" else mode)
        if mode == "patch":
            # What is empty is not set, and stays as it is, unless the mask names it: so does the value 0 of an enum.
            schema = {name: value for name, value in schema.items() if name not in ("minLength", "minItems", "not")}
        if mode != "output" and not (mode == "input" and field.is_required):
            schema = _nullable(schema)
        notes = [field.comment]
        if field.has_behavior("IMMUTABLE"):
            notes.append("Cannot be changed later.")
        if mode != "output":
            notes += [rule.message for rule in field.rules.cel if rule.message]
        if description := " ".join(note for note in notes if note):
            schema["description"] = description
        if field.has_behavior("OUTPUT_ONLY") or field.has_behavior("IDENTIFIER"):
            schema["readOnly"] = True
        elif field.has_behavior("INPUT_ONLY"):
            schema["writeOnly"] = True
        return schema

    def _map(self, field: Field, entry: Message, mode: Mode) -> Json:
        schema: Json = {"type": "object", "additionalProperties": self.field(entry.fields["value"], mode)}
        if "int" in kind_of(entry.fields["key"]):
            schema["propertyNames"] = {"pattern": "^-?[0-9]+$"}
        if mode != "output":
            schema |= _present(field.rules.map, min_pairs="minProperties", max_pairs="maxProperties")
        return schema

    def _value(self, field: Field, mode: Mode) -> Json:
        kind = kind_of(field)
        if kind == "message":
            return self.message(field.type_name, mode)
        if kind == "enum":
            return self._enum(self.contract.enums[field.type_name])
        schema = dict(_KINDS[kind])
        if mode != "output" and kind in ("int64", "uint64"):
            schema["type"] = ["string", "integer"]
        return schema

    def _enum(self, enum: Enum) -> Json:
        key = schema_name(enum.full_name)
        if key not in self.components:
            lines = [f"- `{name}`: {comment}" for name, comment in enum.values.items()]
            self.components[key] = {
                "type": "string",
                "title": enum.full_name.rsplit(".", 1)[-1],
                "description": "\n".join([enum.comment, "", *lines]).strip(),
                "enum": list(enum.values),
            }
        return _reference(key)

    def _enum_of(self, field: Field) -> Enum | None:
        return self.contract.enums.get(field.type_name)


def schema_name(full_name: str) -> str:
    """The name of a message or an enum among the components: without `kontor.`."""
    return full_name.removeprefix("kontor.")


def _reference(key: str) -> Json:
    return {"$ref": f"#/components/schemas/{key}"}


def _nullable(schema: Json) -> Json:
    """Null stands for a field that is not set, as in all of proto3's JSON."""
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    if "type" not in schema:
        return schema
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return schema | {"type": [*kinds, "null"]}


def _rules(rules: ProtoMessage, schema: Json, enum: Enum | None) -> Json:
    """The keywords that say the same as the protovalidate rules of one value."""
    kind = rules.WhichOneof("type")
    if kind is None or kind in ("repeated", "map"):
        return {}
    of_kind = getattr(rules, kind)
    if kind == "string":
        return _string_rules(of_kind)
    if kind == "enum":
        return _enum_rules(of_kind, enum)
    if schema.get("type") not in ("integer", "number"):
        return {}
    names = {"gte": "minimum", "lte": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum", "const": "const"}
    return _present(of_kind, **names)


def _string_rules(rules: Any) -> Json:
    keywords = _present(rules, min_len="minLength", max_len="maxLength", pattern="pattern", const="const")
    if rules.HasField("len"):
        keywords |= {"minLength": rules.len, "maxLength": rules.len}
    if rules.HasField("prefix"):
        keywords["pattern"] = "^" + rules.prefix
    values = getattr(rules, "in")
    if values:
        keywords["enum"] = list(values)
    known = rules.WhichOneof("well_known")
    if known in _FORMATS:
        keywords["format"] = _FORMATS[known]
    return keywords


def _enum_rules(rules: Any, enum: Enum | None) -> Json:
    if enum is None or not rules.not_in:
        return {}
    numbers = set(rules.not_in)
    return {"not": {"enum": [value.name for value in enum.proto.value if value.number in numbers]}}


def _present(rules: Any, **names: str) -> Json:
    """The rules that are set, by their names in JSON schema."""
    return {keyword: getattr(rules, name) for name, keyword in names.items() if _is_set(rules, name)}


def _is_set(rules: ProtoMessage, name: str) -> bool:
    return name in rules.DESCRIPTOR.fields_by_name and rules.HasField(name)
