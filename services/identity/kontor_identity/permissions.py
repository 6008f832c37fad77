"""The permissions that there are: those that services of the contract ask for, and those of services of the platform."""

from collections.abc import Collection
from importlib.resources import files
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from kontor.api.v1 import annotations_pb2
from kontor_identity.oauth.rules import EXCHANGE


def known_permissions() -> frozenset[str]:
    """Read the contract of all services and return the permissions in it."""
    contract = FileDescriptorSet.FromString((files("kontor") / "descriptors.binpb").read_bytes())
    # The generated types of the extensions' keys are too general for their containers.
    asked: Any = annotations_pb2.permission
    more: Any = annotations_pb2.permissions
    services = [service for file in contract.file for service in file.service]
    named: set[str] = {method.options.Extensions[asked] for service in services for method in service.method}
    named.update(permission for service in services for permission in service.options.Extensions[more])
    # `public` and `authenticated` are words for what needs no permission.
    asked_for = {permission for permission in named if permission.count(".") == 2}
    return frozenset(asked_for | {f"{service}.changes.follow" for service in _telling(asked_for)} | {EXCHANGE})


def service_permissions(known: Collection[str]) -> list[str]:
    """Return what a service of the platform needs: to follow the others, and to act on behalf of who started something."""
    following = {f"{service}.changes.{verb}" for service in _telling(known) for verb in ("follow", "read")}
    return sorted(following | {EXCHANGE})


def _telling(known: Collection[str]) -> set[str]:
    return {permission.partition(".")[0] for permission in known if permission.endswith(".changes.read")}
