"""Create working calendars."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from kontor_kit import migrations

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

KEY = sa.Text(collation="C")


def upgrade() -> None:
    """Create the tables."""
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


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("working_calendars")
