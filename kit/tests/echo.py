"""A gRPC service made at run time, for the tests of the server: `kontor.test.v1.EchoService`."""

from __future__ import annotations

from buf.validate import validate_pb2
from google.api import annotations_pb2 as http_annotations
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message_factory import GetMessageClass

from kontor.api.v1 import annotations_pb2

_TEXT = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
_MESSAGE = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="kontor/test/v1/echo.proto", package="kontor.test.v1", syntax="proto3"
    )
    file.dependency.extend(
        ["buf/validate/validate.proto", "google/api/annotations.proto", "kontor/api/v1/annotations.proto"]
    )
    part = file.message_type.add(name="EchoPart").field.add(name="word", number=1, type=_TEXT, label=1)
    part.options.Extensions[validate_pb2.field].string.max_len = 5
    message = file.message_type.add(name="Echo")
    message.field.add(name="text", number=1, type=_TEXT, label=1)
    message.field.add(name="parts", number=2, type=_MESSAGE, label=3, type_name=".kontor.test.v1.EchoPart")
    service = file.service.add(name="EchoService")
    for name, permission, verb, streams in (
        ("GetEcho", "test.echoes.read", "get", False),
        ("UpdateEcho", "test.echoes.update", "post", False),
        ("WatchEchoes", "test.echoes.read", "get", True),
        ("Greet", "public", "get", False),
    ):
        method = service.method.add(name=name, input_type=".kontor.test.v1.Echo", output_type=".kontor.test.v1.Echo")
        method.server_streaming = streams
        method.options.Extensions[annotations_pb2.permission] = permission
        setattr(method.options.Extensions[http_annotations.http], verb, f"/v1/echoes:{name}")
    return file


_FILE = descriptor_pool.Default().AddSerializedFile(_file().SerializeToString())
SERVICE = _FILE.services_by_name["EchoService"]
Echo = GetMessageClass(_FILE.message_types_by_name["Echo"])
EchoPart = GetMessageClass(_FILE.message_types_by_name["EchoPart"])


class EchoServicer:
    """Answers with the request, or does what `behaviors` has for a method; remembers the last call."""

    SERVICE = SERVICE

    def __init__(self, **behaviors) -> None:
        self.behaviors = behaviors
        self.call = None

    def handler(self, method: str):
        def serve(request, call):
            self.call = call
            if method in self.behaviors:
                return self.behaviors[method](request, call)
            return iter([request, request]) if method == "WatchEchoes" else request

        return serve


class EchoStub:
    """Calls EchoService through `channel`: `stub.GetEcho(Echo(...), metadata=..., timeout=...)`."""

    def __init__(self, channel) -> None:
        for method in SERVICE.methods:
            make = channel.unary_stream if method.server_streaming else channel.unary_unary
            path = f"/{SERVICE.full_name}/{method.name}"
            setattr(self, method.name, make(path, Echo.SerializeToString, Echo.FromString))


def bearer(token: str, **more: str):
    """Return the metadata of a call with `token`."""
    return [("authorization", f"Bearer {token}"), *((name.replace("_", "-"), value) for name, value in more.items())]
