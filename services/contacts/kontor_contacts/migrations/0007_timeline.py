"""Create the timeline, and keep who did what happened in other services."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

from kontor_kit import migrations
from kontor_kit.inbox import schema

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = ("timeline_sources", "timeline_entries")


def upgrade() -> None:
    """Create the tables."""
    schema.add_subject()
    key = sa.Text(collation="C")
    op.create_table(
        "timeline_sources",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("guarded", sa.Boolean, nullable=False),
        sa.Column("holder", sa.Uuid, nullable=False),
        sa.Column("owner", sa.Uuid),
        sa.Column("team", sa.Uuid),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("subjects", ARRAY(sa.Uuid), nullable=False),
    )
    op.create_table(
        "timeline_entries",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("place", sa.Uuid, primary_key=True),
        sa.Column("source", sa.Uuid, primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("event_time", sa.DateTime(timezone=True), nullable=False),
        *(sa.Column(name, key, nullable=False) for name in ("type", "resource_type", "resource_name", "subject")),
        sa.Column("guarded", sa.Boolean, nullable=False),
        sa.Column("holder", sa.Uuid, nullable=False),
        sa.Column("owner", sa.Uuid),
        sa.Column("team", sa.Uuid),
        sa.Column("hidden", sa.Boolean, nullable=False),
    )
    op.create_index("timeline_entries_holder", "timeline_entries", ["tenant_id", "holder", "source"])
    for name, columns in (("time", []), ("owner", ["owner"]), ("team", ["team"])):
        op.create_index(
            f"timeline_entries_{name}",
            "timeline_entries",
            ["tenant_id", "place", "resource_type", "guarded", *columns, "event_time", "id"],
            postgresql_where=sa.text("NOT hidden"),
        )
    for table in TABLES:
        migrations.secure(table)


def downgrade() -> None:
    """Drop them."""
    for table in TABLES:
        op.drop_table(table)
    schema.drop_subject()
