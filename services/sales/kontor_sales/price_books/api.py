"""The gRPC services of price books and their entries."""

import datetime as dt
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from kontor.sales.v1 import price_book_entry_service_pb2, price_book_service_pb2
from kontor_kit import money
from kontor_kit.calls import Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import InvalidArgument, NotFound
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name, uuid7
from kontor_kit.methods import ResourceServicer
from kontor_kit.shared import Shared
from kontor_kit.store import Store
from kontor_sales.lines import rules as line_rules
from kontor_sales.price_books import rules
from kontor_sales.price_books.table import PRICE_BOOK, PRICE_BOOK_ENTRY, check_products, load_prices, price_books
from kontor_sales.products.table import PRODUCT

_BOOKS = Statement(
    sa.select(*(price_books.c[name] for name in ("id", "segment", "standard", "valid_from", "valid_to"))).where(
        price_books.c.tenant_id == TENANT,
        price_books.c.currency_code == sa.bindparam("currency", type_=price_books.c.currency_code.type),
        price_books.c.delete_time.is_(None),
    )
)


class PriceBooks(ResourceServicer):
    """Serves price books."""

    SERVICE = price_book_service_pb2.DESCRIPTOR.services_by_name["PriceBookService"]
    RESOURCE = PRICE_BOOK

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the price book into form."""
        if violations := rules.normalise(after):
            raise InvalidArgument(*violations)

    def price_lines(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Return lines with the prices of the price book, and what they come to."""
        book = self.referred(tx, call, self.store, request.name, "name")
        lines = request.lines
        for line in lines:
            # What they cost so far does not matter, in whichever currency it was.
            if line.product:
                money.fill(line.unit_price, Decimal(0), book.currency_code)
        if violations := line_rules.normalise(lines, lambda: uuid7().hex, currency=book.currency_code):
            raise InvalidArgument(*violations)
        check_products(tx, lines)
        prices = load_prices(tx, parse_name(book.name, PRICE_BOOK.pattern, "name"), lines)
        if violations := rules.price(lines, prices, book.currency_code) or line_rules.normalise(lines, str):
            raise InvalidArgument(*violations)
        totals = line_rules.price(lines)
        response: Any = call.method.output(lines=lines)
        line_rules.tell(totals, response)
        return response

    def resolve_price_book(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Return the price book that holds for a customer on a day."""
        day = dt.datetime.now(dt.UTC).date()
        if request.HasField("day"):
            try:
                day = dt.date(request.day.year, request.day.month, request.day.day)
            except ValueError:
                raise InvalidArgument(("day", "must be a day that exists")) from None
        currency = request.currency_code.strip().upper()
        rows = tx.run(_BOOKS, {"tenant": tx.tenant_id, "currency": currency})
        books = [rules.Book(id, segment or "", *rest) for id, segment, *rest in rows]
        id = rules.choose(books, request.segment.strip(), day)
        if id is None:
            raise NotFound(f"no price book in {currency} holds for this customer on {day}", reason="NO_PRICE_BOOK")
        return self.shown(tx, call, self.store.get_one(tx, self.reach(call), id))


class PriceBookEntries(ResourceServicer):
    """Serves the entries of price books."""

    SERVICE = price_book_entry_service_pb2.DESCRIPTOR.services_by_name["PriceBookEntryService"]
    RESOURCE = PRICE_BOOK_ENTRY

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._books = Store(PRICE_BOOK)
        self._products = Store(PRODUCT)

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """See that price book and product are there, and bring the prices into order."""
        book = self.referred(tx, call, self._books, after.price_book, "price_book")
        if before is None:
            self.referred(tx, call, self._products, after.product, "product")
        if violations := rules.normalise_tiers(after.tiers, book.currency_code):
            raise InvalidArgument(*violations)
        after.tiers.sort(key=lambda tier: line_rules.number(tier.min_quantity))
