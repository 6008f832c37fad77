"""Create what recommendations are made of."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

from kontor_kit import migrations

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = ("product_rules", "account_baskets", "declined_products", "account_profiles")


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
    op.create_table(
        "account_profiles",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("account", sa.Uuid, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("industry", sa.Text(collation="C")),
        sa.Column("employee_count", sa.Integer, nullable=False),
    )
    op.create_index("account_profiles_industry", "account_profiles", ["tenant_id", "industry", "account"])
    for table in TABLES:
        migrations.secure(table)


def downgrade() -> None:
    """Drop them."""
    for table in TABLES:
        op.drop_table(table)
