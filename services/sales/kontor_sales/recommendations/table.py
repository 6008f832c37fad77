"""The tables that recommendations are made of: learned rules, baskets, refusals and complaints."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from kontor_sales.tables import metadata

product_rules = sa.Table(
    "product_rules",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    # One of the antecedents: whoever has all of them has this one, by which they are found.
    sa.Column("first", sa.Uuid, primary_key=True),
    sa.Column("antecedents", ARRAY(sa.Uuid), primary_key=True),
    sa.Column("consequent", sa.Uuid, primary_key=True),
    sa.Column("support", sa.Float, nullable=False),
    sa.Column("confidence", sa.Float, nullable=False),
    sa.Column("lift", sa.Float, nullable=False),
)

# What accounts had bought when it was learned.
account_baskets = sa.Table(
    "account_baskets",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("product", sa.Uuid, primary_key=True),
    sa.Column("account", sa.Uuid, primary_key=True),
    sa.Index("account_baskets_account", "tenant_id", "account"),
)

declined_products = sa.Table(
    "declined_products",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("account", sa.Uuid, primary_key=True),
    sa.Column("product", sa.Uuid, primary_key=True),
    sa.Column("decline_time", sa.DateTime(timezone=True), nullable=False),
)

# What ticketing told last of each ticket; without products a complaint is about everything.
complaints = sa.Table(
    "complaints",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("ticket", sa.Uuid, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("account", sa.Uuid),
    sa.Column("products", ARRAY(sa.Uuid), nullable=False),
    sa.Column("open", sa.Boolean, nullable=False),
    sa.Index("complaints_account", "tenant_id", "account", postgresql_where=sa.text("open")),
)
