"""Create programmes, partners and lead offers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from kontor_kit import migrations

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEY = sa.Text(collation="C")
TIMES = ("create_time", "update_time")
_TEAMS = "r.team = ANY ($2) OR r.partner_team = ANY ($2)"


def upgrade() -> None:
    _programmes()
    _partners()
    _lead_offers()
    _known()


def _programmes() -> None:
    migrations.create_resource(
        "programmes",
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("levels", JSONB),
        sa.Column("currency_code", sa.String(3), nullable=False),
        sa.Column("grace_days", sa.Integer, nullable=False),
        sa.Column("max_protection_days", sa.Integer, nullable=False),
        owned=False,
    )
    migrations.create_indexes("programmes", "display_name_key", *TIMES)


def _partners() -> None:
    migrations.create_resource(
        "partners",
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
        sa.Column("account", sa.Uuid, nullable=False),
        sa.Column("type", sa.SmallInteger, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("state_reason", sa.Text),
        sa.Column("state_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("programme", sa.Uuid),
        sa.Column("level", KEY),
        sa.Column("level_periods", JSONB),
        sa.Column("next_level_date", sa.Date),
        sa.Column("next_level", KEY),
        sa.Column("region_codes", ARRAY(sa.Text)),
        sa.Column("products", ARRAY(sa.Uuid)),
        sa.Column("product_families", ARRAY(sa.Text)),
        sa.Column("offer_capacity", sa.Integer, nullable=False),
        sa.Column("agreement_end_date", sa.Date),
        sa.Column("next_review_date", sa.Date),
        sa.Column("partner_team", sa.Uuid),
        sa.Column("external_ids", JSONB),
        sa.Column("search_text", sa.Text, nullable=False),
        _refers("partners", "programme", "programmes"),
    )
    migrations.create_unique("partners", "partner_team")
    fields = ("account", "type", "state", "programme", "level", "agreement_end_date", "next_review_date")
    migrations.create_indexes("partners", "display_name_key", *fields, *TIMES)
    coming = "next_level_date IS NOT NULL AND delete_time IS NULL"
    _index("partners_next_level", "partners", "next_level_date", "id", where=coming)
    migrations.create_search("partners", reach=f"($1 IS NULL OR r.owner = $1 OR {_TEAMS})")
    migrations.let_system_look("partners")


def _lead_offers() -> None:
    moment = sa.DateTime(timezone=True)
    migrations.create_resource(
        "lead_offers",
        sa.Column("lead", sa.Uuid, nullable=False),
        sa.Column("partner", sa.Uuid, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("expire_time", moment, nullable=False),
        sa.Column("message", sa.Text),
        sa.Column("company", sa.Text),
        sa.Column("region_code", sa.Text),
        sa.Column("industry", sa.Text),
        sa.Column("interests", JSONB),
        sa.Column("person", JSONB),
        sa.Column("next_step", sa.Text),
        sa.Column("expected_amount_amount", sa.Numeric),
        sa.Column("expected_amount_currency", sa.String(3)),
        sa.Column("reason", sa.Text),
        sa.Column("answer_time", moment),
        sa.Column("answerer", sa.Uuid),
        _refers("lead_offers", "partner", "partners"),
        owned=False,
    )
    migrations.create_indexes("lead_offers", "lead", "partner", "state", "expire_time", *TIMES)
    _index("lead_offers_held", "lead_offers", "lead", where="state IN (1, 2)", unique=True)
    _index("lead_offers_open", "lead_offers", "partner", "id", where="state = 1")
    _index("lead_offers_counted", "lead_offers", "partner", "create_time", where="state <> 5")
    _index("lead_offers_due", "lead_offers", "expire_time", "id", where="state = 1")
    migrations.let_system_look("lead_offers")
    op.create_table(
        "lead_offer_choices",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("lead_offer", sa.Uuid, primary_key=True),
        sa.Column("choice", JSONB),
        sa.Column("next_choice", JSONB),
        _refers("lead_offer_choices", "lead_offer", "lead_offers"),
    )
    migrations.secure("lead_offer_choices")


def _known() -> None:
    """Create the tables of what is known of other services' records."""
    op.create_table(
        "offered_leads",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("lead", sa.Uuid, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("content", sa.LargeBinary),
    )
    op.create_table(
        "known_products",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("product", sa.Uuid, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("family", sa.Text),
    )
    for table in ("offered_leads", "known_products"):
        migrations.secure(table)


def _refers(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id", column], [f"{other}.tenant_id", f"{other}.id"], name=f"{table}_{column}_fkey"
    )


def _index(name: str, table: str, *columns: str, where: str, unique: bool = False) -> None:
    op.create_index(name, table, ["tenant_id", *columns], unique=unique, postgresql_where=sa.text(where))


def downgrade() -> None:
    op.execute("DROP FUNCTION search_partners")
    known = ("known_products", "offered_leads")
    for table in (*known, "lead_offer_choices", "lead_offers", "partners", "programmes"):
        op.drop_table(table)
