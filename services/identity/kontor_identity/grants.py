"""Grants in their three forms: of the rules, of the contract, and of the column of a role."""

from collections.abc import Iterable
from typing import Any

from kontor.identity.v1 import role_pb2
from kontor_identity.roles.rules import Grant
from kontor_kit.principals import Scope


def to_messages(grants: Iterable[tuple[str, Scope]]) -> list[role_pb2.Grant]:
    """Return grants as the contract writes them."""
    return [role_pb2.Grant(permission=permission, scope=f"SCOPE_{scope.name}") for permission, scope in grants]


def from_messages(messages: Iterable[Any]) -> list[Grant]:
    """Return the grants of a role as it is in the contract."""
    return [Grant(message.permission, Scope(message.scope)) for message in messages]


def from_columns(columns: Iterable[list[dict[str, Any]] | None]) -> list[Grant]:
    """Return the grants of several roles together, as they are stored."""
    return [Grant(stored["permission"], Scope(stored["scope"])) for column in columns for stored in column or ()]
