"""The tables of what is known of customers and deals, and the statements that look into them."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from kontor_kit.db import Statement
from kontor_kit.filter_sql import TENANT
from kontor_kit.tables import KEY_TEXT
from kontor_partners.tables import metadata

known_customers = sa.Table(
    "known_customers",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("account", sa.Uuid, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
)

customer_keys = sa.Table(
    "customer_keys",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("key", KEY_TEXT, primary_key=True),
    sa.Column("account", sa.Uuid, primary_key=True),
    sa.Index("customer_keys_account", "tenant_id", "account"),
)

known_deals = sa.Table(
    "known_deals",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("opportunity", sa.Uuid, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("account", sa.Uuid),
    sa.Column("partner", sa.Uuid),
    sa.Column("products", ARRAY(sa.Uuid), nullable=False),
    sa.Column("open_time", sa.DateTime(timezone=True), nullable=False),
    sa.Column("open", sa.Boolean, nullable=False),
    sa.Index("known_deals_account", "tenant_id", "account", postgresql_where=sa.text("open")),
)

ACCOUNTS_BY_KEY: Final = Statement(
    sa.select(customer_keys.c.account, customer_keys.c.key).where(
        customer_keys.c.tenant_id == TENANT, customer_keys.c.key == sa.any_(sa.bindparam("keys", type_=ARRAY(KEY_TEXT)))
    )
)
"""(account, key) of the accounts that have one of `keys`."""

OPEN_DEALS: Final = Statement(
    sa.select(
        known_deals.c.opportunity,
        known_deals.c.account,
        known_deals.c.partner,
        known_deals.c.products,
        known_deals.c.open_time,
    ).where(
        known_deals.c.tenant_id == TENANT,
        known_deals.c.account == sa.any_(sa.bindparam("accounts", type_=ARRAY(sa.Uuid))),
        known_deals.c.open,
    )
)
"""(opportunity, account, partner, products, open_time) of the deals of `accounts` that are open."""
