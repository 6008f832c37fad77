"""The gRPC service of roles."""

from collections.abc import Collection
from typing import Any

from kontor.identity.v1 import role_pb2, role_service_pb2
from kontor_identity.grants import from_messages, to_messages
from kontor_identity.roles.rules import is_known, merge, require_held
from kontor_identity.roles.table import roles
from kontor_identity.scopes import WholeScope
from kontor_identity.standard_roles import drop
from kontor_kit.calls import Call
from kontor_kit.db import Transaction
from kontor_kit.errors import InvalidArgument
from kontor_kit.ids import parse_name
from kontor_kit.methods import ResourceServicer
from kontor_kit.records import principal_of
from kontor_kit.resource import Resource
from kontor_kit.shared import Shared
from kontor_kit.store import Locked


class Roles(ResourceServicer):
    """Serves roles. `known` are the permissions that there are."""

    SERVICE = role_service_pb2.DESCRIPTOR.services_by_name["RoleService"]
    RESOURCE = Resource(
        role_pb2.Role,
        roles,
        scope=WholeScope(),
        conflicts={"roles_display_name_key": "there is a role of this name already"},
    )

    def __init__(self, shared: Shared, known: Collection[str]) -> None:
        super().__init__(shared)
        self._known = known

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Check that each permission exists, and that the caller has what the role gives."""
        unknown = [
            (f"grants[{index}].permission", f"there is no permission {grant.permission}")
            for index, grant in enumerate(after.grants)
            if not is_known(grant.permission, self._known)
        ]
        if unknown:
            raise InvalidArgument(*unknown)
        require_held(from_messages(after.grants), principal_of(call).permissions)
        merged = merge(from_messages(after.grants))
        del after.grants[:]
        after.grants.extend(to_messages(merged.items()))
        if before is not None and merge(from_messages(before.grants)) != merged:
            # It is theirs from now on, and nothing is added to it.
            drop(tx, parse_name(before.name, self.RESOURCE.pattern, "name"))

    def lock(self, tx: Transaction, call: Call, name: str, field: str = "name", *, live: bool = True) -> Locked:
        """Lock a role that the caller may change: one that gives no more than the caller has."""
        locked = super().lock(tx, call, name, field, live=live)
        require_held(from_messages(locked.message.grants), principal_of(call).permissions)
        return locked
