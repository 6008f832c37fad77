"""The resource and the table of absences, and who is away."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from kontor.sales.v1 import absence_pb2
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import PermissionDenied
from kontor_kit.filter_sql import TENANT
from kontor_kit.principals import Principal, Scope
from kontor_kit.resource import Resource
from kontor_kit.scopes import SUBJECT
from kontor_kit.tables import index, resource_table
from kontor_sales.tables import metadata

absences = resource_table(
    "absences",
    metadata,
    sa.Column("user", sa.Uuid, nullable=False),
    sa.Column("start_time", sa.DateTime(timezone=True), nullable=False),
    sa.Column("end_time", sa.DateTime(timezone=True)),
    sa.Column("reason", sa.Text),
    index("absences", "user"),
    index("absences", "start_time"),
    index("absences", "end_time"),
    index("absences", "create_time"),
    index("absences", "update_time"),
    owned=False,
)


class UserScope:
    """Records belong to the user they are of: `own` and `team` reach the caller's, for nobody else's are a team's."""

    def clause(self, scope: Scope, table: sa.Table) -> sa.ColumnElement[bool] | None:
        """Compare `user`."""
        return None if scope is Scope.ALL else table.c.user == SUBJECT

    def check(self, principal: Principal, scope: Scope, message: Any) -> None:
        """Refuse to say of somebody else that they are away."""
        if scope is not Scope.ALL and message.user != principal.subject:
            raise PermissionDenied(
                f"your permission reaches your own records, and this would be one of {message.user}",
                reason="OUT_OF_SCOPE",
            )


ABSENCE = Resource(absence_pb2.Absence, absences, scope=UserScope())

_AWAY = Statement(
    sa.select(absences.c.user)
    .where(
        absences.c.tenant_id == TENANT,
        absences.c.user == sa.any_(sa.bindparam("users", type_=ARRAY(sa.Uuid))),
        absences.c.start_time <= sa.bindparam("now", type_=absences.c.start_time.type),
        sa.or_(
            absences.c.end_time.is_(None), absences.c.end_time > sa.bindparam("now", type_=absences.c.start_time.type)
        ),
        absences.c.delete_time.is_(None),
    )
    .distinct()
)


def who_is_away(tx: Transaction, users: Iterable[uuid.UUID], now: dt.datetime) -> set[uuid.UUID]:
    """Return those of `users` who are away at `now`."""
    return {row[0] for row in tx.run(_AWAY, {"tenant": tx.tenant_id, "users": list(users), "now": now})}
