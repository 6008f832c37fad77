"""Create templates, campaigns and their recipients."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from kontor_kit import migrations

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KEY = sa.Text(collation="C")
MOMENT = sa.DateTime(timezone=True)
TIMES = ("create_time", "update_time")
RANDOM = "uuid_send(gen_random_uuid())"


def upgrade() -> None:
    """Create them."""
    _templates()
    _campaigns()
    _recipients()


def _templates() -> None:
    migrations.create_resource(
        "templates",
        *_named(),
        sa.Column("description", sa.Text),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("text_body", sa.Text, nullable=False),
        sa.Column("html_body", sa.Text),
        sa.Column("variants", JSONB),
        sa.Column("salutations", JSONB),
        sa.Column("salutation_fallback", sa.Text),
        sa.Column("tags", ARRAY(sa.Text)),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("search_text", sa.Text, nullable=False),
        owned=False,
    )
    migrations.create_unique("templates", "display_name_key")
    migrations.create_indexes("templates", *TIMES)
    migrations.create_search("templates", owned=False)
    op.create_table(
        "template_revisions",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("template", sa.Uuid, primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True),
        sa.Column("content", JSONB, nullable=False),
        sa.Column("create_time", MOMENT, nullable=False, server_default=sa.text("now()")),
        _refers("template_revisions", "template", "templates"),
    )
    # What was sent stays as it was.
    migrations.secure("template_revisions", app="SELECT, INSERT")


def _campaigns() -> None:
    migrations.create_resource(
        "campaigns",
        *_named(),
        sa.Column("topic", sa.Uuid, nullable=False),
        sa.Column("template", sa.Uuid, nullable=False),
        sa.Column("template_revision", sa.Integer, nullable=False),
        sa.Column("segments", ARRAY(sa.Uuid)),
        sa.Column("excluded_segments", ARRAY(sa.Uuid)),
        sa.Column("include_open_complaints", sa.Boolean, nullable=False),
        sa.Column("sender_name", sa.Text, nullable=False),
        sa.Column("sender_email", sa.Text, nullable=False),
        sa.Column("reply_to_email", sa.Text),
        sa.Column("max_per_hour", sa.Integer, nullable=False),
        sa.Column("schedule_time", MOMENT),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("pause_reason", sa.Text),
        sa.Column("start_time", MOMENT),
        sa.Column("prepare_time", MOMENT),
        sa.Column("end_time", MOMENT),
        sa.Column("tags", ARRAY(sa.Text)),
        sa.Column("search_text", sa.Text, nullable=False),
        sa.Column("link_key", sa.LargeBinary, nullable=False, server_default=sa.text(f"{RANDOM} || {RANDOM}")),
        sa.Column("next_time", MOMENT),
        sa.Column("statistics", JSONB),
        _refers("campaigns", "topic", "topics"),
        _refers("campaigns", "template", "templates"),
    )
    migrations.create_indexes("campaigns", "display_name_key", "topic", "template", "state", "schedule_time", *TIMES)
    _index("campaigns_scheduled", "campaigns", "schedule_time", "id", where="state = 2 AND delete_time IS NULL")
    _index("campaigns_sending", "campaigns", "id", where="state = 4 AND delete_time IS NULL")
    migrations.create_search("campaigns")
    # Jobs find what is due over all tenants; they change nothing.
    migrations.let_system_look("campaigns")


def _recipients() -> None:
    migrations.create_resource(
        "campaign_recipients",
        sa.Column("campaign", sa.Uuid, nullable=False),
        sa.Column("party", sa.Uuid, nullable=False),
        sa.Column("email", sa.Text),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("decision", sa.SmallInteger, nullable=False),
        sa.Column("evidence", JSONB),
        sa.Column("message_id", KEY),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("failure", sa.Text),
        sa.Column("send_time", MOMENT),
        sa.Column("unsubscribe_time", MOMENT),
        sa.Column("address_key", KEY),
        sa.Column("due_time", MOMENT, nullable=False, server_default=sa.text("now()")),
        sa.Column("deferrals", sa.Integer, nullable=False, server_default=sa.text("0")),
        _refers("campaign_recipients", "campaign", "campaigns"),
        owned=False,
    )
    migrations.create_unique("campaign_recipients", "campaign", "party")
    migrations.create_unique("campaign_recipients", "campaign", "address_key")
    migrations.create_indexes("campaign_recipients", "campaign", "party", "state", "decision", *TIMES)
    counted = ["tenant_id", "campaign", "state", "decision", "id"]
    op.create_index("campaign_recipients_campaign_state_decision", "campaign_recipients", counted)
    due = "state IN (1, 2) AND delete_time IS NULL"
    _index("campaign_recipients_due", "campaign_recipients", "campaign", "due_time", "id", where=due)


def _index(name: str, table: str, *columns: str, where: str) -> None:
    op.create_index(name, table, ["tenant_id", *columns], postgresql_where=sa.text(where))


def _named() -> list[sa.Column[Any]]:
    return [
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
    ]


def _refers(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id", column], [f"{other}.tenant_id", f"{other}.id"], name=f"{table}_{column}_fkey"
    )


def downgrade() -> None:
    """Drop them."""
    for table in ("campaigns", "templates"):
        op.execute(f"DROP FUNCTION search_{table}")
    for table in ("campaign_recipients", "campaigns", "template_revisions", "templates"):
        op.drop_table(table)
