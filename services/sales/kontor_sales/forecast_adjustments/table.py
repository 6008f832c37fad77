"""The resource and the table of forecast adjustments."""

import sqlalchemy as sa

from kontor.sales.v1 import forecast_adjustment_pb2
from kontor_kit.resource import Resource
from kontor_kit.tables import index, resource_table
from kontor_sales.tables import metadata

forecast_adjustments = resource_table(
    "forecast_adjustments",
    metadata,
    sa.Column("period", sa.SmallInteger, nullable=False),
    sa.Column("start_date", sa.Date, nullable=False),
    sa.Column("forecast_category", sa.SmallInteger, nullable=False),
    sa.Column("amount_amount", sa.Numeric),
    sa.Column("amount_currency", sa.String(3)),
    sa.Column("level", sa.SmallInteger, nullable=False),
    sa.Column("note", sa.Text),
    index("forecast_adjustments", "period"),
    index("forecast_adjustments", "start_date"),
    index("forecast_adjustments", "forecast_category"),
    index("forecast_adjustments", "level"),
    index("forecast_adjustments", "create_time"),
    index("forecast_adjustments", "update_time"),
    sa.Index(
        "forecast_adjustments_of_users",
        "tenant_id",
        "start_date",
        "period",
        "owner",
        "forecast_category",
        "level",
        unique=True,
        postgresql_where=sa.text("delete_time IS NULL"),
    ),
)

FORECAST_ADJUSTMENT = Resource(
    forecast_adjustment_pb2.ForecastAdjustment,
    forecast_adjustments,
    conflicts={"forecast_adjustments_of_users": "there is an adjustment for this period and category; change that one"},
)
