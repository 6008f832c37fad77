"""What the contract says about a method, read off its descriptor once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from buf.validate import validate_pb2
from google.api import annotations_pb2 as http_annotations
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import Message
from kontor.api.v1 import annotations_pb2

PUBLIC: Final = "public"


@dataclass(frozen=True, slots=True, eq=False)
class MethodSpec:
    """What the contract says about a method. One object per method."""

    descriptor: MethodDescriptor
    service: str
    """The full name of the gRPC service: `kontor.contacts.v1.AccountService`."""
    name: str
    full_name: str
    """`/kontor.contacts.v1.AccountService/GetAccount`."""
    permission: str
    """What a caller needs; `public` where no token is needed."""
    input: type[Message]
    output: type[Message]
    has_rules: bool
    """Whether protovalidate has anything to check in a request."""
    is_streaming: bool
    """Whether it answers with a stream."""
    is_read: bool
    """Whether it changes nothing, as its HTTP verb GET says."""

    @classmethod
    def of(cls, descriptor: MethodDescriptor) -> MethodSpec:
        """Read the contract. Raises ValueError where it names no permission, or takes a stream."""
        options: Any = descriptor.GetOptions().Extensions
        permission = options[annotations_pb2.permission]
        if permission != PUBLIC and permission.count(".") != 2:  # <service>.<collection>.<verb>
            raise ValueError(f"{descriptor.full_name} names no permission")
        if descriptor.client_streaming:
            raise ValueError(f"{descriptor.full_name} takes a stream, which nothing here serves")
        service = descriptor.containing_service.full_name
        return cls(
            descriptor=descriptor,
            service=service,
            name=descriptor.name,
            full_name=f"/{service}/{descriptor.name}",
            permission=permission,
            input=message_factory.GetMessageClass(descriptor.input_type),
            output=message_factory.GetMessageClass(descriptor.output_type),
            has_rules=_has_rules(descriptor.input_type),
            is_streaming=descriptor.server_streaming,
            is_read=options[http_annotations.http].WhichOneof("pattern") == "get",
        )


def _has_rules(root: Descriptor) -> bool:
    """Tell whether `root`, or a message anywhere in it, has rules of protovalidate."""
    found, queue = {root.full_name}, [root]
    while queue:
        message = queue.pop()
        options: list[tuple[Any, Any]] = [(message, validate_pb2.message)]
        options += [(field, validate_pb2.field) for field in message.fields]
        options += [(oneof, validate_pb2.oneof) for oneof in message.oneofs]
        if any(element.GetOptions().HasExtension(option) for element, option in options):
            return True
        inner = {field.message_type.full_name: field.message_type for field in message.fields if field.message_type}
        queue += [type_ for name, type_ in inner.items() if name not in found]
        found.update(inner)
    return False
