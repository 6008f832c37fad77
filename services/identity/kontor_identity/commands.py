"""The commands that identity adds to those of every service: the first tenant, tokens for developers, new keys."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg.errors
import sqlalchemy as sa

from kontor.identity.v1 import tenant_pb2, tenant_service_pb2, user_pb2
from kontor_identity.founding import Founding
from kontor_identity.grants import from_columns
from kontor_identity.roles.rules import ADMIN, Grant, merge
from kontor_identity.roles.table import roles
from kontor_identity.tenants.rules import PLATFORM_SLUG
from kontor_identity.users.rules import normal_email
from kontor_identity.users.table import users
from kontor_kit.calls import Call, MethodSpec
from kontor_kit.db import Database, Statement, Transaction
from kontor_kit.errors import NotFound
from kontor_kit.folding import fold
from kontor_kit.ids import format_name, uuid7
from kontor_kit.principals import PLATFORM_TENANT, Principal, Scope
from kontor_kit.tracing import start_span

BOOTSTRAP = "serviceAccounts/00000000-0000-7000-8000-000000000002"
"""Who stands in the log for what these commands do."""

_TENANT = sa.bindparam("tenant", type_=sa.Uuid)
_NAME = sa.bindparam("name", type_=sa.Text)
_FIND_ROLE = Statement(
    sa.select(roles.c.id, roles.c.grants).where(
        roles.c.tenant_id == _TENANT, roles.c.display_name_key == _NAME, roles.c.delete_time.is_(None)
    )
)
_FIND_USER = Statement(
    sa.select(users.c.id)
    .where(
        users.c.tenant_id == _TENANT,
        sa.or_(users.c.email == _NAME, users.c.display_name_key == sa.bindparam("key", type_=sa.Text)),
        users.c.delete_time.is_(None),
    )
    .order_by(users.c.id)
    .limit(1)
)


class Tenants(Protocol):
    """Stores tenants."""

    def found(self, tx: Transaction, call: Call, record: Any, id: uuid.UUID) -> Any:
        """Store a new tenant with everything it starts with."""


@dataclass(frozen=True, kw_only=True)
class Commands:
    """The commands, with what they need: the database as the app role, and those who store records."""

    database: Database
    tenants: Tenants
    founding: Founding
    find_tenant: Callable[[str], uuid.UUID | None]

    def bootstrap(self, slug: str, display_name: str, email: str, admin_name: str, password: str) -> dict[str, Any]:
        """Make the operators' tenant and the first one with its administrator, as far as they are not there."""
        self._ensure_tenant(PLATFORM_SLUG, "Platform", PLATFORM_TENANT)
        tenant_id = self._ensure_tenant(slug, display_name, uuid7())
        call = own_call(tenant_id)
        email = normal_email(email, "admin")
        with self.database.write(tenant_id) as tx:
            user = self._find_user(tx, email)
            if user is None:
                role, _ = self._find_role(tx, ADMIN)
                made = user_pb2.User(email=email, display_name=admin_name, roles=[format_name("roles", role)])
                user = self.founding.add_user(tx, call, made, password).name
        return {"tenant": slug, "tenant_id": str(tenant_id), "user": user}

    def subject(self, slug: str, role_name: str, user_name: str) -> tuple[uuid.UUID, uuid.UUID, dict[str, Scope]]:
        """Return tenant, user and permissions for a developer's token; the user is made where there is none.

        With the role, so that services can go on for the user with what was begun with the token.
        """
        tenant_id = self.find_tenant(slug)
        if tenant_id is None:
            raise NotFound(f"there is no tenant {slug}")
        with self.database.read(tenant_id) as tx:
            role_id, grants = self._find_role(tx, role_name)
        permissions = {"*": Scope.ALL} if fold(role_name) == fold(ADMIN) else merge(grants)
        role = format_name("roles", role_id)
        email = user_name if "@" in user_name else f"{fold(user_name).replace(' ', '.')}@{slug}.example"
        try:
            name = self._ensure_user(tenant_id, user_name, email, role)
        except psycopg.errors.UniqueViolation:
            # Somebody else who wants a token has made the user in this very moment.
            name = self._ensure_user(tenant_id, user_name, email, role)
        return tenant_id, uuid.UUID(name.partition("/")[2]), permissions

    def _ensure_user(self, tenant_id: uuid.UUID, user_name: str, email: str, role: str) -> str:
        with self.database.write(tenant_id) as tx:
            found = self._find_user(tx, user_name)
            if found is not None:
                return found
            made = user_pb2.User(email=email, display_name=user_name, roles=[role])
            name: str = self.founding.add_user(tx, own_call(tenant_id), made).name
        return name

    def _ensure_tenant(self, slug: str, display_name: str, new_id: uuid.UUID) -> uuid.UUID:
        found = self.find_tenant(slug)
        if found is not None:
            return found
        with self.database.write(new_id) as tx:
            self.tenants.found(tx, own_call(new_id), tenant_pb2.Tenant(slug=slug, display_name=display_name), new_id)
        return new_id

    @staticmethod
    def _find_user(tx: Transaction, name: str) -> str | None:
        rows = tx.run(_FIND_USER, {"tenant": tx.tenant_id, "name": name.lower(), "key": fold(name)})
        return format_name("users", rows[0][0]) if rows else None

    @staticmethod
    def _find_role(tx: Transaction, name: str) -> tuple[uuid.UUID, list[Grant]]:
        rows = tx.run(_FIND_ROLE, {"tenant": tx.tenant_id, "name": fold(name)})
        if not rows:
            raise NotFound(f"there is no role {name}")
        return rows[0][0], from_columns([rows[0][1]])


def own_call(tenant_id: uuid.UUID) -> Call:
    """Return a call by these commands, which may do everything in a tenant."""
    create = tenant_service_pb2.DESCRIPTOR.services_by_name["TenantService"].methods_by_name["CreateTenant"]
    principal = Principal(tenant_id=tenant_id, subject=BOOTSTRAP, permissions={"*": Scope.ALL})
    return Call(MethodSpec.of(create), start_span(), principal=principal, scope=Scope.ALL)
