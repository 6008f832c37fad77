"""The roles and teams that users and service accounts are given: they exist, and nobody gives what he does not have."""

import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from kontor_identity.grants import from_columns
from kontor_identity.roles.rules import require_held
from kontor_identity.roles.table import roles
from kontor_identity.teams.table import teams
from kontor_kit.calls import Call
from kontor_kit.db import Row, Statement, Transaction
from kontor_kit.errors import InvalidArgument, PermissionDenied
from kontor_kit.ids import parse_name
from kontor_kit.principals import Scope
from kontor_kit.records import principal_of

_TENANT = sa.bindparam("tenant", type_=sa.Uuid)
_IDS = sa.bindparam("ids", type_=ARRAY(sa.Uuid))


def _find(table: sa.Table, *columns: str) -> Statement:
    live = (table.c.tenant_id == _TENANT, table.c.id == sa.any_(_IDS), table.c.delete_time.is_(None))
    return Statement(sa.select(table.c.id, *(table.c[name] for name in columns)).where(*live))


_FIND_ROLES = _find(roles, "grants")
_FIND_TEAMS = _find(teams)
_FIND_HELD = Statement(sa.select(roles.c.grants).where(roles.c.tenant_id == _TENANT, roles.c.id == sa.any_(_IDS)))
"""Those that were deleted too: they can come back."""


def check_membership(tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
    """Check what was added to the fields `roles` and `teams` of a record.

    Raises InvalidArgument where one does not exist, PermissionDenied where the caller must not give it.
    """
    had_roles, had_teams = (before.roles, before.teams) if before is not None else ((), ())
    if call.scope is not Scope.ALL and (set(had_roles) != set(after.roles) or set(had_teams) != set(after.teams)):
        raise PermissionDenied("your permission does not reach roles and teams", reason="OUT_OF_SCOPE")
    granted = _find_added(tx, _FIND_ROLES, "roles", had_roles, after.roles)
    require_held(from_columns(row[1] for row in granted), principal_of(call).permissions)
    _find_added(tx, _FIND_TEAMS, "teams", had_teams, after.teams)


def require_outranked(tx: Transaction, call: Call, record: Any) -> None:
    """Raise PermissionDenied where a record may do more than the caller: whoever changes an account could use it."""
    ids = [_parse("roles", index, name) for index, name in enumerate(record.roles)]
    found = tx.run(_FIND_HELD, {"tenant": tx.tenant_id, "ids": ids}) if ids else []
    require_held(from_columns(row[0] for row in found), principal_of(call).permissions)


def _find_added(tx: Transaction, find: Statement, field: str, before: Any, after: Any) -> list[Row]:
    added = {index: _parse(field, index, name) for index, name in enumerate(after) if name not in before}
    if not added:
        return []
    rows = tx.run(find, {"tenant": tx.tenant_id, "ids": list(added.values())})
    missing = set(added.values()) - {row[0] for row in rows}
    violations = [(f"{field}[{index}]", f"there is no {after[index]}") for index, id in added.items() if id in missing]
    if violations:
        raise InvalidArgument(*violations)
    return rows


def _parse(field: str, index: int, name: str) -> uuid.UUID:
    return parse_name(name, f"{field}/{{{field.removesuffix('s')}}}", f"{field}[{index}]")
