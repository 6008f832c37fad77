"""The resources and the tables of quotes, their links, and how much discount needs no approval."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA

from kontor.sales.v1 import discount_policy_pb2, quote_pb2
from kontor_kit.db import Statement
from kontor_kit.filter_sql import TENANT
from kontor_kit.resource import STANDARD_EVENTS, Resource
from kontor_kit.scopes import TenantScope
from kontor_kit.tables import KEY_TEXT, array_column, index, json_column, resource_table, search_index
from kontor_sales.tables import metadata

quotes = resource_table(
    "quotes",
    metadata,
    sa.Column("quote_number", KEY_TEXT, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("opportunity", sa.Uuid),
    sa.Column("primary", sa.Boolean, nullable=False),
    sa.Column("account", sa.Uuid),
    sa.Column("contact", sa.Uuid),
    sa.Column("price_book", sa.Uuid),
    json_column("lines"),
    sa.Column("discount_percent", sa.Numeric),
    sa.Column("discount_amount_amount", sa.Numeric),
    sa.Column("discount_amount_currency", sa.String(3)),
    sa.Column("full_amount_amount", sa.Numeric),
    sa.Column("full_amount_currency", sa.String(3)),
    sa.Column("net_amount_amount", sa.Numeric),
    sa.Column("net_amount_currency", sa.String(3)),
    sa.Column("tax_amount_amount", sa.Numeric),
    sa.Column("tax_amount_currency", sa.String(3)),
    sa.Column("gross_amount_amount", sa.Numeric),
    sa.Column("gross_amount_currency", sa.String(3)),
    json_column("taxes"),
    sa.Column("total_discount_percent", sa.Numeric),
    sa.Column("valid_until", sa.Date),
    sa.Column("introduction", sa.Text),
    sa.Column("terms", sa.Text),
    sa.Column("author", sa.Text),
    json_column("approval"),
    sa.Column("send_time", sa.DateTime(timezone=True)),
    json_column("answer"),
    array_column("tags", sa.Text),
    json_column("external_ids"),
    json_column("custom_fields"),
    sa.Column("search_text", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(
        ["tenant_id", "opportunity"],
        ["opportunities.tenant_id", "opportunities.id"],
        name="quotes_opportunity_fkey",
    ),
    sa.ForeignKeyConstraint(
        ["tenant_id", "price_book"], ["price_books.tenant_id", "price_books.id"], name="quotes_price_book_fkey"
    ),
    index("quotes", "quote_number", "revision", unique=True),
    index("quotes", "quote_number"),
    index("quotes", "display_name_key"),
    index("quotes", "state"),
    index("quotes", "opportunity"),
    index("quotes", "account"),
    index("quotes", "create_time"),
    index("quotes", "update_time"),
    sa.Index(
        "quotes_primary",
        "tenant_id",
        "opportunity",
        unique=True,
        postgresql_where=sa.text('"primary" AND opportunity IS NOT NULL AND delete_time IS NULL'),
    ),
    # Those that may have been left unanswered for too long.
    sa.Index(
        "quotes_offered",
        "tenant_id",
        "valid_until",
        "id",
        postgresql_where=sa.text("state = 4 AND delete_time IS NULL"),
    ),
    search_index("quotes"),
)

quote_numbers = sa.Table(
    "quote_numbers",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("last", sa.BigInteger, nullable=False),
)

quote_links = sa.Table(
    "quote_links",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("digest", BYTEA, primary_key=True),
    sa.Column("quote", sa.Uuid, nullable=False),
    sa.ForeignKeyConstraint(["tenant_id", "quote"], ["quotes.tenant_id", "quotes.id"], name="quote_links_quote_fkey"),
    sa.Index("quote_links_quote", "tenant_id", "quote"),
)

discount_policies = resource_table(
    "discount_policies",
    metadata,
    sa.Column("pipeline", sa.Uuid),
    sa.Column("max_discount_percent", sa.Numeric, nullable=False),
    sa.ForeignKeyConstraint(
        ["tenant_id", "pipeline"], ["pipelines.tenant_id", "pipelines.id"], name="discount_policies_pipeline_fkey"
    ),
    index("discount_policies", "pipeline", unique=True),
    sa.Index(
        "discount_policies_general",
        "tenant_id",
        unique=True,
        postgresql_where=sa.text("pipeline IS NULL AND delete_time IS NULL"),
    ),
    index("discount_policies", "create_time"),
    index("discount_policies", "update_time"),
    owned=False,
)

QUOTE = Resource(
    quote_pb2.Quote,
    quotes,
    events=(
        *STANDARD_EVENTS,
        "submitted",
        "approved",
        "rejected",
        "sent",
        "accepted",
        "declined",
        "expired",
        "revised",
        "superseded",
        "repriced",
        "made_primary",
    ),
    conflicts={
        "quotes_quote_number_revision": "another quote has this number",
        "quotes_primary": "another quote drives the opportunity; repeat",
    },
)
DISCOUNT_POLICY = Resource(
    discount_policy_pb2.DiscountPolicy,
    discount_policies,
    scope=TenantScope(),
    conflicts={
        "discount_policies_pipeline": "there is a discount policy for this pipeline already",
        "discount_policies_general": "there is a general discount policy already",
    },
)

# The quote that says what an opportunity is worth: the primary one, unless nothing came of it.
DRIVING = Statement(
    sa.select(quotes.c.id).where(
        quotes.c.tenant_id == TENANT,
        quotes.c.opportunity == sa.bindparam("opportunity", type_=sa.Uuid),
        quotes.c.primary,
        quotes.c.delete_time.is_(None),
        quotes.c.lines.is_not(None),
        quotes.c.state != quote_pb2.Quote.STATE_DECLINED,
        quotes.c.state != quote_pb2.Quote.STATE_EXPIRED,
    )
)
