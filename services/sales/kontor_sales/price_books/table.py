"""The resources and the tables of price books and their entries, and what products cost by them."""

import uuid
from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from kontor.sales.v1 import price_book_entry_pb2, price_book_pb2
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import InvalidArgument
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name
from kontor_kit.money import amount
from kontor_kit.resource import Resource
from kontor_kit.scopes import TenantScope
from kontor_kit.tables import KEY_TEXT, array_column, index, json_column, resource_table
from kontor_sales.price_books.rules import Price
from kontor_sales.products.table import products
from kontor_sales.tables import metadata

price_books = resource_table(
    "price_books",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("currency_code", KEY_TEXT, nullable=False),
    sa.Column("segment", KEY_TEXT),
    sa.Column("standard", sa.Boolean, nullable=False),
    sa.Column("valid_from", sa.Date),
    sa.Column("valid_to", sa.Date),
    sa.Column("description", sa.Text),
    array_column("tags", sa.Text),
    json_column("external_ids"),
    index("price_books", "display_name_key"),
    index("price_books", "currency_code"),
    index("price_books", "segment"),
    index("price_books", "standard"),
    index("price_books", "create_time"),
    index("price_books", "update_time"),
    sa.Index(
        "price_books_one_standard",
        "tenant_id",
        "currency_code",
        unique=True,
        postgresql_where=sa.text("standard AND delete_time IS NULL"),
    ),
    owned=False,
)

price_book_entries = resource_table(
    "price_book_entries",
    metadata,
    sa.Column("price_book", sa.Uuid, nullable=False),
    sa.Column("product", sa.Uuid, nullable=False),
    json_column("tiers"),
    sa.ForeignKeyConstraint(
        ["tenant_id", "price_book"],
        ["price_books.tenant_id", "price_books.id"],
        name="price_book_entries_price_book_fkey",
    ),
    sa.ForeignKeyConstraint(
        ["tenant_id", "product"], ["products.tenant_id", "products.id"], name="price_book_entries_product_fkey"
    ),
    index("price_book_entries", "price_book", "product", unique=True),
    index("price_book_entries", "price_book"),
    index("price_book_entries", "product"),
    index("price_book_entries", "create_time"),
    index("price_book_entries", "update_time"),
    owned=False,
)

PRICE_BOOK = Resource(
    price_book_pb2.PriceBook,
    price_books,
    scope=TenantScope(),
    conflicts={"price_books_one_standard": "there is another standard price book in this currency"},
)
PRICE_BOOK_ENTRY = Resource(
    price_book_entry_pb2.PriceBookEntry,
    price_book_entries,
    scope=TenantScope(),
    conflicts={"price_book_entries_price_book_product": "the price book has a price of this product already"},
)

_PRODUCTS = sa.bindparam("products", type_=ARRAY(sa.Uuid))
_PRICES = Statement(
    sa.select(
        products.c.id,
        price_book_entries.c.id,
        price_book_entries.c.tiers,
        products.c.tax_rate,
        products.c.display_name,
        products.c.unit,
        price_books.c.currency_code,
    )
    .select_from(price_book_entries)
    .join(
        products,
        sa.and_(products.c.tenant_id == price_book_entries.c.tenant_id, products.c.id == price_book_entries.c.product),
    )
    .join(
        price_books,
        sa.and_(
            price_books.c.tenant_id == price_book_entries.c.tenant_id,
            price_books.c.id == price_book_entries.c.price_book,
        ),
    )
    .where(
        price_book_entries.c.tenant_id == TENANT,
        price_book_entries.c.price_book == sa.bindparam("price_book", type_=sa.Uuid),
        price_book_entries.c.product == sa.any_(_PRODUCTS),
        price_book_entries.c.delete_time.is_(None),
    )
)
_STANDARD = Statement(
    sa.select(price_books.c.id).where(
        price_books.c.tenant_id == TENANT,
        price_books.c.currency_code == sa.bindparam("currency", type_=price_books.c.currency_code.type),
        price_books.c.standard,
        price_books.c.delete_time.is_(None),
    )
)
_THERE = Statement(
    sa.select(products.c.id).where(
        products.c.tenant_id == TENANT, products.c.id == sa.any_(_PRODUCTS), products.c.delete_time.is_(None)
    )
)


def load_prices(tx: Transaction, price_book: uuid.UUID, lines: Sequence[Any], currency: str = "") -> dict[str, Price]:
    """Return what the products that lines name cost by a price book, by the names of the products.

    Raises InvalidArgument where a line names no product but something else, and where the prices are in another
    currency than the one that is wanted.
    """
    ids = list(product_ids(lines))
    if not ids:
        return {}
    rows = tx.run(_PRICES, {"tenant": tx.tenant_id, "price_book": price_book, "products": ids})
    if rows and currency not in ("", rows[0][-1]):
        raise InvalidArgument(("price_book", f"has prices in {rows[0][-1]}, and the lines are in {currency}"))
    return {
        f"products/{product}": Price(f"priceBookEntries/{entry}", _tiers(tiers), tax_rate, display_name, unit or "")
        for product, entry, tiers, tax_rate, display_name, unit, _ in rows
    }


def find_standard_book(tx: Transaction, currency: str) -> uuid.UUID | None:
    """Return the id of the standard price book in a currency; None where there is none."""
    rows = tx.run(_STANDARD, {"tenant": tx.tenant_id, "currency": currency})
    return rows[0][0] if rows else None


def check_products(tx: Transaction, lines: Sequence[Any], before: Sequence[Any] = ()) -> None:
    """See that the products that lines name are there; those that they named `before` need not be looked for.

    Raises InvalidArgument with paths that begin with `lines`.
    """
    known = {line.product for line in before}
    wanted = product_ids([line for line in lines if line.product not in known])
    missing = missing_products(tx, wanted)
    violations = [
        (f"lines[{place}].product", f"there is no {line.product}")
        for place, line in enumerate(lines)
        if line.product in missing
    ]
    if violations:
        raise InvalidArgument(*violations)


def missing_products(tx: Transaction, ids: Collection[uuid.UUID]) -> set[str]:
    """Return the names of the products among these that are not there."""
    if not ids:
        return set()
    found = {row[0] for row in tx.run(_THERE, {"tenant": tx.tenant_id, "products": list(ids)})}
    return {f"products/{id}" for id in ids if id not in found}


def product_ids(lines: Sequence[Any]) -> set[uuid.UUID]:
    """Return the ids of the products that lines name. Raises InvalidArgument where one is no name of a product."""
    return {
        parse_name(line.product, "products/{product}", f"lines[{place}].product")
        for place, line in enumerate(lines)
        if line.product
    }


def _tiers(stored: Sequence[dict[str, Any]]) -> list[tuple[Decimal, Decimal]]:
    entry = price_book_entry_pb2.PriceBookEntry(tiers=stored)
    return sorted((Decimal(tier.min_quantity.value), amount(tier.unit_price)) for tier in entry.tiers)
