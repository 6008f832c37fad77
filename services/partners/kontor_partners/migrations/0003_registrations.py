"""Create deal registrations, and what is known of customers and deals."""

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


def upgrade() -> None:
    """Create the tables."""
    _registrations()
    _claims()
    _known()


def _registrations() -> None:
    migrations.create_resource(
        "deal_registrations",
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
        sa.Column("partner", sa.Uuid, nullable=False),
        sa.Column("end_customer", JSONB),
        sa.Column("account", sa.Uuid),
        sa.Column("products", ARRAY(sa.Uuid)),
        sa.Column("region_codes", ARRAY(sa.Text)),
        sa.Column("amount_amount", sa.Numeric),
        sa.Column("amount_currency", sa.String(3)),
        sa.Column("expected_close_date", sa.Date),
        sa.Column("description", sa.Text),
        sa.Column("evidence", sa.Text),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("state_reason", sa.Text),
        sa.Column("submit_time", MOMENT),
        sa.Column("first_submit_time", MOMENT),
        sa.Column("verdict", sa.SmallInteger, nullable=False),
        sa.Column("verdict_time", MOMENT),
        sa.Column("rule_outcomes", JSONB),
        sa.Column("approve_time", MOMENT),
        sa.Column("protection_end_time", MOMENT),
        sa.Column("max_protection_end_time", MOMENT),
        sa.Column("extensions", JSONB),
        sa.Column("opportunity", sa.Uuid),
        sa.Column("approval", sa.Text),
        sa.Column("registrant", KEY),
        _refers("deal_registrations", "partner", "partners"),
        owned=False,
    )
    fields = ("partner", "account", "expected_close_date", "state", "submit_time", "verdict", "protection_end_time")
    migrations.create_indexes(
        "deal_registrations", "display_name_key", *fields, "opportunity", "registrant", "create_time", "update_time"
    )
    op.create_index(
        "deal_registrations_protected",
        "deal_registrations",
        ["tenant_id", "opportunity"],
        unique=True,
        postgresql_where=sa.text("state IN (4, 9) AND opportunity IS NOT NULL AND delete_time IS NULL"),
    )
    op.create_index(
        "deal_registrations_approved",
        "deal_registrations",
        ["tenant_id", "protection_end_time", "id"],
        postgresql_where=sa.text("state = 4 AND delete_time IS NULL"),
    )
    # The system role finds what is due over all tenants; it changes nothing.
    migrations.let_system_look("deal_registrations")


def _claims() -> None:
    op.create_table(
        "deal_claims",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("key", KEY, primary_key=True),
        sa.Column("registration", sa.Uuid, primary_key=True),
        _refers("deal_claims", "registration", "deal_registrations"),
    )
    op.create_index("deal_claims_registration", "deal_claims", ["tenant_id", "registration"])
    migrations.secure("deal_claims")
    op.create_table(
        "deal_arbitrations",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("registration", sa.Uuid, nullable=False),
        sa.Column("arbitration", JSONB, nullable=False),
        _refers("deal_arbitrations", "registration", "deal_registrations"),
    )
    op.create_index("deal_arbitrations_registration", "deal_arbitrations", ["tenant_id", "registration", "id"])
    # What was decided stays as it was.
    migrations.secure("deal_arbitrations", app="SELECT, INSERT")


def _known() -> None:
    op.create_table(
        "known_customers",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("account", sa.Uuid, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "customer_keys",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("key", KEY, primary_key=True),
        sa.Column("account", sa.Uuid, primary_key=True),
    )
    op.create_index("customer_keys_account", "customer_keys", ["tenant_id", "account"])
    op.create_table(
        "known_deals",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("opportunity", sa.Uuid, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("account", sa.Uuid),
        sa.Column("partner", sa.Uuid),
        sa.Column("products", ARRAY(sa.Uuid), nullable=False),
        sa.Column("open_time", MOMENT, nullable=False),
        sa.Column("open", sa.Boolean, nullable=False),
    )
    op.create_index("known_deals_account", "known_deals", ["tenant_id", "account"], postgresql_where=sa.text("open"))
    for table in ("known_customers", "customer_keys", "known_deals"):
        migrations.secure(table)


def _refers(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id", column], [f"{other}.tenant_id", f"{other}.id"], name=f"{table}_{column}_fkey"
    )


def downgrade() -> None:
    """Drop them."""
    tables = ("known_deals", "customer_keys", "known_customers", "deal_arbitrations", "deal_claims")
    for table in (*tables, "deal_registrations"):
        op.drop_table(table)
