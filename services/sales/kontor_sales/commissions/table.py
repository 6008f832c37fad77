"""The resources and the tables of commission plans and commissions."""

import sqlalchemy as sa

from kontor.sales.v1 import commission_pb2, commission_plan_pb2
from kontor_kit.resource import Resource
from kontor_kit.scopes import TenantScope
from kontor_kit.tables import KEY_TEXT, index, json_column, resource_table
from kontor_sales.tables import metadata

commission_plans = resource_table(
    "commission_plans",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("valid_from", sa.Date),
    sa.Column("valid_to", sa.Date),
    json_column("rates"),
    index("commission_plans", "display_name_key"),
    index("commission_plans", "create_time"),
    index("commission_plans", "update_time"),
    owned=False,
)

commissions = resource_table(
    "commissions",
    metadata,
    sa.Column("month", sa.Date, nullable=False),
    sa.Column("currency_code", KEY_TEXT, nullable=False),
    json_column("lines"),
    sa.Column("total_amount_amount", sa.Numeric),
    sa.Column("total_amount_currency", sa.String(3)),
    index("commissions", "owner", "month", "currency_code", unique=True),
    index("commissions", "month"),
    index("commissions", "currency_code"),
    index("commissions", "create_time"),
    index("commissions", "update_time"),
)

COMMISSION_PLAN = Resource(
    commission_plan_pb2.CommissionPlan,
    commission_plans,
    scope=TenantScope(),
)
COMMISSION = Resource(
    commission_pb2.Commission,
    commissions,
    events=("created",),
    conflicts={"commissions_owner_month_currency_code": "the month is settled already"},
)
