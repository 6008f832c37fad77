"""The resource and the table of campaigns."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA

from kontor.marketing.v1 import campaign_pb2
from kontor_kit.db import Statement
from kontor_kit.filter_sql import TENANT
from kontor_kit.resource import STANDARD_EVENTS, Resource
from kontor_kit.tables import KEY_TEXT, array_column, index, json_column, resource_table, search_index
from kontor_marketing.campaigns.rules import RUNNING
from kontor_marketing.tables import metadata

campaigns = resource_table(
    "campaigns",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("topic", sa.Uuid, nullable=False),
    sa.Column("template", sa.Uuid, nullable=False),
    sa.Column("template_revision", sa.Integer, nullable=False),
    array_column("segments", sa.Uuid),
    array_column("excluded_segments", sa.Uuid),
    sa.Column("include_open_complaints", sa.Boolean, nullable=False),
    sa.Column("sender_name", sa.Text, nullable=False),
    sa.Column("sender_email", sa.Text, nullable=False),
    sa.Column("reply_to_email", sa.Text),
    sa.Column("max_per_hour", sa.Integer, nullable=False),
    sa.Column("schedule_time", sa.DateTime(timezone=True)),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("pause_reason", sa.Text),
    sa.Column("start_time", sa.DateTime(timezone=True)),
    sa.Column("prepare_time", sa.DateTime(timezone=True)),
    sa.Column("end_time", sa.DateTime(timezone=True)),
    array_column("tags", sa.Text),
    sa.Column("search_text", sa.Text, nullable=False),
    # Not part of the message: what signs the links in the mails, when the next mail may go where there are not to be too
    # many in an hour, and the numbers of a campaign that was sent.
    sa.Column(
        "link_key",
        BYTEA,
        nullable=False,
        server_default=sa.text("(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))"),
    ),
    sa.Column("next_time", sa.DateTime(timezone=True)),
    json_column("statistics"),
    sa.ForeignKeyConstraint(["tenant_id", "topic"], ["topics.tenant_id", "topics.id"], name="campaigns_topic_fkey"),
    sa.ForeignKeyConstraint(
        ["tenant_id", "template"], ["templates.tenant_id", "templates.id"], name="campaigns_template_fkey"
    ),
    index("campaigns", "display_name_key"),
    index("campaigns", "topic"),
    index("campaigns", "template"),
    index("campaigns", "state"),
    index("campaigns", "schedule_time"),
    index("campaigns", "create_time"),
    index("campaigns", "update_time"),
    # Those that may have to begin, and those that are being sent.
    sa.Index(
        "campaigns_scheduled",
        "tenant_id",
        "schedule_time",
        "id",
        postgresql_where=sa.text("state = 2 AND delete_time IS NULL"),
    ),
    sa.Index("campaigns_sending", "tenant_id", "id", postgresql_where=sa.text("state = 4 AND delete_time IS NULL")),
    search_index("campaigns"),
)

CAMPAIGN = Resource(
    campaign_pb2.Campaign,
    campaigns,
    events=(*STANDARD_EVENTS, "scheduled", "started", "prepared", "sent", "paused", "resumed", "cancelled"),
    computed={"statistics": ("name",)},
)

IDS: Final = sa.bindparam("ids", type_=ARRAY(sa.Uuid))
FROZEN: Final = Statement(
    sa.select(campaigns.c.id, campaigns.c.statistics).where(
        campaigns.c.tenant_id == TENANT, campaigns.c.id == sa.any_(IDS), campaigns.c.statistics.is_not(None)
    )
)
"""The numbers of those campaigns that were sent."""
FREEZE: Final = Statement(
    campaigns.update()
    .where(campaigns.c.tenant_id == TENANT, campaigns.c.id == sa.bindparam("campaign_id", type_=sa.Uuid))
    .values(statistics=sa.bindparam("counted", type_=campaigns.c.statistics.type))
)
"""Keeps them."""

_SEGMENT: Final = sa.bindparam("segment", type_=sa.Uuid)
RUNNING_WITH: Final = Statement(
    sa.select(campaigns.c.id)
    .where(
        campaigns.c.tenant_id == TENANT,
        campaigns.c.delete_time.is_(None),
        sa.text(f"campaigns.state IN {RUNNING}"),  # said, not given: these are few, and the planner knows it
        sa.or_(sa.any_(campaigns.c.segments) == _SEGMENT, sa.any_(campaigns.c.excluded_segments) == _SEGMENT),
    )
    .limit(1)
)
"""A campaign under way that goes to a segment, or leaves it out."""
