"""The permissions that there are: those that some method of the contract asks for."""

from importlib.resources import files
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from kontor.api.v1 import annotations_pb2


def known_permissions() -> frozenset[str]:
    """Read the contract of all services and return the permissions in it."""
    contract = FileDescriptorSet.FromString((files("kontor") / "descriptors.binpb").read_bytes())
    # The generated type of the extension's key is too general for its container.
    key: Any = annotations_pb2.permission
    named: set[str] = {
        method.options.Extensions[key]
        for file in contract.file
        for service in file.service
        for method in service.method
    }
    # `public` and `authenticated` are words for what needs no permission.
    return frozenset(permission for permission in named if permission.count(".") == 2)
