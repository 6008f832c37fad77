"""Who a token speaks for, and what it permits, as it stands now."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from kontor_identity.grants import from_columns
from kontor_identity.roles.rules import merge
from kontor_identity.roles.table import roles
from kontor_identity.service_accounts.table import service_accounts
from kontor_identity.teams.table import teams
from kontor_identity.tenants.rules import State as TenantState
from kontor_identity.tenants.table import tenants
from kontor_identity.users.rules import State as UserState
from kontor_identity.users.table import users
from kontor_kit.db import Statement, Transaction
from kontor_kit.principals import Scope


@dataclass(frozen=True, slots=True)
class Subject:
    """Somebody who may have a token."""

    name: str
    """`users/{user}` or `serviceAccounts/{service_account}`."""
    tenant_id: uuid.UUID
    teams: tuple[uuid.UUID, ...]
    permissions: dict[str, Scope]


def _statement(table: sa.Table) -> Statement:
    """Find somebody who is let in: active, of a tenant that is active, none of the two deleted."""
    role = sa.select(sa.func.jsonb_agg(roles.c.grants)).where(
        roles.c.tenant_id == table.c.tenant_id, roles.c.id == sa.any_(table.c.roles), roles.c.delete_time.is_(None)
    )
    team = sa.select(sa.func.array_agg(teams.c.id)).where(
        teams.c.tenant_id == table.c.tenant_id, teams.c.id == sa.any_(table.c.teams), teams.c.delete_time.is_(None)
    )
    is_tenant = sa.and_(tenants.c.tenant_id == table.c.tenant_id, tenants.c.id == table.c.tenant_id)
    return Statement(
        sa.select(team.scalar_subquery(), role.scalar_subquery())
        .select_from(table.join(tenants, is_tenant))
        .where(
            table.c.tenant_id == sa.bindparam("tenant", type_=sa.Uuid),
            table.c.id == sa.bindparam("id", type_=sa.Uuid),
            table.c.state == int(UserState.ACTIVE),
            table.c.delete_time.is_(None),
            tenants.c.state == int(TenantState.ACTIVE),
            tenants.c.delete_time.is_(None),
        )
    )


_STATEMENTS: Final = {"users": _statement(users), "serviceAccounts": _statement(service_accounts)}

_FIND_TEAMS: Final = Statement(
    sa.select(teams.c.id)
    .select_from(
        users.join(teams, sa.and_(teams.c.tenant_id == users.c.tenant_id, teams.c.id == sa.any_(users.c.teams)))
    )
    .where(
        users.c.tenant_id == sa.bindparam("tenant", type_=sa.Uuid),
        users.c.id == sa.bindparam("id", type_=sa.Uuid),
        teams.c.delete_time.is_(None),
    )
)


def find_subject(tx: Transaction, collection: str, identifier: uuid.UUID) -> Subject | None:
    """Return who the user or service account of the transaction's tenant is; None where it may have no token."""
    assert tx.tenant_id is not None
    rows = tx.run(_STATEMENTS[collection], {"tenant": tx.tenant_id, "id": identifier})
    if not rows:
        return None
    team_ids, granted = rows[0]
    return Subject(
        name=f"{collection}/{identifier}",
        tenant_id=tx.tenant_id,
        teams=tuple(team_ids or ()),
        permissions=merge(from_columns(granted or ())),
    )


def find_teams(tx: Transaction, user_id: uuid.UUID) -> tuple[uuid.UUID, ...]:
    """Return the live teams of a user of the transaction's tenant; none where there is no such user."""
    rows = tx.run(_FIND_TEAMS, {"tenant": tx.tenant_id, "id": user_id})
    return tuple(row[0] for row in rows)
