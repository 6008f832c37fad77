"""Create what recommendations are made of."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

from kontor_kit import migrations

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = ("product_rules", "account_baskets", "declined_products")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "product_rules",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("first", sa.Uuid, primary_key=True),
        sa.Column("antecedents", ARRAY(sa.Uuid), primary_key=True),
        sa.Column("consequent", sa.Uuid, primary_key=True),
        *(sa.Column(name, sa.Float, nullable=False) for name in ("support", "confidence", "lift")),
    )
    op.create_table(
        "account_baskets",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("product", sa.Uuid, primary_key=True),
        sa.Column("account", sa.Uuid, primary_key=True),
    )
    op.create_index("account_baskets_account", "account_baskets", ["tenant_id", "account"])
    op.create_table(
        "declined_products",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("account", sa.Uuid, primary_key=True),
        sa.Column("product", sa.Uuid, primary_key=True),
        sa.Column("decline_time", sa.DateTime(timezone=True), nullable=False),
    )
    for table in TABLES:
        migrations.secure(table)


def downgrade() -> None:
    """Drop them."""
    for table in TABLES:
        op.drop_table(table)
