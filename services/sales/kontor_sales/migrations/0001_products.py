"""Create the kit's tables and the products."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from kontor_kit import definition_copies, migrations
from kontor_kit.changes import schema as changes
from kontor_kit.inbox import schema as inbox
from kontor_kit.operations import schema as operations

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.Text(collation="C")


def upgrade() -> None:
    migrations.extensions()
    migrations.create_kit_tables()
    changes.create_change_log()
    inbox.create_inbox()
    operations.create_operations()
    definition_copies.create()
    migrations.create_resource(
        "products",
        sa.Column("sku", sa.Text, nullable=False),
        sa.Column("sku_key", KEY, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
        sa.Column("family", KEY),
        sa.Column("description", sa.Text),
        sa.Column("unit", sa.Text),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("facts", JSONB),
        sa.Column("benefits", JSONB),
        sa.Column("media", JSONB),
        sa.Column("tags", ARRAY(sa.Text)),
        sa.Column("external_ids", JSONB),
        sa.Column("custom_fields", JSONB),
        sa.Column("tax_rate", sa.Numeric),
        sa.Column("availability", JSONB),
        sa.Column("search_text", sa.Text, nullable=False),
        owned=False,
    )
    migrations.create_unique("products", "sku_key")
    migrations.create_indexes("products", "display_name_key", "family", "state", "create_time", "update_time")
    migrations.create_search("products", owned=False)


def downgrade() -> None:
    op.execute("DROP FUNCTION search_products")
    op.drop_table("products")
    definition_copies.drop()
    operations.drop_operations()
    inbox.drop_inbox()
    changes.drop_change_log()
    for table in ("change_pending", "requests", "external_ids", "terms"):
        op.drop_table(table)
