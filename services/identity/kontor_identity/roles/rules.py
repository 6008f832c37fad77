"""What roles permit: which permissions there are, how they add up, and who may give them to whom."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from kontor_kit.errors import PermissionDenied
from kontor_kit.principals import Scope


class Grant(NamedTuple):
    """A permission, or a pattern of permissions, with its scope."""

    permission: str
    scope: Scope


class StandardRole(NamedTuple):
    """A role that every tenant starts with."""

    display_name: str
    description: str
    grants: tuple[Grant, ...]


def patterns(permission: str) -> tuple[str, ...]:
    """Return the permission and the patterns that stand for it, the narrowest first.

    `contacts.accounts.read` is covered by `contacts.accounts.*`, `contacts.*` and `*`; a pattern by wider patterns.
    """
    parts = permission.removesuffix("*").rstrip(".").split(".") if permission != "*" else []
    wider = [".".join([*parts[:length], "*"]) for length in range(len(parts) - 1, -1, -1)]
    return tuple(dict.fromkeys([permission, *wider]))


def is_known(permission: str, known: Collection[str]) -> bool:
    """Tell whether `permission` is one of `known`, or a pattern that stands for at least one of them."""
    return permission in known or any(permission in patterns(each) for each in known)


def merge(grants: Iterable[Grant]) -> dict[str, Scope]:
    """Return what the grants permit together: the widest scope each, without what a wider pattern says as well."""
    widest: dict[str, Scope] = {}
    for permission, scope in grants:
        widest[permission] = max(scope, widest.get(permission, scope))
    return {
        permission: scope
        for permission, scope in sorted(widest.items())
        if not any(widest.get(pattern, 0) >= scope for pattern in patterns(permission)[1:])
    }


def not_held(grants: Iterable[Grant], held: Mapping[str, Scope]) -> list[Grant]:
    """Return the grants that somebody with the permissions `held` cannot give, because they reach further."""
    return [
        grant
        for grant in grants
        if not any(held.get(pattern, 0) >= grant.scope for pattern in patterns(grant.permission))
    ]


def require_held(grants: Iterable[Grant], held: Mapping[str, Scope]) -> None:
    """Raise PermissionDenied where `grants` reach further than the permissions `held`: nobody hands on more than that."""
    missing = not_held(grants, held)
    if missing:
        permission, scope = missing[0]
        raise PermissionDenied(
            f"this takes the permission {permission} with scope {scope.name.lower()}, which you do not have",
            reason="BEYOND_OWN_PERMISSIONS",
            metadata={"permission": permission},
        )


def claim(permissions: Mapping[str, Scope]) -> list[str]:
    """Return the `perms` claim of an access token: `<permission>:<scope>`."""
    return [f"{permission}:{scope.name.lower()}" for permission, scope in permissions.items()]


# What a tenant's own people set up rather than work on: a member does not change it.
_SETTINGS = frozenset({"customFields", "customFieldDefinitions"})


_STARTED = "operations"
"""What somebody started: nobody but managers sees, or cancels, what others did."""


# What a partner's people do with their partner's records; what else is permitted there is not for them: it tells of other
# partners, or decides.
_PARTNERS = (
    "partners.changes.read",
    "partners.dealRegistrations.cancel",
    "partners.dealRegistrations.create",
    "partners.dealRegistrations.read",
    "partners.dealRegistrations.submit",
    "partners.dealRegistrations.update",
    "partners.leadOffers.accept",
    "partners.leadOffers.decline",
    "partners.leadOffers.read",
    "partners.partners.read",
    "partners.programmes.read",
    "sales.products.read",
)


ADMIN = "Admin"
"""The standard role that may do everything."""


def standard_roles(known: Collection[str]) -> tuple[StandardRole, ...]:
    """Return the roles that every tenant starts with, made of the permissions that there are."""
    split = [permission.split(".") for permission in sorted(known)]
    services = sorted({service for service, _, _ in split} - {"identity"})
    collections = sorted({(service, name) for service, name, _ in split if service != "identity"})
    people = (
        Grant("identity.tenants.read", Scope.ALL),
        Grant("identity.users.read", Scope.ALL),
        Grant("identity.teams.read", Scope.ALL),
        Grant("identity.roles.read", Scope.ALL),
        Grant("identity.users.setPassword", Scope.OWN),
    )
    reading = tuple(
        Grant(f"{service}.{name}.read", Scope.OWN if name == _STARTED else Scope.ALL)
        for service, name in collections
        if f"{service}.{name}.read" in known
    )
    working = tuple(
        Grant(f"{service}.{name}.*", Scope.OWN if name == _STARTED else Scope.TEAM)
        for service, name in collections
        if name not in _SETTINGS
    )
    return (
        StandardRole(ADMIN, "May do everything.", (Grant("*", Scope.ALL),)),
        StandardRole(
            "Manager",
            "Works on all records and sets up the fields; does not manage people.",
            (*(Grant(f"{service}.*", Scope.ALL) for service in services), *people),
        ),
        StandardRole("Member", "Sees all records and works on those of the own teams.", (*reading, *working, *people)),
        StandardRole("Reader", "Sees all records and changes none.", (*reading, *people)),
        StandardRole(
            "Partner",
            "For the people of a partner, in the partner's team: sees and works on that partner's records, and nothing else.",
            (
                *(Grant(permission, Scope.TEAM) for permission in _PARTNERS if permission in known),
                Grant("identity.users.setPassword", Scope.OWN),
            ),
        ),
    )
