"""The resource and the tables of activities: themselves, and when they stand in whose calendar."""

from __future__ import annotations

import sqlalchemy as sa

from kontor.sales.v1 import activity_pb2
from kontor_kit.db import Statement
from kontor_kit.filter_sql import TENANT
from kontor_kit.resource import STANDARD_EVENTS, Resource
from kontor_kit.tables import KEY_TEXT, array_column, index, json_column, resource_table, search_index
from kontor_sales.tables import metadata

HELD = sa.text("state = 2 AND delete_time IS NULL")

activities = resource_table(
    "activities",
    metadata,
    sa.Column("type", sa.SmallInteger, nullable=False),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("subject_key", KEY_TEXT, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("start_time", sa.DateTime(timezone=True)),
    sa.Column("end_time", sa.DateTime(timezone=True)),
    sa.Column("time_zone", sa.Text),
    sa.Column("all_day", sa.Boolean, nullable=False),
    sa.Column("due_date", sa.Date),
    sa.Column("agenda_time", sa.DateTime(timezone=True), nullable=False),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("location", sa.Text),
    sa.Column("transparent", sa.Boolean, nullable=False),
    sa.Column("direction", sa.SmallInteger, nullable=False),
    sa.Column("phone_number", sa.Text),
    sa.Column("conference_uri", sa.Text),
    sa.Column("channel", KEY_TEXT),
    json_column("organizer"),
    json_column("attendees"),
    sa.Column("account", sa.Uuid),
    array_column("contacts", sa.Uuid),
    sa.Column("opportunity", sa.Uuid),
    sa.Column("lead", sa.Uuid),
    sa.Column("follows", sa.Uuid),
    sa.Column("outcome", sa.Text),
    sa.Column("held_time", sa.DateTime(timezone=True)),
    json_column("needs"),
    json_column("competitor_sightings"),
    sa.Column("report_time", sa.DateTime(timezone=True)),
    sa.Column("offered_to", sa.Uuid),
    json_column("hand_over"),
    sa.Column("sequence", sa.Integer, nullable=False),
    array_column("tags", sa.Text),
    json_column("external_ids"),
    json_column("custom_fields"),
    sa.Column("search_text", sa.Text, nullable=False),
    index("activities", "type"),
    index("activities", "state"),
    index("activities", "subject_key"),
    index("activities", "start_time"),
    index("activities", "end_time"),
    index("activities", "due_date"),
    index("activities", "agenda_time"),
    index("activities", "priority"),
    index("activities", "direction"),
    index("activities", "channel"),
    index("activities", "account"),
    index("activities", "opportunity"),
    index("activities", "lead"),
    index("activities", "follows"),
    index("activities", "held_time"),
    index("activities", "report_time"),
    index("activities", "offered_to"),
    index("activities", "create_time"),
    index("activities", "update_time"),
    # What somebody has before them.
    sa.Index("activities_own_agenda", "tenant_id", "owner", "agenda_time", "id"),
    # When somebody was last heard of.
    sa.Index("activities_held", "tenant_id", "account", "type", "held_time", postgresql_where=HELD),
    search_index("activities"),
)

calendar_entries = sa.Table(
    "calendar_entries",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("user", sa.Uuid, primary_key=True),
    sa.Column("activity", sa.Uuid, primary_key=True),
    sa.Column("start_time", sa.DateTime(timezone=True), nullable=False),
    sa.Column("end_time", sa.DateTime(timezone=True), nullable=False),
    sa.Column("busy", sa.SmallInteger, nullable=False),
    sa.ForeignKeyConstraint(
        ["tenant_id", "activity"], ["activities.tenant_id", "activities.id"], name="calendar_entries_activity_fkey"
    ),
    sa.Index("calendar_entries_activity", "tenant_id", "activity"),
    sa.Index("calendar_entries_end_time", "tenant_id", "user", "end_time", "activity"),
)


ACTIVITY = Resource(
    activity_pb2.Activity,
    activities,
    events=(
        *STANDARD_EVENTS,
        *("held", "not_held", "cancelled", "reopened", "reported", "answered"),
        *("hand_over_offered", "hand_over_accepted", "hand_over_declined"),
    ),
)

OF_LEAD = Statement(
    sa.select(activities.c.id)
    .where(activities.c.tenant_id == TENANT, activities.c.lead == sa.bindparam("lead", type_=sa.Uuid))
    .order_by(activities.c.id)
)
"""The activities about a lead; deleted ones too, for they may come back."""
