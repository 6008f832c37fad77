"""The standard roles of tenants that are there: what is new on the platform is added to them, until somebody changes one."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection
from typing import Any, Final

import sqlalchemy as sa

from kontor.identity.v1 import role_pb2
from kontor_identity.grants import from_columns, to_messages
from kontor_identity.roles.rules import merge, standard_roles
from kontor_identity.roles.table import roles, standard
from kontor_identity.tenants.table import all_tenants
from kontor_kit.calls import Call
from kontor_kit.db import Database, Statement, Transaction
from kontor_kit.ids import format_name
from kontor_kit.principals import PLATFORM_TENANT, Scope
from kontor_kit.records import Records

_TENANT: Final = sa.bindparam("tenant", type_=sa.Uuid)
_ID: Final = sa.bindparam("id", type_=sa.Uuid)
_TENANTS: Final = Statement(sa.select(all_tenants.c.id).where(all_tenants.c.delete_time.is_(None)))
_FIND: Final = Statement(
    sa.select(roles.c.id, standard.c.name, roles.c.grants)
    .select_from(
        standard.join(roles, sa.and_(roles.c.tenant_id == standard.c.tenant_id, roles.c.id == standard.c.role))
    )
    .where(standard.c.tenant_id == _TENANT, roles.c.delete_time.is_(None))
)
_NOTE: Final = Statement(
    standard.insert().values(tenant_id=_TENANT, role=_ID, name=sa.bindparam("name", type_=sa.Text))
)
_DROP: Final = Statement(standard.delete().where(standard.c.tenant_id == _TENANT, standard.c.role == _ID))


def note(tx: Transaction, id: uuid.UUID, name: str) -> None:
    """Queue that a role is the standard role `name`."""
    tx.defer(_NOTE, {"tenant": tx.tenant_id, "id": id, "name": name})


def drop(tx: Transaction, id: uuid.UUID) -> None:
    """Queue that a role is no standard role any more."""
    tx.defer(_DROP, {"tenant": tx.tenant_id, "id": id})


class StandardRoles:
    """Brings them up to date. `known` are the permissions that there are, `own_call` makes a call inside of a tenant."""

    def __init__(
        self, database: Database, stored: Records, known: Collection[str], own_call: Callable[[uuid.UUID], Call]
    ) -> None:
        self._database = database
        self._stored = stored
        self._wanted = {role.display_name: merge(role.grants) for role in standard_roles(known)}
        self._own_call = own_call

    def refresh(self) -> int:
        """Give the standard roles of all tenants what they would have in a new one; return how many changed."""
        with self._database.read(PLATFORM_TENANT) as tx:
            tenants = [id for (id,) in tx.run(_TENANTS)]
        return sum(map(self._refresh, tenants))

    def _refresh(self, tenant_id: uuid.UUID) -> int:
        with self._database.read(tenant_id) as tx:
            behind = self._behind(tx, tenant_id)
        if not behind:
            return 0
        with self._database.write(tenant_id) as tx:
            for id, name, _ in behind:
                self._save(tx, id, name)
        return len(behind)

    def _behind(self, tx: Transaction, tenant_id: uuid.UUID) -> list[tuple[uuid.UUID, str, dict[str, Scope]]]:
        found = [(id, name, merge(from_columns([grants]))) for id, name, grants in tx.run(_FIND, {"tenant": tenant_id})]
        return [each for each in found if each[1] in self._wanted and each[2] != self._wanted[each[1]]]

    def _save(self, tx: Transaction, id: uuid.UUID, name: str) -> None:
        assert tx.tenant_id is not None
        call = self._own_call(tx.tenant_id)
        locked = self._stored.lock(tx, call, format_name("roles", id))
        # Somebody may have changed it since it was looked at.
        if id not in {found for found, *_ in self._behind(tx, tx.tenant_id)}:
            return
        after: Any = role_pb2.Role()
        after.CopyFrom(locked.message)
        del after.grants[:]
        after.grants.extend(to_messages(self._wanted[name].items()))
        self._stored.save(tx, call, locked, after, "updated")
        note(tx, id, name)
