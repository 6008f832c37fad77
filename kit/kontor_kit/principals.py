"""Who calls, and what they may do: the principal, its permissions, and how far each of them reaches."""

from __future__ import annotations

import enum
import math
import uuid
from dataclasses import dataclass, field
from typing import Final

PLATFORM_TENANT: Final = uuid.UUID("00000000-0000-7000-8000-000000000001")
"""The tenant of those who operate the platform, and of its own services."""


class Scope(enum.IntEnum):
    """How far a permission reaches; the larger includes the smaller."""

    OWN = 1
    """Records that the principal owns."""
    TEAM = 2
    """Records of the principal's teams, and its own."""
    ALL = 3
    """Every record of the tenant."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller whose token was verified."""

    tenant_id: uuid.UUID
    subject: str
    """A resource name: `users/{user}` or `serviceAccounts/{service_account}`; `services/{service}` for work of its own."""
    permissions: dict[str, Scope]
    """Permission to scope. A permission is `<service>.<collection>.<verb>`; a trailing part may be `*`."""
    teams: frozenset[uuid.UUID] = frozenset()
    client_id: str = ""
    """The OAuth client the token was issued to."""
    expires: float = math.inf
    """When the token ends, in seconds since 1970."""
    actor: str = ""
    """Who acts on behalf of the subject (`act` of RFC 8693); empty where nobody does."""
    subject_id: uuid.UUID = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject_id", _subject_id(self.subject))

    @classmethod
    def of_service(cls, service: str, tenant_id: uuid.UUID) -> Principal:
        """Return who works when a service does something by itself: it may do everything in the tenant."""
        return cls(tenant_id=tenant_id, subject=f"services/{service}", permissions={"*": Scope.ALL})

    def scope(self, permission: str) -> Scope | None:
        """Return how far `permission` reaches for this principal; None where it does not have it."""
        granted = self.permissions
        best = granted.get(permission)
        for pattern in patterns(permission)[1:]:
            wider = granted.get(pattern)
            if wider is not None and (best is None or wider > best):
                best = wider
        return best


def patterns(permission: str) -> tuple[str, ...]:
    """Return what stands for a permission: itself, and what ends with `*` and begins as it does, the narrowest first."""
    service, collection, _ = permission.split(".")
    return (permission, f"{service}.{collection}.*", f"{service}.*", "*")


def _subject_id(subject: str) -> uuid.UUID:
    kind, _, key = subject.partition("/")
    # A service has a name and no UUID; nothing belongs to it.
    return uuid.uuid5(uuid.NAMESPACE_URL, subject) if kind == "services" else uuid.UUID(key)


def parse_permissions(entries: list[str]) -> dict[str, Scope]:
    """Read the `perms` claim: entries of the form `<permission>:<scope>`, for example `contacts.accounts.read:team`.

    The widest scope wins where a permission stands more than once. Raises ValueError for a malformed entry.
    """
    permissions: dict[str, Scope] = {}
    for entry in entries:
        permission, colon, scope_name = entry.rpartition(":")
        if not colon or not permission or scope_name.upper() not in Scope.__members__:
            raise ValueError(f"not a permission with a scope: {entry!r}")
        scope = Scope[scope_name.upper()]
        permissions[permission] = max(scope, permissions.get(permission, scope))
    return permissions
