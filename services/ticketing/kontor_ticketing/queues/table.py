"""The resource and the tables of queues: themselves, and whose turn it is in each."""

from __future__ import annotations

import sqlalchemy as sa

from kontor.ticketing.v1 import queue_pb2
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

QUEUE = Resource(
    queue_pb2.Queue,
    queues,
    scope=TenantScope(),
    conflicts={"queues_display_name_key": "another queue is called so"},
)
