"""The resource and the table of territories."""

from typing import Any

import sqlalchemy as sa

from kontor.sales.v1 import territory_pb2
from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.resource import Resource
from kontor_kit.scopes import TenantScope
from kontor_kit.tables import KEY_TEXT, array_column, index, json_column, resource_table
from kontor_sales.tables import metadata

territories = resource_table(
    "territories",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("parent", sa.Uuid),
    json_column("areas"),
    array_column("industries", sa.Text),
    sa.Column("min_employee_count", sa.Integer, nullable=False),
    sa.Column("max_employee_count", sa.Integer, nullable=False),
    array_column("members", sa.Uuid),
    sa.Column("description", sa.Text),
    sa.ForeignKeyConstraint(
        ["tenant_id", "parent"], ["territories.tenant_id", "territories.id"], name="territories_parent_fkey"
    ),
    index("territories", "display_name_key"),
    index("territories", "parent"),
    index("territories", "create_time"),
    index("territories", "update_time"),
    owned=False,
)

TERRITORY = Resource(territory_pb2.Territory, territories, scope=TenantScope())

_LIVE = Statement(
    sa.select(*TERRITORY.codec.columns()).where(territories.c.tenant_id == TENANT, territories.c.delete_time.is_(None))
)


def live_territories(tx: Transaction) -> list[Any]:
    """Return the territories of the tenant, as messages."""
    load = TERRITORY.codec.loader()
    return [load(row) for row in tx.run(_LIVE, {"tenant": tx.tenant_id})]
