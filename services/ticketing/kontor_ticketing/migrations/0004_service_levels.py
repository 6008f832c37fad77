"""Create working calendars, and service level policies with their versions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from kontor_kit import migrations

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# squawk-ignore require-concurrent-index-creation: this stands before the first release: no table has rows where it runs

KEY = sa.Text(collation="C")


def upgrade() -> None:
    """Create the tables."""
    _working_calendars()
    _sla_policies()
    _deadlines()


def _working_calendars() -> None:
    migrations.create_resource(
        "working_calendars",
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
        sa.Column("time_zone", sa.Text, nullable=False),
        sa.Column("slots", JSONB),
        sa.Column("country_code", sa.Text),
        sa.Column("subdivision", sa.Text),
        sa.Column("exceptions", JSONB),
        sa.Column("default", sa.Boolean, nullable=False),
        owned=False,
    )
    migrations.create_unique("working_calendars", "display_name_key")
    migrations.create_indexes("working_calendars", "default", "create_time", "update_time")


def _sla_policies() -> None:
    migrations.create_resource(
        "sla_policies",
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("order", sa.Integer, nullable=False),
        *(sa.Column(name, ARRAY(sa.SmallInteger)) for name in ("ticket_types", "priorities")),
        *(sa.Column(name, ARRAY(sa.Uuid)) for name in ("queues", "accounts")),
        sa.Column("tags", ARRAY(sa.Text)),
        sa.Column("standard", sa.Boolean, nullable=False),
        sa.Column("targets", JSONB),
        sa.Column("working_calendar", sa.Uuid),
        sa.Column("warning_lead", JSONB),
        sa.Column("counts_pending", sa.Boolean, nullable=False),
        sa.Column("policy_version", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "working_calendar"],
            ["working_calendars.tenant_id", "working_calendars.id"],
            name="sla_policies_working_calendar_fkey",
        ),
        owned=False,
    )
    migrations.create_unique("sla_policies", "display_name_key")
    columns = ("order", "standard", "working_calendar", "create_time", "update_time")
    migrations.create_indexes("sla_policies", *columns)
    last = sa.text("standard AND delete_time IS NULL")
    op.create_index("sla_policies_last", "sla_policies", ["tenant_id"], unique=True, postgresql_where=last)
    op.create_table(
        "sla_policy_versions",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("policy", sa.Uuid, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("terms", JSONB),
        sa.Column("calendar", JSONB),
    )
    # What was promised is never changed.
    migrations.secure("sla_policy_versions", app="SELECT, INSERT")


def _deadlines() -> None:
    """Let the system role find over all tenants which tickets there is something to tell of; it changes nothing."""
    due = sa.text("next_due_time IS NOT NULL AND delete_time IS NULL")
    op.create_index("tickets_due", "tickets", ["tenant_id", "next_due_time", "id"], postgresql_where=due)
    migrations.let_system_look("tickets")


def downgrade() -> None:
    """Drop the tables."""
    op.execute(f"REVOKE SELECT ON tickets FROM {migrations.system_role()}")
    op.execute("DROP POLICY system ON tickets")
    op.drop_index("tickets_due", "tickets")
    for table in ("sla_policy_versions", "sla_policies", "working_calendars"):
        op.drop_table(table)
