"""The resource and the table of products."""

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from kontor.sales.v1 import product_pb2
from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name
from kontor_kit.resource import STANDARD_EVENTS, Resource
from kontor_kit.scopes import TenantScope
from kontor_kit.tables import KEY_TEXT, array_column, index, json_column, resource_table, search_index
from kontor_sales.tables import metadata

products = resource_table(
    "products",
    metadata,
    sa.Column("sku", sa.Text, nullable=False),
    sa.Column("sku_key", KEY_TEXT, nullable=False),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("family", KEY_TEXT),
    sa.Column("description", sa.Text),
    sa.Column("unit", sa.Text),
    sa.Column("state", sa.SmallInteger, nullable=False),
    json_column("facts"),
    json_column("benefits"),
    json_column("media"),
    array_column("tags", sa.Text),
    json_column("external_ids"),
    json_column("custom_fields"),
    sa.Column("tax_rate", sa.Numeric),
    json_column("availability"),
    sa.Column("search_text", sa.Text, nullable=False),
    index("products", "sku_key", unique=True),
    index("products", "display_name_key"),
    index("products", "family"),
    index("products", "state"),
    index("products", "create_time"),
    index("products", "update_time"),
    search_index("products"),
    owned=False,
)

PRODUCT = Resource(
    product_pb2.Product,
    products,
    scope=TenantScope(),
    events=(*STANDARD_EVENTS, "availability_reported"),
    conflicts={"products_sku_key": "another product has this article number (sku)"},
)

_FAMILIES = Statement(
    sa.select(products.c.id, products.c.family).where(
        products.c.tenant_id == TENANT, products.c.id == sa.any_(sa.bindparam("products", type_=ARRAY(sa.Uuid)))
    )
)


def find_families(tx: Transaction, names: Iterable[str]) -> dict[str, str]:
    """Return the families of products, by their names; those without one are left out."""
    ids = [parse_name(name, PRODUCT.pattern, "product") for name in names]
    if not ids:
        return {}
    rows = tx.run(_FAMILIES, {"tenant": tx.tenant_id, "products": ids})
    return {f"products/{id}": family for id, family in rows if family}
