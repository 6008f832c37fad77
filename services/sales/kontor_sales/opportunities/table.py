"""The resource and the tables of opportunities and the stages they were in."""

import sqlalchemy as sa

from kontor.sales.v1 import opportunity_pb2
from kontor_kit.resource import STANDARD_EVENTS, Resource
from kontor_kit.tables import KEY_TEXT, array_column, index, json_column, resource_table, search_index
from kontor_sales.tables import metadata

LIVE = sa.text("delete_time IS NULL")
_FORECAST = ("owner", "team", "pipeline", "amount_currency", "amount_amount")

opportunities = resource_table(
    "opportunities",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("account", sa.Uuid),
    sa.Column("pipeline", sa.Uuid, nullable=False),
    sa.Column("stage", KEY_TEXT, nullable=False),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("amount_amount", sa.Numeric),
    sa.Column("amount_currency", sa.String(3)),
    json_column("lines"),
    sa.Column("close_date", sa.Date),
    sa.Column("forecast_category", sa.SmallInteger, nullable=False),
    json_column("close_reasons"),
    json_column("competitors"),
    sa.Column("price_gap_amount", sa.Numeric),
    sa.Column("price_gap_currency", sa.String(3)),
    json_column("buying_centre"),
    json_column("decision_steps"),
    sa.Column("next_step", sa.Text),
    sa.Column("next_step_date", sa.Date),
    sa.Column("source", KEY_TEXT),
    sa.Column("partner", sa.Uuid),
    sa.Column("partner_protection_end_time", sa.DateTime(timezone=True)),
    array_column("tags", sa.Text),
    json_column("external_ids"),
    json_column("custom_fields"),
    sa.Column("open_time", sa.DateTime(timezone=True), nullable=False),
    sa.Column("close_time", sa.DateTime(timezone=True)),
    sa.Column("stage_enter_time", sa.DateTime(timezone=True), nullable=False),
    sa.Column("last_open_stage", sa.Text),
    sa.Column("stage_exception", sa.Text),
    sa.Column("base_amount_amount", sa.Numeric),
    sa.Column("base_amount_currency", sa.String(3)),
    sa.Column("stalled_time", sa.DateTime(timezone=True)),
    sa.Column("search_text", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(
        ["tenant_id", "pipeline", "stage"],
        ["pipeline_stages.tenant_id", "pipeline_stages.pipeline", "pipeline_stages.stage"],
        name="opportunities_stage_fkey",
    ),
    index("opportunities", "display_name_key"),
    index("opportunities", "account"),
    index("opportunities", "pipeline"),
    index("opportunities", "stage"),
    index("opportunities", "state"),
    index("opportunities", "close_date"),
    index("opportunities", "forecast_category"),
    index("opportunities", "next_step_date"),
    index("opportunities", "source"),
    index("opportunities", "partner"),
    index("opportunities", "open_time"),
    index("opportunities", "close_time"),
    index("opportunities", "stage_enter_time"),
    index("opportunities", "stalled_time"),
    index("opportunities", "create_time"),
    index("opportunities", "update_time"),
    # The first ones of each stage of a board: of everybody, or of one owner.
    sa.Index("opportunities_board", "tenant_id", "pipeline", "stage", "close_date", "id", postgresql_where=LIVE),
    sa.Index(
        "opportunities_own_board",
        "tenant_id",
        "owner",
        "pipeline",
        "stage",
        "close_date",
        "id",
        postgresql_where=LIVE,
    ),
    # The totals of each stage, from the index alone; and whether there is anything in a stage, deleted or not.
    sa.Index(
        "opportunities_totals",
        "tenant_id",
        "pipeline",
        "stage",
        postgresql_include=["delete_time", "amount_currency", "amount_amount", "owner", "team"],
    ),
    # Forecasts, from the indexes alone: what is to close in a period, and what was won in it.
    sa.Index(
        "opportunities_forecast_open",
        "tenant_id",
        "close_date",
        postgresql_include=[*_FORECAST, "stage", "forecast_category"],
        postgresql_where=sa.text("state = 1 AND delete_time IS NULL"),
    ),
    sa.Index(
        "opportunities_forecast_won",
        "tenant_id",
        "close_time",
        postgresql_include=[*_FORECAST, "base_amount_currency", "base_amount_amount"],
        postgresql_where=sa.text("state = 2 AND delete_time IS NULL"),
    ),
    search_index("opportunities"),
)

stage_visits = sa.Table(
    "stage_visits",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("opportunity", sa.Uuid, nullable=False),
    sa.Column("pipeline", sa.Uuid, nullable=False),
    sa.Column("stage", KEY_TEXT, nullable=False),
    sa.Column("from_stage", KEY_TEXT),
    sa.Column("enter_time", sa.DateTime(timezone=True), nullable=False),
    sa.Column("leave_time", sa.DateTime(timezone=True)),
    sa.Column("actor", KEY_TEXT, nullable=False),
    sa.Column("exception_reason", sa.Text),
    sa.ForeignKeyConstraint(
        ["tenant_id", "opportunity"],
        ["opportunities.tenant_id", "opportunities.id"],
        name="stage_visits_opportunity_fkey",
    ),
    sa.Index("stage_visits_opportunity", "tenant_id", "opportunity", "id"),
    # How long those stayed that left a stage lately.
    sa.Index(
        "stage_visits_left",
        "tenant_id",
        "pipeline",
        "stage",
        "leave_time",
        postgresql_include=["enter_time"],
        postgresql_where=sa.text("leave_time IS NOT NULL"),
    ),
)

# When to look whether an opportunity is stalled.
stall_checks = sa.Table(
    "stall_checks",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("check_time", sa.DateTime(timezone=True), nullable=False),
    sa.Index("stall_checks_check_time", "tenant_id", "check_time"),
)

_INSIGHT = (
    "pipeline",
    "stage",
    "state",
    "stage_enter_time",
    "buying_centre",
    "decision_steps",
    "next_step_date",
    "close_date",
)

OPPORTUNITY = Resource(
    opportunity_pb2.Opportunity,
    opportunities,
    events=(*STANDARD_EVENTS, "moved", "won", "lost", "reopened", "stalled"),
    computed={"is_stalled": _INSIGHT, "warnings": _INSIGHT},
)
