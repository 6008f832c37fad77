"""The resource and the tables of forecast snapshots."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from kontor.sales.v1 import forecast_snapshot_pb2
from kontor_kit.resource import Resource
from kontor_kit.scopes import TenantScope
from kontor_kit.tables import KEY_TEXT, index, resource_table
from kontor_sales.tables import metadata

forecast_snapshots = resource_table(
    "forecast_snapshots",
    metadata,
    sa.Column("kind", sa.SmallInteger, nullable=False),
    sa.Column("day", sa.Date, nullable=False),
    sa.Column("base_currency_code", sa.String(3)),
    index("forecast_snapshots", "kind"),
    index("forecast_snapshots", "day"),
    index("forecast_snapshots", "create_time"),
    index("forecast_snapshots", "update_time"),
    # However many take it, there is one a day.
    sa.Index("forecast_snapshots_daily", "tenant_id", "day", unique=True, postgresql_where=sa.text("kind = 1")),
    owned=False,
)

# The deals of snapshots: those that were open, and those closed within a year before.
forecast_deals = sa.Table(
    "forecast_deals",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("snapshot", sa.Uuid, primary_key=True),
    sa.Column("opportunity", sa.Uuid, primary_key=True),
    sa.Column("owner", sa.Uuid),
    sa.Column("team", sa.Uuid),
    sa.Column("pipeline", sa.Uuid, nullable=False),
    sa.Column("stage", KEY_TEXT, nullable=False),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("forecast_category", sa.SmallInteger, nullable=False),
    sa.Column("probability", sa.Numeric, nullable=False),
    # When an open one is to close; when a closed one did.
    sa.Column("day", sa.Date),
    sa.Column("currency", sa.String(3)),
    sa.Column("amount", sa.Numeric),
    sa.Column("base_amount", sa.Numeric),
    sa.ForeignKeyConstraint(
        ["tenant_id", "snapshot"],
        ["forecast_snapshots.tenant_id", "forecast_snapshots.id"],
        name="forecast_deals_snapshot_fkey",
    ),
)

# What was learned of a tenant's outcomes; the last time only.
win_models = sa.Table(
    "win_models",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("train_time", sa.DateTime(timezone=True), nullable=False),
    sa.Column("outcome_count", sa.Integer, nullable=False),
    sa.Column("won_rate", sa.Float, nullable=False),
    sa.Column("model", JSONB, nullable=False),
    sa.Column("back_test", JSONB, nullable=False),
)

FORECAST_SNAPSHOT = Resource(
    forecast_snapshot_pb2.ForecastSnapshot,
    forecast_snapshots,
    scope=TenantScope(),
    events=("created",),
    conflicts={"forecast_snapshots_daily": "the snapshot of the day is there already"},
)
