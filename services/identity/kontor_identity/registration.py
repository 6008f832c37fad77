"""Services of the platform as callers: each has a service account, which may follow the others and act for people."""

import hashlib
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa

from kontor.identity.v1 import role_pb2, service_account_pb2
from kontor_identity.commands import own_call
from kontor_identity.grants import to_messages
from kontor_identity.permissions import service_permissions
from kontor_identity.roles.rules import Grant, merge
from kontor_identity.roles.table import roles
from kontor_identity.service_accounts.table import service_accounts
from kontor_kit.calls import Call
from kontor_kit.db import Database, Statement, Transaction
from kontor_kit.folding import fold
from kontor_kit.ids import format_name
from kontor_kit.principals import PLATFORM_TENANT, Scope
from kontor_kit.records import Records

ROLE = "Platform service"


def client_id(service: str) -> uuid.UUID:
    """Return the client id that a service gets where it can: it can be configured before it is registered."""
    digest = hashlib.sha256(f"kontor service {service}".encode()).hexdigest()
    return uuid.UUID(f"00000000-0000-7{digest[:3]}-8{digest[3:6]}-{digest[6:18]}")


class Secrets(Protocol):
    """Stores secrets of service accounts."""

    def settle(self, tx: Transaction, call: Call, parent: str, value: str) -> None:
        """Make `value` the secret of a service account."""


def _find(table: sa.Table) -> Statement:
    return Statement(
        sa.select(table.c.id).where(
            table.c.tenant_id == sa.bindparam("tenant", type_=sa.Uuid),
            table.c.display_name_key == sa.bindparam("name", type_=sa.Text),
            table.c.delete_time.is_(None),
        )
    )


_FIND_ROLE = _find(roles)
_FIND_ACCOUNT = _find(service_accounts)
_IS_TAKEN = Statement(
    sa.select(service_accounts.c.id).where(
        service_accounts.c.tenant_id == sa.bindparam("tenant", type_=sa.Uuid),
        service_accounts.c.id == sa.bindparam("id", type_=sa.Uuid),
    )
)
"""Also by an account that was deleted."""


@dataclass(frozen=True, kw_only=True)
class Registration:
    """Registers services. `known` are the permissions that there are."""

    database: Database
    roles: Records
    accounts: Records
    secrets: Secrets
    known: Collection[str]

    def register(self, service: str, secret: str) -> str:
        """Make the service account of a service as far as it is not there, with this secret; return its client id."""
        call = own_call(PLATFORM_TENANT)
        with self.database.write(PLATFORM_TENANT) as tx:
            role = self._settle_role(tx, call)
            display_name = f"Service {service}"
            rows = tx.run(_FIND_ACCOUNT, {"tenant": PLATFORM_TENANT, "name": fold(display_name)})
            if rows:
                name = format_name("serviceAccounts", rows[0][0])
            else:
                account = service_account_pb2.ServiceAccount(display_name=display_name, roles=[role])
                wanted = client_id(service)
                taken = tx.run(_IS_TAKEN, {"tenant": PLATFORM_TENANT, "id": wanted})
                name = self.accounts.new(tx, call, account, scope=Scope.ALL, id=None if taken else wanted).name
            self.secrets.settle(tx, call, name, secret)
        return name.partition("/")[2]

    def refresh(self) -> None:
        """Give services that were registered before what one would have that is registered now."""
        with self.database.write(PLATFORM_TENANT) as tx:
            if tx.run(_FIND_ROLE, {"tenant": PLATFORM_TENANT, "name": fold(ROLE)}):
                self._settle_role(tx, own_call(PLATFORM_TENANT))

    def _settle_role(self, tx: Transaction, call: Call) -> str:
        """Return the name of the role of services, which may follow every service that there is by now, and act for people."""
        permissions = merge(Grant(permission, Scope.ALL) for permission in service_permissions(self.known))
        wanted = to_messages(permissions.items())
        rows = tx.run(_FIND_ROLE, {"tenant": PLATFORM_TENANT, "name": fold(ROLE)})
        if not rows:
            description = (
                "Follows the changes of all services, for all tenants, and acts on behalf of who started something."
            )
            role = role_pb2.Role(display_name=ROLE, description=description, grants=wanted)
            return str(self.roles.new(tx, call, role, scope=Scope.ALL).name)
        locked = self.roles.lock(tx, call, format_name("roles", rows[0][0]))
        after: Any = role_pb2.Role()
        after.CopyFrom(locked.message)
        del after.grants[:]
        after.grants.extend(wanted)
        return str(self.roles.save(tx, call, locked, after, "updated").name)
