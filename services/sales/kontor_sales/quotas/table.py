"""The resource and the table of quotas."""

import sqlalchemy as sa

from kontor.sales.v1 import quota_pb2
from kontor_kit.resource import Resource
from kontor_kit.tables import index, resource_table
from kontor_sales.tables import metadata

quotas = resource_table(
    "quotas",
    metadata,
    sa.Column("period", sa.SmallInteger, nullable=False),
    sa.Column("start_date", sa.Date, nullable=False),
    sa.Column("amount_amount", sa.Numeric),
    sa.Column("amount_currency", sa.String(3)),
    sa.Column("whole_team", sa.Boolean, nullable=False),
    index("quotas", "period"),
    index("quotas", "start_date"),
    index("quotas", "whole_team"),
    index("quotas", "create_time"),
    index("quotas", "update_time"),
    # One of somebody for a period, and one of a team.
    sa.Index(
        "quotas_of_users",
        "tenant_id",
        "start_date",
        "period",
        "owner",
        unique=True,
        postgresql_where=sa.text("NOT whole_team AND delete_time IS NULL"),
    ),
    sa.Index(
        "quotas_of_teams",
        "tenant_id",
        "start_date",
        "period",
        "team",
        unique=True,
        postgresql_where=sa.text("whole_team AND delete_time IS NULL"),
    ),
)

_TAKEN = "there is a quota for this period already"
QUOTA = Resource(quota_pb2.Quota, quotas, conflicts={"quotas_of_users": _TAKEN, "quotas_of_teams": _TAKEN})
