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


def upgrade() -> None:
    """Create them."""
    _templates()


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
    op.execute("DROP FUNCTION search_templates")
    for table in ("template_revisions", "templates"):
        op.drop_table(table)
