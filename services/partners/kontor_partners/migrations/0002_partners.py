"""Create programmes and partners."""

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
        sa.ForeignKeyConstraint(
            ["tenant_id", "programme"], ["programmes.tenant_id", "programmes.id"], name="partners_programme_fkey"
        ),
    )
    migrations.create_unique("partners", "account")
    migrations.create_unique("partners", "partner_team")
    fields = ("type", "state", "programme", "level", "agreement_end_date", "next_review_date")
    migrations.create_indexes("partners", "display_name_key", *fields, *TIMES)
    op.create_index(
        "partners_next_level",
        "partners",
        ["tenant_id", "next_level_date", "id"],
        postgresql_where=sa.text("next_level_date IS NOT NULL AND delete_time IS NULL"),
    )
    migrations.create_search("partners", reach=f"($1 IS NULL OR r.owner = $1 OR {_TEAMS})")
    _let_jobs_look("partners")


def _let_jobs_look(table: str) -> None:
    """Let the system role find what is due over all tenants; it changes nothing."""
    role = migrations.system_role()
    op.execute(f"CREATE POLICY system ON {table} FOR SELECT TO {role} USING (true)")
    op.execute(f"GRANT SELECT ON {table} TO {role}")


def downgrade() -> None:
    op.execute("DROP FUNCTION search_partners")
    for table in ("partners", "programmes"):
        op.drop_table(table)
