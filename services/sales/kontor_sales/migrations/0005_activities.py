"""Create activities, calendar feeds, care cadences and visit plans."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from kontor_kit import migrations

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

KEY = sa.Text(collation="C")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _create_activities()
    _create_calendars()
    _create_care()
    # The key of a feed says whose it is, before there is a tenant to be held to. The function works as the tables'
    # owner, and gives nothing for a digest that is not there.
    op.execute(_FIND_FEED)
    op.execute("REVOKE EXECUTE ON FUNCTION find_calendar_feed(bytea) FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION find_calendar_feed(bytea) TO {migrations.app_role()}")


def _create_activities() -> None:
    migrations.create_resource(
        "activities",
        sa.Column("type", sa.SmallInteger, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("subject_key", KEY, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("start_time", TIME),
        sa.Column("end_time", TIME),
        sa.Column("time_zone", sa.Text),
        sa.Column("all_day", sa.Boolean, nullable=False),
        sa.Column("due_date", sa.Date),
        sa.Column("agenda_time", TIME, nullable=False),
        sa.Column("priority", sa.SmallInteger, nullable=False),
        sa.Column("location", sa.Text),
        sa.Column("transparent", sa.Boolean, nullable=False),
        sa.Column("direction", sa.SmallInteger, nullable=False),
        sa.Column("phone_number", sa.Text),
        sa.Column("conference_uri", sa.Text),
        sa.Column("channel", KEY),
        sa.Column("organizer", JSONB),
        sa.Column("attendees", JSONB),
        sa.Column("account", sa.Uuid),
        sa.Column("contacts", ARRAY(sa.Uuid)),
        *(sa.Column(name, sa.Uuid) for name in ("opportunity", "lead", "follows")),
        sa.Column("outcome", sa.Text),
        sa.Column("held_time", TIME),
        sa.Column("needs", JSONB),
        sa.Column("competitor_sightings", JSONB),
        sa.Column("report_time", TIME),
        sa.Column("offered_to", sa.Uuid),
        sa.Column("hand_over", JSONB),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("tags", ARRAY(sa.Text)),
        sa.Column("external_ids", JSONB),
        sa.Column("custom_fields", JSONB),
        sa.Column("search_text", sa.Text, nullable=False),
    )
    migrations.create_search("activities")
    migrations.create_indexes(
        "activities",
        *("type", "state", "subject_key", "start_time", "end_time", "due_date", "agenda_time", "priority"),
        *("direction", "channel", "account", "opportunity", "lead", "follows", "held_time", "report_time"),
        *("offered_to", "create_time", "update_time"),
    )
    op.create_index("activities_own_agenda", "activities", ["tenant_id", "owner", "agenda_time", "id"])
    held = sa.text("state = 2 AND delete_time IS NULL")
    columns = ["tenant_id", "account", "type", "held_time"]
    op.create_index("activities_held", "activities", columns, postgresql_where=held)


def _create_calendars() -> None:
    op.create_table(
        "calendar_entries",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("user", sa.Uuid, primary_key=True),
        sa.Column("activity", sa.Uuid, primary_key=True),
        sa.Column("start_time", TIME, nullable=False),
        sa.Column("end_time", TIME, nullable=False),
        sa.Column("busy", sa.SmallInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "activity"], ["activities.tenant_id", "activities.id"], name="calendar_entries_activity_fkey"
        ),
    )
    op.create_index("calendar_entries_activity", "calendar_entries", ["tenant_id", "activity"])
    op.create_index("calendar_entries_end_time", "calendar_entries", ["tenant_id", "user", "end_time", "activity"])
    migrations.secure("calendar_entries")
    migrations.create_resource(
        "calendar_feeds",
        sa.Column("user", sa.Uuid, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
        sa.Column("busy_only", sa.Boolean, nullable=False),
        sa.Column("key_prefix", sa.Text),
        owned=False,
    )
    migrations.create_indexes("calendar_feeds", "user", "display_name_key", "create_time", "update_time")
    op.create_table(
        "calendar_feed_keys",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("calendar_feed", sa.Uuid, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "calendar_feed"],
            ["calendar_feeds.tenant_id", "calendar_feeds.id"],
            name="calendar_feed_keys_calendar_feed_fkey",
        ),
    )
    op.create_index("calendar_feed_keys_digest", "calendar_feed_keys", ["digest"])
    migrations.secure("calendar_feed_keys")


def _create_care() -> None:
    migrations.create_resource(
        "care_cadences",
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
        sa.Column("tier", sa.SmallInteger, nullable=False),
        sa.Column("role", sa.SmallInteger, nullable=False),
        sa.Column("channels", JSONB),
        owned=False,
    )
    migrations.create_indexes("care_cadences", "display_name_key", "tier", "role", "create_time", "update_time")
    op.create_table(
        "account_facts",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("account", sa.Uuid, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("tier", sa.SmallInteger, nullable=False),
        sa.Column("role", sa.SmallInteger, nullable=False),
        sa.Column("industry", KEY),
        sa.Column("employee_count", sa.Integer, nullable=False),
        sa.Column("region_code", KEY),
        sa.Column("postal_code", KEY),
        sa.Column("owner", sa.Uuid),
        sa.Column("team", sa.Uuid),
        sa.Column("known_since", TIME, nullable=False),
        sa.Column("live", sa.Boolean, nullable=False),
    )
    live = sa.text("live")
    op.create_index("account_facts_owner", "account_facts", ["tenant_id", "owner", "account"], postgresql_where=live)
    industry = ["tenant_id", "industry", "account"]
    op.create_index("account_facts_industry", "account_facts", industry, postgresql_where=live)
    place = ["tenant_id", "region_code", "postal_code", "account"]
    op.create_index("account_facts_place", "account_facts", place, postgresql_where=live)
    migrations.secure("account_facts")
    op.create_table(
        "care_clocks",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("account", sa.Uuid, primary_key=True),
        sa.Column("channel", sa.SmallInteger, primary_key=True),
        sa.Column("tier", sa.SmallInteger, nullable=False),
        sa.Column("role", sa.SmallInteger, nullable=False),
        sa.Column("owner", sa.Uuid),
        sa.Column("team", sa.Uuid),
        sa.Column("last_time", TIME, nullable=False),
    )
    kind = ["channel", "tier", "role", "last_time", "account"]
    op.create_index("care_clocks_last_time", "care_clocks", ["tenant_id", *kind])
    op.create_index("care_clocks_owner", "care_clocks", ["tenant_id", "owner", *kind])
    op.create_index("care_clocks_team", "care_clocks", ["tenant_id", "team", *kind])
    migrations.secure("care_clocks")
    migrations.create_resource(
        "visit_plans",
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("start_date", sa.Date, nullable=False),
        sa.Column("end_date", sa.Date, nullable=False),
        sa.Column("visits_per_day", sa.Integer, nullable=False),
        sa.Column("time_zone", sa.Text),
        sa.Column("visits", JSONB),
        sa.Column("left_out", sa.Integer, nullable=False),
    )
    migrations.create_indexes("visit_plans", "state", "start_date", "create_time", "update_time")


def downgrade() -> None:
    op.execute("DROP FUNCTION find_calendar_feed")
    for table in ("visit_plans", "care_clocks", "account_facts", "care_cadences"):
        op.drop_table(table)
    op.execute("DROP FUNCTION search_activities")
    for table in ("calendar_feed_keys", "calendar_feeds", "calendar_entries", "activities"):
        op.drop_table(table)


_FIND_FEED = """
CREATE FUNCTION find_calendar_feed(key_digest bytea) RETURNS TABLE (tenant_id uuid, calendar_feed uuid)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp
AS $body$
    SELECT k.tenant_id, k.calendar_feed FROM calendar_feed_keys k WHERE k.digest = key_digest
$body$
"""
