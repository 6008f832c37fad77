"""Create price books and promotions."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from kontor_kit import migrations

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

KEY = sa.Text(collation="C")
TIMES = ("create_time", "update_time")


def upgrade() -> None:
    _price_books()
    _promotions()


def _price_books() -> None:
    migrations.create_resource(
        "price_books",
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
        sa.Column("currency_code", KEY, nullable=False),
        sa.Column("segment", KEY),
        sa.Column("standard", sa.Boolean, nullable=False),
        sa.Column("valid_from", sa.Date),
        sa.Column("valid_to", sa.Date),
        sa.Column("description", sa.Text),
        sa.Column("tags", ARRAY(sa.Text)),
        sa.Column("external_ids", JSONB),
        owned=False,
    )
    migrations.create_indexes("price_books", "display_name_key", "currency_code", "segment", "standard", *TIMES)
    op.create_index(
        "price_books_one_standard",
        "price_books",
        ["tenant_id", "currency_code"],
        unique=True,
        postgresql_where=sa.text("standard AND delete_time IS NULL"),
    )
    migrations.create_resource(
        "price_book_entries",
        sa.Column("price_book", sa.Uuid, nullable=False),
        sa.Column("product", sa.Uuid, nullable=False),
        sa.Column("tiers", JSONB),
        _refers("price_book_entries", "price_book", "price_books"),
        _refers("price_book_entries", "product", "products"),
        owned=False,
    )
    migrations.create_unique("price_book_entries", "price_book", "product")
    migrations.create_indexes("price_book_entries", "price_book", "product", *TIMES)


def _promotions() -> None:
    migrations.create_resource(
        "promotions",
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
        sa.Column("code", KEY),
        sa.Column("description", sa.Text),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("discount_percent", sa.Numeric),
        *_money("discount_amount", "budget", "redeemed_amount"),
        sa.Column("start_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("segment", KEY),
        sa.Column("products", ARRAY(sa.Uuid)),
        sa.Column("families", ARRAY(sa.Text)),
        sa.Column("redemption_count", sa.Integer, nullable=False),
        sa.Column("tags", ARRAY(sa.Text)),
        sa.Column("external_ids", JSONB),
        owned=False,
    )
    migrations.create_unique("promotions", "code")
    migrations.create_indexes("promotions", "display_name_key", "state", "end_time", "segment", *TIMES)
    migrations.create_resource(
        "promotion_redemptions",
        sa.Column("promotion", sa.Uuid, nullable=False),
        sa.Column("account", sa.Uuid, nullable=False),
        *_money("discount_amount"),
        sa.Column("occasion", KEY),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("cancel_time", sa.DateTime(timezone=True)),
        sa.Column("cancel_reason", sa.Text),
        _refers("promotion_redemptions", "promotion", "promotions"),
        owned=False,
    )
    migrations.create_indexes("promotion_redemptions", "promotion", "account", "occasion", "state", *TIMES)
    op.create_index(
        "promotion_redemptions_once",
        "promotion_redemptions",
        ["tenant_id", "promotion", "account"],
        unique=True,
        postgresql_where=sa.text("state = 1 AND delete_time IS NULL"),
    )


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


def downgrade() -> None:
    for table in ("promotion_redemptions", "promotions", "price_book_entries", "price_books"):
        op.drop_table(table)
