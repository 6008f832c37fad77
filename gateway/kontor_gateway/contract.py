"""The contract as the gateway reads it off the descriptor set: methods, messages, enums, and their comments."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from buf.validate import validate_pb2 as validate_pb2  # registers the options, so that they are parsed
from google.api import annotations_pb2, field_behavior_pb2, resource_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

from kontor.api.v1 import annotations_pb2 as kontor_pb2
from kontor_gateway.templates import Template, parse

# Numbers of fields in descriptor.proto, by which source code locations are addressed.
_FILE_MESSAGES, _FILE_ENUMS, _FILE_SERVICES = 4, 5, 6
_MESSAGE_FIELDS, _MESSAGE_NESTED, _MESSAGE_ENUMS = 2, 3, 4
_ENUM_VALUES = _SERVICE_METHODS = 2

Location = tuple[int, ...]


@dataclass(frozen=True)
class Enum:
    """An enum with its comments; `values` maps each name to its comment, in the order of the file."""

    full_name: str
    proto: EnumDescriptorProto
    comment: str
    values: dict[str, str]


@dataclass(frozen=True)
class Field:
    """A field of a message."""

    proto: FieldDescriptorProto
    comment: str

    @property
    def name(self) -> str:
        """The name in the proto, snake_case."""
        return self.proto.name

    @property
    def json_name(self) -> str:
        """The name in JSON, camelCase."""
        return self.proto.json_name

    @property
    def type_name(self) -> str:
        """The full name of the field's message or enum type, "" for scalars."""
        return self.proto.type_name.lstrip(".")

    @property
    def is_repeated(self) -> bool:
        """Whether the field repeats; true for maps too."""
        return self.proto.label == FieldDescriptorProto.LABEL_REPEATED

    def has_behavior(self, name: str) -> bool:
        """Whether `google.api.field_behavior` says `name`, for example OUTPUT_ONLY."""
        wanted = field_behavior_pb2.FieldBehavior.Value(name)
        return wanted in _option(self.proto, field_behavior_pb2.field_behavior)

    @property
    def is_required(self) -> bool:
        """Whether a request must have the field."""
        return self.has_behavior("REQUIRED") or bool(self.rules.required)

    @property
    def use(self) -> kontor_pb2.FieldUse:
        """What lists and searches can do with the field."""
        use: kontor_pb2.FieldUse = _option(self.proto, kontor_pb2.use)
        return use

    @property
    def reference(self) -> str:
        """The type of the resource whose name the field holds, "" where it holds none."""
        return str(_option(self.proto, resource_pb2.resource_reference).type)

    @property
    def rules(self) -> validate_pb2.FieldRules:
        """The protovalidate rules of the field."""
        rules: validate_pb2.FieldRules = _option(self.proto, validate_pb2.field)
        return rules


@dataclass(frozen=True)
class Message:
    """A message with its fields by proto name."""

    full_name: str
    proto: DescriptorProto
    comment: str
    fields: dict[str, Field]

    @property
    def is_map_entry(self) -> bool:
        """Whether the message only stands for the entries of a map."""
        return self.proto.options.map_entry

    @property
    def resource(self) -> resource_pb2.ResourceDescriptor:
        """The `google.api.resource` of the message, empty where it is none."""
        return _option(self.proto, resource_pb2.resource)


@dataclass(frozen=True)
class Binding:
    """One way to call a method over REST."""

    verb: str
    """The HTTP method, upper case."""
    template: Template
    body: str
    """`*`, a field of the request, or "" where there is no body."""


@dataclass(frozen=True)
class Method:
    """A method of a service."""

    service: str
    """The full name of the service, `kontor.contacts.v1.AccountService`."""
    proto: MethodDescriptorProto
    comment: str
    permission: str
    bindings: tuple[Binding, ...]

    @property
    def full_name(self) -> str:
        """`kontor.contacts.v1.AccountService.GetAccount`."""
        return f"{self.service}.{self.proto.name}"

    @property
    def path(self) -> str:
        """The path of the method in gRPC."""
        return f"/{self.service}/{self.proto.name}"

    @property
    def upstream(self) -> str:
        """The name of the service that answers: the second part of the package."""
        return self.service.split(".")[1]

    @property
    def is_public(self) -> bool:
        """Whether no token is needed."""
        return self.permission == "public"

    @property
    def is_read(self) -> bool:
        """Whether repeating the call is harmless: every way to call it over REST is a GET."""
        return bool(self.bindings) and all(binding.verb == "GET" for binding in self.bindings)

    @property
    def request(self) -> str:
        """The full name of the request message."""
        return self.proto.input_type.lstrip(".")

    @property
    def response(self) -> str:
        """The full name of the response message."""
        return self.proto.output_type.lstrip(".")


@dataclass
class Contract:
    """All of the descriptor set; `methods` has those of the services in packages `kontor.*`."""

    files: FileDescriptorSet
    serialized: bytes
    methods: list[Method] = field(default_factory=list)
    messages: dict[str, Message] = field(default_factory=dict)
    enums: dict[str, Enum] = field(default_factory=dict)
    services: dict[str, str] = field(default_factory=dict)
    """The comment of each service by its full name."""

    @classmethod
    def load(cls, descriptors: bytes | Path) -> Contract:
        """Read a serialized FileDescriptorSet with source info; ValueError where a method has no permission."""
        serialized = descriptors.read_bytes() if isinstance(descriptors, Path) else descriptors
        contract = cls(FileDescriptorSet.FromString(serialized), serialized)
        for file in contract.files.file:
            contract._add_file(file)
        unprotected = [method.full_name for method in contract.methods if not method.permission]
        if unprotected:
            raise ValueError(f"no permission is declared for {', '.join(unprotected)}")
        return contract

    def only(self, upstreams: Container[str]) -> Contract:
        """The same contract with the methods of these services only."""
        return replace(self, methods=[method for method in self.methods if method.upstream in upstreams])

    @cached_property
    def resources(self) -> dict[str, Message]:
        """The messages that are resources, by type (`contacts.kontor/Account`)."""
        return {message.resource.type: message for message in self.messages.values() if message.resource.type}

    @cached_property
    def patterns(self) -> list[str]:
        """The patterns of all resources: of messages here, and of those that a file defines without one."""
        defined = [
            *(message.resource for message in self.resources.values()),
            *(each for file in self.files.file for each in file.options.Extensions[resource_pb2.resource_definition]),
        ]
        return [pattern for resource in defined for pattern in resource.pattern]

    @property
    def upstreams(self) -> list[str]:
        """The names of the services, sorted."""
        return sorted({method.upstream for method in self.methods})

    def without_comments(self) -> bytes:
        """The descriptor set as Envoy needs it, serialized."""
        bare = FileDescriptorSet()
        bare.CopyFrom(self.files)
        for file in bare.file:
            file.ClearField("source_code_info")
        return bare.SerializeToString()

    def map_entry(self, of: Field) -> Message | None:
        """The entry message where the field is a map."""
        entry = self.messages.get(of.type_name)
        return entry if entry is not None and entry.is_map_entry else None

    def _add_file(self, file: FileDescriptorProto) -> None:
        comments = {tuple(where.path): _tidy(where.leading_comments) for where in file.source_code_info.location}
        for i, enum in enumerate(file.enum_type):
            self._add_enum(enum, file.package, comments, (_FILE_ENUMS, i))
        for i, message in enumerate(file.message_type):
            self._add_message(message, file.package, comments, (_FILE_MESSAGES, i))
        if not file.package.startswith("kontor."):
            return
        for i, service in enumerate(file.service):
            name = f"{file.package}.{service.name}"
            self.services[name] = comments.get((_FILE_SERVICES, i), "")
            for k, method in enumerate(service.method):
                comment = comments.get((_FILE_SERVICES, i, _SERVICE_METHODS, k), "")
                permission = str(_option(method, kontor_pb2.permission))
                self.methods.append(Method(name, method, comment, permission, tuple(_bindings(method))))

    def _add_message(self, proto: DescriptorProto, scope: str, comments: dict[Location, str], at: Location) -> None:
        name = f"{scope}.{proto.name}"
        fields = {
            item.name: Field(item, comments.get((*at, _MESSAGE_FIELDS, i), "")) for i, item in enumerate(proto.field)
        }
        self.messages[name] = Message(name, proto, comments.get(at, ""), fields)
        for i, enum in enumerate(proto.enum_type):
            self._add_enum(enum, name, comments, (*at, _MESSAGE_ENUMS, i))
        for i, nested in enumerate(proto.nested_type):
            self._add_message(nested, name, comments, (*at, _MESSAGE_NESTED, i))

    def _add_enum(self, proto: EnumDescriptorProto, scope: str, comments: dict[Location, str], at: Location) -> None:
        values = {value.name: comments.get((*at, _ENUM_VALUES, i), "") for i, value in enumerate(proto.value)}
        name = f"{scope}.{proto.name}"
        self.enums[name] = Enum(name, proto, comments.get(at, ""), values)


def _bindings(method: MethodDescriptorProto) -> Iterator[Binding]:
    if not method.options.HasExtension(annotations_pb2.http):
        return
    first = _option(method, annotations_pb2.http)
    for rule in (first, *first.additional_bindings):
        pattern = rule.WhichOneof("pattern")
        if pattern == "custom":
            yield Binding(rule.custom.kind.upper(), parse(rule.custom.path), rule.body)
        elif pattern:
            yield Binding(pattern.upper(), parse(getattr(rule, pattern)), rule.body)


def _option(of: DescriptorProto | FieldDescriptorProto | MethodDescriptorProto, extension: Any) -> Any:
    """An option of ours or Google's; the types of generated code cannot say what it is."""
    return of.options.Extensions[extension]


def _tidy(comment: str) -> str:
    """A comment as paragraphs: lines joined, blank lines kept."""
    paragraphs = "\n".join(line.strip() for line in comment.splitlines()).strip().split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
