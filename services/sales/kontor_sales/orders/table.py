"""The resource and the table of orders, and the table of what was paid for them."""

import sqlalchemy as sa

from kontor.sales.v1 import order_pb2
from kontor_kit.resource import STANDARD_EVENTS, Resource
from kontor_kit.tables import KEY_TEXT, array_column, index, json_column, resource_table, search_index
from kontor_sales.tables import metadata

orders = resource_table(
    "orders",
    metadata,
    sa.Column("quote", sa.Uuid, nullable=False),
    sa.Column("opportunity", sa.Uuid),
    sa.Column("account", sa.Uuid),
    json_column("lines"),
    sa.Column("full_amount_amount", sa.Numeric),
    sa.Column("full_amount_currency", sa.String(3)),
    sa.Column("net_amount_amount", sa.Numeric),
    sa.Column("net_amount_currency", sa.String(3)),
    sa.Column("tax_amount_amount", sa.Numeric),
    sa.Column("tax_amount_currency", sa.String(3)),
    sa.Column("gross_amount_amount", sa.Numeric),
    sa.Column("gross_amount_currency", sa.String(3)),
    json_column("taxes"),
    sa.Column("note", sa.Text),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("order_number", KEY_TEXT),
    json_column("reports"),
    json_column("payments"),
    array_column("tags", sa.Text),
    json_column("custom_fields"),
    sa.Column("search_text", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(["tenant_id", "quote"], ["quotes.tenant_id", "quotes.id"], name="orders_quote_fkey"),
    index("orders", "quote", unique=True),
    index("orders", "opportunity"),
    index("orders", "account"),
    index("orders", "state"),
    index("orders", "order_number"),
    index("orders", "create_time"),
    index("orders", "update_time"),
    search_index("orders"),
)

order_payments = sa.Table(
    "order_payments",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("source", KEY_TEXT, primary_key=True),
    sa.Column("external_id", KEY_TEXT, primary_key=True),
    sa.Column("order", sa.Uuid, nullable=False),
    # Who gets something of it: the owner of the order when it was paid.
    sa.Column("agent", sa.Uuid),
    sa.Column("pay_date", sa.Date, nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("amount", sa.Numeric, nullable=False),
    sa.Column("commission", sa.Uuid),
    sa.ForeignKeyConstraint(
        ["tenant_id", "order"], ["orders.tenant_id", "orders.id"], name="order_payments_order_fkey"
    ),
    sa.Index("order_payments_order", "tenant_id", "order"),
    # Those that nobody got anything of yet.
    sa.Index(
        "order_payments_unsettled",
        "tenant_id",
        "agent",
        "pay_date",
        postgresql_where=sa.text("commission IS NULL"),
    ),
)

ORDER = Resource(
    order_pb2.Order,
    orders,
    events=(
        *STANDARD_EVENTS,
        "reported",
        "confirmed",
        "partly_delivered",
        "delivered",
        "invoiced",
        "paid",
        "rejected",
        "cancelled",
    ),
    conflicts={
        "orders_quote": "the quote was ordered already",
        "order_payments_pkey": "one of the payments belongs to another order",
    },
)
