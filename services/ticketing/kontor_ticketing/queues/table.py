"""The resource and the tables of queues: themselves, whose turn it is in each, and who is not there."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from kontor.ticketing.v1 import queue_pb2
from kontor_kit.db import Statement
from kontor_kit.filter_sql import TENANT
from kontor_kit.resource import Resource
from kontor_kit.scopes import TenantScope
from kontor_kit.tables import KEY_TEXT, index, json_column, resource_table
from kontor_ticketing.tables import metadata

queues = resource_table(
    "queues",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("description", sa.Text),
    json_column("members"),
    sa.Column("assignment", sa.SmallInteger, nullable=False),
    json_column("skill_rules"),
    sa.Column("reopen_policy", sa.SmallInteger, nullable=False),
    sa.Column("reopen_days", sa.Integer, nullable=False),
    index("queues", "display_name_key", unique=True),
    index("queues", "assignment"),
    index("queues", "create_time"),
    index("queues", "update_time"),
    owned=False,
)

queue_turns = sa.Table(
    "queue_turns",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("queue", sa.Uuid, primary_key=True),
    sa.Column("member", sa.Uuid, primary_key=True),
    sa.Column("turn", sa.BigInteger, nullable=False),
    sa.ForeignKeyConstraint(["tenant_id", "queue"], ["queues.tenant_id", "queues.id"], name="queue_turns_queue_fkey"),
)

known_users = sa.Table(
    "known_users",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("user", sa.Uuid, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("deactivated", sa.Boolean, nullable=False),
)

known_absences = sa.Table(
    "known_absences",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("absence", sa.Uuid, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("user", sa.Uuid, nullable=False),
    sa.Column("start_time", sa.DateTime(timezone=True), nullable=False),
    sa.Column("end_time", sa.DateTime(timezone=True)),
    sa.Column("live", sa.Boolean, nullable=False),
    sa.Index("known_absences_user", "tenant_id", "user", "start_time"),
)

QUEUE = Resource(
    queue_pb2.Queue,
    queues,
    scope=TenantScope(),
    conflicts={"queues_display_name_key": "another queue is called so"},
)

DEACTIVATED: Final = "is deactivated"
AWAY: Final = "is away"

_USERS: Final = sa.bindparam("users", type_=ARRAY(sa.Uuid))
_NOW: Final = sa.bindparam("now", type_=sa.DateTime(timezone=True))
_away = sa.select(known_absences.c.user, sa.literal(AWAY)).where(
    known_absences.c.tenant_id == TENANT,
    known_absences.c.user == sa.any_(_USERS),
    known_absences.c.start_time <= _NOW,
    sa.or_(known_absences.c.end_time.is_(None), known_absences.c.end_time > _NOW),
    known_absences.c.live,
)
_deactivated = sa.select(known_users.c.user, sa.literal(DEACTIVATED)).where(
    known_users.c.tenant_id == TENANT, known_users.c.user == sa.any_(_USERS), known_users.c.deactivated
)
NOT_THERE: Final = Statement(sa.union_all(_away, _deactivated))
"""Given `users` and `now`, returns who of them is not there, and why; the weightier reason last."""
