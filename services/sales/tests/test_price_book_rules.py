"""Price books: which one holds, and which price."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontor.sales.v1.line_item_pb2 import LineItem
from kontor.sales.v1.price_book_entry_pb2 import PriceBookEntry
from kontor.sales.v1.price_book_pb2 import PriceBook
from kontor_kit import money
from kontor_sales.price_books import rules

DAY = dt.date(2026, 3, 15)
DAYS = st.one_of(st.none(), st.dates(dt.date(2026, 1, 1), dt.date(2026, 12, 31)))
BOOKS = st.lists(st.builds(rules.Book, st.integers(), st.sampled_from(("", "a", "b")), st.booleans(), DAYS, DAYS))
TIERS = st.lists(st.tuples(st.decimals(0, 100, places=2), st.decimals(0, 100, places=2)), max_size=6).map(sorted)


def price(*tiers: tuple[object, object], tax_rate: object = 19) -> rules.Price:
    found = [(Decimal(str(least)), Decimal(str(each))) for least, each in tiers]
    return rules.Price("priceBookEntries/e", found, Decimal(str(tax_rate)), "Product", "piece")


class TestChoice:
    @given(BOOKS, st.sampled_from(("", "a", "c")))
    def test_holds_on_the_day_and_for_the_segment(self, books: list[rules.Book], segment: str) -> None:
        books = [book._replace(key=place) for place, book in enumerate(books)]
        holding = [
            book
            for book in books
            if book.segment in ("", segment)
            and (book.valid_from is None or book.valid_from <= DAY)
            and (book.valid_to is None or book.valid_to >= DAY)
        ]
        key = rules.choose(books, segment, DAY)
        assert (key is None) == (not holding)
        if key is not None:
            assert books[key] in holding
            assert books[key].segment == segment or all(book.segment == "" for book in holding)
            assert books[key].standard or not any(
                book.standard and book.segment == books[key].segment for book in holding
            )

    def test_latest_goes_first(self) -> None:
        since = [rules.Book(month, "", False, dt.date(2026, month, 1), None) for month in (2, 3, 1, 4)]
        assert rules.choose(since, "", DAY) == 3


class TestPrice:
    @given(TIERS, st.decimals(0, 200, places=2))
    def test_is_that_of_the_largest_quantity_reached(
        self, tiers: list[tuple[Decimal, Decimal]], quantity: Decimal
    ) -> None:
        reached = [tier for tier in tiers if tier[0] <= quantity]
        found = rules.unit_price(tiers, quantity)
        assert found == (max(reached)[1] if reached else None)

    def test_lines_with_a_product_get_it(self) -> None:
        lines = [
            LineItem(product="products/p", quantity={"value": "12"}, discount_percent={"value": "5"}),
            LineItem(description="Travel", quantity={"value": "1"}, unit_price=money.fields(Decimal(3), "EUR")),
        ]
        assert rules.price(lines, {"products/p": price((0, "10.50"), (10, "9.99"))}, "EUR") == []
        assert (money.amount(lines[0].unit_price), lines[0].tax_rate.value) == (Decimal("9.99"), "19")
        assert (lines[0].description, lines[0].price_book_entry) == ("Product", "priceBookEntries/e")
        assert lines[0].discount_percent.value == "5"
        assert money.amount(lines[1].unit_price) == 3

    def test_names_the_line_that_has_none(self) -> None:
        lines = [LineItem(product=f"products/{key}", quantity={"value": "1"}) for key in "pq"]
        found = rules.price(lines, {"products/p": price((10, 5))}, "EUR")
        assert [each.field for each in found] == ["lines[0].product", "lines[1].product"]
        assert "small" in found[0].description
        assert "no price" in found[1].description

    def test_list_amount_is_what_the_book_says(self) -> None:
        lines = [
            LineItem(product="products/p", quantity={"value": "2"}, unit_price=money.fields(Decimal(1), "EUR")),
            LineItem(description="Travel", quantity={"value": "3"}, unit_price=money.fields(Decimal(4), "EUR")),
        ]
        assert rules.list_amount(lines, {"products/p": price((0, 10))}, "EUR") == 32


class TestNormalForm:
    def test_of_a_book(self) -> None:
        book = PriceBook(display_name="Retail", currency_code="eur", segment=" Key ")
        assert rules.normalise(book) == []
        assert (book.currency_code, book.segment) == ("EUR", "Key")

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"display_name": " "}, "display_name"),
            ({"currency_code": "EURO"}, "currency_code"),
            ({"valid_from": {"year": 2026}}, "valid_from"),
            ({"valid_from": {"year": 2026, "month": 2, "day": 2}, "valid_to": {"year": 2026, "month": 2, "day": 1}},
             "valid_to"),
        ],
    )  # fmt: skip
    def test_names_the_field_that_is_wrong(self, fields: dict, path: str) -> None:
        book = PriceBook(**{"display_name": "Retail", "currency_code": "EUR", **fields})
        assert [each.field for each in rules.normalise(book)] == [path]

    @pytest.mark.parametrize(
        ("tiers", "path"),
        [
            ([("0", 1, "USD")], "tiers[0].unit_price.currency_code"),
            ([("0", -1, "EUR")], "tiers[0].unit_price"),
            ([("0", 10**12, "EUR")], "tiers[0].unit_price"),
            ([("x", 1, "EUR")], "tiers[0].min_quantity"),
            ([("-1", 1, "EUR")], "tiers[0].min_quantity"),
            ([("1", 1, "EUR"), ("1.0", 2, "EUR")], "tiers[1].min_quantity"),
        ],
    )
    def test_names_the_tier_that_is_wrong(self, tiers: list, path: str) -> None:
        entry = PriceBookEntry(
            tiers=[
                {"min_quantity": {"value": least}, "unit_price": {"currency_code": code, "units": units}}
                for least, units, code in tiers
            ]
        )
        assert [each.field for each in rules.normalise_tiers(entry.tiers, "EUR")] == [path]
