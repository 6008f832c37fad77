"""Create the kit's tables and the accounts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from kontor_kit import migrations

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.Text(collation="C")


def upgrade() -> None:
    migrations.extensions()
    migrations.create_kit_tables()
    migrations.create_resource(
        "accounts",
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
        sa.Column("legal_name", sa.Text),
        sa.Column("roles", ARRAY(sa.SmallInteger)),
        sa.Column("industry", KEY),
        sa.Column("employee_count", sa.Integer, nullable=False),
        sa.Column("annual_revenue_amount", sa.Numeric),
        sa.Column("annual_revenue_currency", sa.String(3)),
        sa.Column("website", sa.Text),
        sa.Column("parent", sa.Uuid),
        sa.Column("tier", sa.SmallInteger, nullable=False),
        sa.Column("emails", JSONB),
        sa.Column("phones", JSONB),
        sa.Column("addresses", JSONB),
        sa.Column("collaborators", ARRAY(sa.Uuid)),
        sa.Column("tags", ARRAY(sa.Text)),
        sa.Column("external_ids", JSONB),
        sa.Column("language_code", KEY),
        sa.Column("custom_fields", JSONB),
        sa.Column("search_text", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "parent"], ["accounts.tenant_id", "accounts.id"], name="accounts_parent_fkey"
        ),
    )
    migrations.create_indexes(
        "accounts",
        "display_name_key",
        "industry",
        "employee_count",
        "parent",
        "tier",
        "language_code",
        "create_time",
        "update_time",
    )
    migrations.create_search("accounts")


def downgrade() -> None:
    op.execute("DROP FUNCTION search_accounts")
    for table in ("accounts", "change_pending", "requests", "external_ids", "terms"):
        op.drop_table(table)
