"""Create pipelines, opportunities and what belongs to them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from kontor_kit import migrations

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEY = sa.Text(collation="C")
TIME = sa.DateTime(timezone=True)
TIMES = ("create_time", "update_time")
LIVE = sa.text("delete_time IS NULL")


def upgrade() -> None:
    _pipelines()
    _opportunities()
    _boards()
    _stage_visits()


def _pipelines() -> None:
    migrations.create_resource(
        "pipelines",
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("default", sa.Boolean, nullable=False),
        sa.Column("stages", JSONB),
        sa.Column("next_step_required", sa.Boolean, nullable=False),
        sa.Column("stalled_percentile", sa.Integer, nullable=False),
        sa.Column("economic_buyer_from", sa.Text),
        owned=False,
    )
    migrations.create_indexes("pipelines", "display_name_key", "default", *TIMES)
    op.create_table(
        "pipeline_stages",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("pipeline", sa.Uuid, primary_key=True),
        sa.Column("stage", KEY, primary_key=True),
        sa.Column("position", sa.SmallInteger, nullable=False),
        sa.Column("category", sa.SmallInteger, nullable=False),
        sa.Column("probability", sa.Numeric, nullable=False),
    )
    migrations.secure("pipeline_stages")
    migrations.create_resource(
        "close_reasons",
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
        sa.Column("outcome", sa.SmallInteger, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("note_required", sa.Boolean, nullable=False),
        owned=False,
    )
    migrations.create_unique("close_reasons", "outcome", "display_name_key")
    migrations.create_indexes("close_reasons", "outcome", "display_name_key", *TIMES)


def _opportunities() -> None:
    migrations.create_resource(
        "opportunities",
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("account", sa.Uuid),
        sa.Column("pipeline", sa.Uuid, nullable=False),
        sa.Column("stage", KEY, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("amount_amount", sa.Numeric),
        sa.Column("amount_currency", sa.String(3)),
        sa.Column("lines", JSONB),
        sa.Column("close_date", sa.Date),
        sa.Column("forecast_category", sa.SmallInteger, nullable=False),
        sa.Column("close_reasons", JSONB),
        sa.Column("competitors", JSONB),
        sa.Column("price_gap_amount", sa.Numeric),
        sa.Column("price_gap_currency", sa.String(3)),
        sa.Column("buying_centre", JSONB),
        sa.Column("decision_steps", JSONB),
        sa.Column("next_step", sa.Text),
        sa.Column("next_step_date", sa.Date),
        sa.Column("source", KEY),
        sa.Column("partner", sa.Uuid),
        sa.Column("tags", ARRAY(sa.Text)),
        sa.Column("external_ids", JSONB),
        sa.Column("custom_fields", JSONB),
        sa.Column("open_time", TIME, nullable=False),
        sa.Column("close_time", TIME),
        sa.Column("stage_enter_time", TIME, nullable=False),
        sa.Column("last_open_stage", sa.Text),
        sa.Column("stage_exception", sa.Text),
        sa.Column("search_text", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "pipeline", "stage"],
            ["pipeline_stages.tenant_id", "pipeline_stages.pipeline", "pipeline_stages.stage"],
            name="opportunities_stage_fkey",
        ),
    )
    migrations.create_indexes(
        "opportunities", "display_name_key", "account", "pipeline", "stage", "state", "close_date",
        "forecast_category", "next_step_date", "source", "partner", "open_time", "close_time", "stage_enter_time",
        *TIMES,
    )  # fmt: skip
    migrations.create_search("opportunities")


def _boards() -> None:
    table, first = "opportunities", ["stage", "close_date", "id"]
    op.create_index("opportunities_board", table, ["tenant_id", "pipeline", *first], postgresql_where=LIVE)
    op.create_index("opportunities_own_board", table, ["tenant_id", "owner", "pipeline", *first], postgresql_where=LIVE)
    op.create_index(
        "opportunities_totals",
        table,
        ["tenant_id", "pipeline", "stage"],
        postgresql_include=["delete_time", "amount_currency", "amount_amount", "owner", "team"],
    )


def _stage_visits() -> None:
    op.create_table(
        "stage_visits",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("opportunity", sa.Uuid, nullable=False),
        sa.Column("pipeline", sa.Uuid, nullable=False),
        sa.Column("stage", KEY, nullable=False),
        sa.Column("from_stage", KEY),
        sa.Column("enter_time", TIME, nullable=False),
        sa.Column("leave_time", TIME),
        sa.Column("actor", KEY, nullable=False),
        sa.Column("exception_reason", sa.Text),
        sa.ForeignKeyConstraint(
            ["tenant_id", "opportunity"],
            ["opportunities.tenant_id", "opportunities.id"],
            name="stage_visits_opportunity_fkey",
        ),
    )
    op.create_index("stage_visits_opportunity", "stage_visits", ["tenant_id", "opportunity", "id"])
    op.create_index(
        "stage_visits_left",
        "stage_visits",
        ["tenant_id", "pipeline", "stage", "leave_time"],
        postgresql_include=["enter_time"],
        postgresql_where=sa.text("leave_time IS NOT NULL"),
    )
    migrations.secure("stage_visits")


def downgrade() -> None:
    op.execute("DROP FUNCTION search_opportunities")
    for table in ("stage_visits", "opportunities", "close_reasons", "pipeline_stages", "pipelines"):
        op.drop_table(table)
