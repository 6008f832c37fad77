"""Create the kit's tables and the widgets."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from kontor_kit import migrations

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.Text(collation="C")


def upgrade():
    migrations.extensions()
    migrations.create_kit_tables()
    migrations.create_resource(
        "widgets",
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
        sa.Column("serial", KEY),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("weight", sa.BigInteger),
        sa.Column("ratio", sa.Double, nullable=False),
        sa.Column("broken", sa.Boolean, nullable=False),
        sa.Column("colour", sa.SmallInteger, nullable=False),
        sa.Column("colours", ARRAY(sa.SmallInteger)),
        sa.Column("parent", sa.Uuid),
        sa.Column("tags", ARRAY(sa.Text)),
        sa.Column("parts", JSONB),
        sa.Column("main_part", JSONB),
        sa.Column("price_amount", sa.Numeric),
        sa.Column("price_currency", sa.String(3)),
        sa.Column("quantity", sa.Numeric),
        sa.Column("made_on", sa.Date),
        sa.Column("checked_at", sa.DateTime(timezone=True)),
        sa.Column("note", sa.Text),
        sa.Column("watchers", ARRAY(sa.Uuid)),
        sa.Column("external_ids", JSONB),
        sa.Column("custom_fields", JSONB),
        sa.Column("search_text", sa.Text, nullable=False),
        sa.Column("sightings", sa.Integer, nullable=False, server_default=sa.text("0")),
    )
    migrations.create_indexes("widgets", "display_name_key", "size", "create_time", "update_time")
    op.create_index(
        "widgets_serial",
        "widgets",
        ["tenant_id", "serial"],
        unique=True,
        postgresql_where=sa.text("delete_time IS NULL"),
    )


def downgrade():
    for table in ("widgets", "change_pending", "requests", "external_ids", "terms"):
        op.drop_table(table)
