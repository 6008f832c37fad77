"""Create quotes, orders, contracts and commissions."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from kontor_kit import migrations

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

KEY = sa.Text(collation="C")
MOMENT = sa.DateTime(timezone=True)
TIMES = ("create_time", "update_time")
SUMS = ("full_amount", "net_amount", "tax_amount", "gross_amount")


def upgrade() -> None:
    _quotes()
    _discount_policies()
    _orders()
    _contracts()
    _commissions()


def _quotes() -> None:
    migrations.create_resource(
        "quotes",
        sa.Column("quote_number", KEY, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        *_named(),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("opportunity", sa.Uuid),
        sa.Column("primary", sa.Boolean, nullable=False),
        sa.Column("account", sa.Uuid),
        sa.Column("contact", sa.Uuid),
        sa.Column("price_book", sa.Uuid),
        sa.Column("lines", JSONB),
        sa.Column("discount_percent", sa.Numeric),
        *_money("discount_amount", *SUMS),
        sa.Column("taxes", JSONB),
        sa.Column("total_discount_percent", sa.Numeric),
        sa.Column("valid_until", sa.Date),
        sa.Column("introduction", sa.Text),
        sa.Column("terms", sa.Text),
        sa.Column("author", sa.Text),
        sa.Column("approval", JSONB),
        sa.Column("send_time", MOMENT),
        sa.Column("answer", JSONB),
        sa.Column("tags", ARRAY(sa.Text)),
        sa.Column("external_ids", JSONB),
        sa.Column("custom_fields", JSONB),
        sa.Column("search_text", sa.Text, nullable=False),
        _refers("quotes", "opportunity", "opportunities"),
        _refers("quotes", "price_book", "price_books"),
    )
    migrations.create_unique("quotes", "quote_number", "revision")
    migrations.create_indexes("quotes", "quote_number", "display_name_key", "state", "opportunity", "account", *TIMES)
    primary = '"primary" AND opportunity IS NOT NULL AND delete_time IS NULL'
    _index("quotes_primary", "quotes", "opportunity", where=primary, unique=True)
    _index("quotes_offered", "quotes", "valid_until", "id", where="state = 4 AND delete_time IS NULL")
    migrations.create_search("quotes")
    migrations.let_system_look("quotes")
    op.create_table(
        "quote_numbers",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("last", sa.BigInteger, nullable=False),
    )
    migrations.secure("quote_numbers")
    op.create_table(
        "quote_links",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("quote", sa.Uuid, nullable=False),
        _refers("quote_links", "quote", "quotes"),
    )
    op.create_index("quote_links_quote", "quote_links", ["tenant_id", "quote"])
    migrations.secure("quote_links")


def _discount_policies() -> None:
    migrations.create_resource(
        "discount_policies",
        sa.Column("pipeline", sa.Uuid),
        sa.Column("max_discount_percent", sa.Numeric, nullable=False),
        _refers("discount_policies", "pipeline", "pipelines"),
        owned=False,
    )
    migrations.create_unique("discount_policies", "pipeline")
    general = "pipeline IS NULL AND delete_time IS NULL"
    _index("discount_policies_general", "discount_policies", where=general, unique=True)
    migrations.create_indexes("discount_policies", *TIMES)


def _orders() -> None:
    migrations.create_resource(
        "orders",
        sa.Column("quote", sa.Uuid, nullable=False),
        sa.Column("opportunity", sa.Uuid),
        sa.Column("account", sa.Uuid),
        sa.Column("lines", JSONB),
        *_money(*SUMS),
        sa.Column("taxes", JSONB),
        sa.Column("note", sa.Text),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("order_number", KEY),
        sa.Column("reports", JSONB),
        sa.Column("payments", JSONB),
        sa.Column("tags", ARRAY(sa.Text)),
        sa.Column("custom_fields", JSONB),
        sa.Column("search_text", sa.Text, nullable=False),
        _refers("orders", "quote", "quotes"),
    )
    migrations.create_unique("orders", "quote")
    migrations.create_indexes("orders", "opportunity", "account", "state", "order_number", *TIMES)
    migrations.create_search("orders")
    op.create_table(
        "order_payments",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("source", KEY, primary_key=True),
        sa.Column("external_id", KEY, primary_key=True),
        sa.Column("order", sa.Uuid, nullable=False),
        sa.Column("agent", sa.Uuid),
        sa.Column("pay_date", sa.Date, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("amount", sa.Numeric, nullable=False),
        sa.Column("commission", sa.Uuid),
        _refers("order_payments", "order", "orders"),
    )
    op.create_index("order_payments_order", "order_payments", ["tenant_id", "order"])
    _index("order_payments_unsettled", "order_payments", "agent", "pay_date", where="commission IS NULL")
    migrations.secure("order_payments")


def _contracts() -> None:
    migrations.create_resource(
        "contracts",
        *_named(),
        sa.Column("account", sa.Uuid, nullable=False),
        sa.Column("order", sa.Uuid),
        *_money("amount"),
        sa.Column("start_date", sa.Date, nullable=False),
        sa.Column("end_date", sa.Date),
        sa.Column("notice_months", sa.Integer, nullable=False),
        sa.Column("notice_days", sa.Integer, nullable=False),
        sa.Column("renewal", sa.SmallInteger, nullable=False),
        sa.Column("renewal_months", sa.Integer, nullable=False),
        sa.Column("renewal_lead_days", sa.Integer, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("notice_date", sa.Date),
        sa.Column("renewal_due_date", sa.Date),
        sa.Column("renewal_opportunity", sa.Uuid),
        sa.Column("renewal_count", sa.Integer, nullable=False),
        sa.Column("termination_date", sa.Date),
        sa.Column("termination_reason", sa.Text),
        sa.Column("renewal_raised_for", sa.Date),
        sa.Column("tags", ARRAY(sa.Text)),
        sa.Column("external_ids", JSONB),
        sa.Column("custom_fields", JSONB),
        sa.Column("search_text", sa.Text, nullable=False),
        _refers("contracts", "order", "orders"),
        _refers("contracts", "renewal_opportunity", "opportunities"),
    )
    fields = ("account", "order", "end_date", "renewal", "state", "notice_date")
    migrations.create_indexes("contracts", "display_name_key", *fields, *TIMES)
    due = "renewal_due_date IS NOT NULL AND delete_time IS NULL"
    _index("contracts_renewal_due", "contracts", "renewal_due_date", "id", where=due)
    automatic = "state = 1 AND renewal = 3 AND delete_time IS NULL"
    _index("contracts_automatic", "contracts", "end_date", "id", where=automatic)
    migrations.create_search("contracts")
    migrations.let_system_look("contracts")


def _commissions() -> None:
    migrations.create_resource(
        "commission_plans",
        *_named(),
        sa.Column("valid_from", sa.Date),
        sa.Column("valid_to", sa.Date),
        sa.Column("rates", JSONB),
        owned=False,
    )
    migrations.create_indexes("commission_plans", "display_name_key", *TIMES)
    migrations.create_resource(
        "commissions",
        sa.Column("month", sa.Date, nullable=False),
        sa.Column("currency_code", KEY, nullable=False),
        sa.Column("lines", JSONB),
        *_money("total_amount"),
    )
    migrations.create_unique("commissions", "owner", "month", "currency_code")
    migrations.create_indexes("commissions", "month", "currency_code", *TIMES)


def _named() -> list[sa.Column[Any]]:
    return [
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
    ]


def _money(*fields: str) -> list[sa.Column[Any]]:
    return [
        column
        for field in fields
        for column in (sa.Column(f"{field}_amount", sa.Numeric), sa.Column(f"{field}_currency", sa.String(3)))
    ]


def _refers(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id", column], [f"{other}.tenant_id", f"{other}.id"], name=f"{table}_{column}_fkey"
    )


def _index(name: str, table: str, *columns: str, where: str, unique: bool = False) -> None:
    op.create_index(name, table, ["tenant_id", *columns], unique=unique, postgresql_where=sa.text(where))


def downgrade() -> None:
    for table in ("contracts", "orders", "quotes"):
        op.execute(f"DROP FUNCTION search_{table}")
    tables = ("commissions", "commission_plans", "contracts", "order_payments", "orders", "discount_policies")
    for table in (*tables, "quote_links", "quote_numbers", "quotes"):
        op.drop_table(table)
