"""The standard roles of tenants: what is new on the platform reaches them, until somebody changes or deletes one."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from kontor.identity.v1 import role_pb2
from kontor_identity.grants import from_columns, to_messages
from kontor_identity.roles.rules import StandardRole, merge, standard_roles
from kontor_identity.roles.table import roles, standard
from kontor_identity.tenants.table import all_tenants
from kontor_kit.calls import Call
from kontor_kit.db import Database, Statement, Transaction
from kontor_kit.folding import fold
from kontor_kit.ids import format_name, parse_name
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
_GIVEN: Final = Statement(sa.select(standard.c.name).where(standard.c.tenant_id == _TENANT))
_TAKEN: Final = Statement(
    sa.select(roles.c.display_name_key).where(roles.c.tenant_id == _TENANT, roles.c.delete_time.is_(None))
)
_note = insert(standard).values(tenant_id=_TENANT, name=sa.bindparam("name", type_=sa.Text), role=_ID)
_NOTE: Final = Statement(
    _note.on_conflict_do_update(index_elements=["tenant_id", "name"], set_={"role": _note.excluded.role})
)
_DROP: Final = Statement(
    standard.update().values(role=None).where(standard.c.tenant_id == _TENANT, standard.c.role == _ID)
)


def add(tx: Transaction, call: Call, stored: Records, role: StandardRole) -> str:
    """Create a standard role in a tenant, and return its name."""
    message = role_pb2.Role(
        display_name=role.display_name, description=role.description, grants=to_messages(role.grants)
    )
    name: str = stored.new(tx, call, message, scope=Scope.ALL).name
    _note_down(tx, role.display_name, parse_name(name, "roles/{role}", "name"))
    return name


def drop(tx: Transaction, id: uuid.UUID) -> None:
    """Queue that a role is no standard role any more."""
    tx.defer(_DROP, {"tenant": tx.tenant_id, "id": id})


def _note_down(tx: Transaction, name: str, id: uuid.UUID | None) -> None:
    """Queue that the tenant was given a standard role, and which of its roles it is."""
    tx.defer(_NOTE, {"tenant": tx.tenant_id, "name": name, "id": id})


class StandardRoles:
    """Brings them up to date. `known` are the permissions that there are, `own_call` makes a call inside of a tenant."""

    def __init__(
        self, database: Database, stored: Records, known: Collection[str], own_call: Callable[[uuid.UUID], Call]
    ) -> None:
        self._database = database
        self._stored = stored
        self._roles = {role.display_name: role for role in standard_roles(known)}
        self._wanted = {name: merge(role.grants) for name, role in self._roles.items()}
        self._own_call = own_call

    def refresh(self) -> int:
        """Give the standard roles of all tenants what they would have in a new one; return how many changed."""
        with self._database.read(PLATFORM_TENANT) as tx:
            tenants = [id for (id,) in tx.run(_TENANTS)]
        return sum(map(self._refresh, tenants))

    def _refresh(self, tenant_id: uuid.UUID) -> int:
        with self._database.read(tenant_id) as tx:
            behind, missing = self._behind(tx, tenant_id), self._missing(tx, tenant_id)
        if not behind and not missing:
            return 0
        with self._database.write(tenant_id) as tx:
            for id, name, _ in behind:
                self._save(tx, id, name)
            return len(behind) + (self._add_missing(tx, tenant_id) if missing else 0)

    def _missing(self, tx: Transaction, tenant_id: uuid.UUID) -> list[str]:
        """Return the names of those that the tenant was never given."""
        given = {name for (name,) in tx.run(_GIVEN, {"tenant": tenant_id})}
        return [name for name in self._roles if name not in given]

    def _add_missing(self, tx: Transaction, tenant_id: uuid.UUID) -> int:
        """Create what the tenant was never given, and return how many; a role of their own keeps its name."""
        self._stored.shared.requests.serialise(tx, "standardRoles")
        taken = {key for (key,) in tx.run(_TAKEN, {"tenant": tenant_id})}
        missing = self._missing(tx, tenant_id)
        free = [name for name in missing if fold(name) not in taken]
        for name in free:
            add(tx, self._own_call(tenant_id), self._stored, self._roles[name])
        for name in set(missing) - set(free):
            _note_down(tx, name, None)
        return len(free)

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
        _note_down(tx, name, id)
