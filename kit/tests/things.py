"""The message types of `things.proto`, compiled when this module is imported."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

import grpc_tools
from google.api import field_behavior_pb2, resource_pb2  # noqa: F401 - the pool must know what the file imports
from google.protobuf import descriptor_pool, field_mask_pb2, struct_pb2, timestamp_pb2  # noqa: F401 - as above
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message_factory import GetMessageClass
from grpc_tools import protoc


def _compile(source: Path) -> FileDescriptorSet:
    googleapis = Path(importlib.util.find_spec("google.api.annotations_pb2").origin).parents[2]
    include = [f"-I{path}" for path in (source.parent, googleapis, Path(grpc_tools.__file__).parent / "_proto")]
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "things.binpb"
        if protoc.main(["protoc", *include, f"--descriptor_set_out={out}", str(source)]) != 0:
            raise RuntimeError(f"protoc does not compile {source}")
        return FileDescriptorSet.FromString(out.read_bytes())


_pool = descriptor_pool.Default()
_pool.Add(*_compile(Path(__file__).with_suffix(".proto")).file)


def _message(name: str) -> type:
    return GetMessageClass(_pool.FindMessageTypeByName(f"kontor.test.v1.{name}"))


Thing = _message("Thing")
Part = _message("Part")
Plain = _message("Plain")
CreateThingRequest = _message("CreateThingRequest")
UpdateThingRequest = _message("UpdateThingRequest")
BatchCreateThingsRequest = _message("BatchCreateThingsRequest")
