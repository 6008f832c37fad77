"""Price books and availability: prices are looked up when somebody asks for it, and never otherwise."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode

from kontor_kit import money

EUR = {"currency_code": "EUR"}


def euro(units: object) -> dict:
    return money.fields(Decimal(str(units)), "EUR")


def product(caller, sku="GTX", **fields):
    return caller("CreateProduct", product={"sku": sku, "display_name": f"Product {sku}", **fields})


def book(caller, **fields):
    return caller("CreatePriceBook", price_book={"display_name": "Book", "currency_code": "EUR", **fields})


def entry(caller, price_book, sold, *tiers):
    wanted = [{"min_quantity": {"value": str(least)}, "unit_price": euro(each)} for least, each in tiers]
    return caller(
        "CreatePriceBookEntry",
        price_book_entry={"price_book": price_book.name, "product": sold.name, "tiers": wanted},
    )


class TestEntries:
    def test_come_back_with_their_tiers_in_order(self, anna):
        created = entry(anna, book(anna), product(anna), (10, 9), (0, 10))
        assert anna("GetPriceBookEntry", name=created.name) == created
        assert [tier.min_quantity.value for tier in created.tiers] == ["0", "10"]

    def test_one_for_each_product(self, anna):
        prices, sold = book(anna), product(anna)
        entry(anna, prices, sold, (0, 1))
        wanted = {"price_book": prices.name, "product": sold.name, "tiers": [{"unit_price": euro(2)}]}
        assert anna.refusal("CreatePriceBookEntry", price_book_entry=wanted).code is StatusCode.ALREADY_EXISTS

    def test_book_and_product_are_there(self, anna):
        bert = anna.running.caller()
        wanted = {"price_book": book(bert).name, "product": product(anna).name, "tiers": [{"unit_price": euro(2)}]}
        assert [*anna.refusal("CreatePriceBookEntry", price_book_entry=wanted).violations] == [
            "price_book_entry.price_book"
        ]
        wanted["price_book"] = book(anna).name
        wanted["product"] = product(bert).name
        assert [*anna.refusal("CreatePriceBookEntry", price_book_entry=wanted).violations] == [
            "price_book_entry.product"
        ]

    def test_currency_of_a_book_stays(self, anna):
        prices = book(anna)
        refusal = anna.refusal("UpdatePriceBook", price_book={"name": prices.name, "currency_code": "USD"})
        assert [*refusal.violations] == ["price_book.currency_code"]


class TestPricing:
    def test_gives_lines_their_prices_and_stores_nothing(self, anna):
        prices, sold = book(anna), product(anna, tax_rate={"value": "19"}, unit="piece")
        priced_by = entry(anna, prices, sold, (0, "10.50"), (10, "9.99"))
        lines = [
            {"product": sold.name, "quantity": {"value": "12"}, "discount_percent": {"value": "10"}},
            {"description": "Travel", "unit_price": euro(50)},
        ]
        found = anna("PriceLines", name=prices.name, lines=lines)
        first, second = found.lines
        assert (money.amount(first.unit_price), first.tax_rate.value) == (Decimal("9.99"), "19")
        assert (first.price_book_entry, first.unit, first.description) == (priced_by.name, "piece", "Product GTX")
        assert money.amount(first.net_amount) == Decimal("107.89")
        assert money.amount(second.net_amount) == 50
        assert (money.amount(found.net_amount), money.amount(found.tax_amount)) == (Decimal("157.89"), Decimal("20.50"))
        assert money.amount(found.gross_amount) == Decimal("178.39")
        assert [tax.rate.value for tax in found.taxes] == ["19"]

    @pytest.mark.parametrize(
        ("line", "path"),
        [
            ({"product": "products/01900000-0000-7000-8000-000000000000"}, "lines[0].product"),
            ({"product": "accounts/1"}, "lines[0].product"),
            ({"description": "Travel", "unit_price": {"currency_code": "USD", "units": 1}},
             "lines[0].unit_price.currency_code"),
            ({"description": "Travel"}, "lines[0].unit_price.currency_code"),
        ],
    )  # fmt: skip
    def test_names_what_cannot_be_priced(self, anna, line, path):
        refusal = anna.refusal("PriceLines", name=book(anna).name, lines=[line])
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, [path])

    def test_deleted_entry_is_no_price(self, anna):
        prices, sold = book(anna), product(anna)
        anna("DeletePriceBookEntry", name=entry(anna, prices, sold, (0, 1)).name)
        assert [*anna.refusal("PriceLines", name=prices.name, lines=[{"product": sold.name}]).violations] == [
            "lines[0].product"
        ]


class TestResolving:
    def test_finds_the_book_of_the_segment_else_the_standard_one(self, anna):
        standard, retail = book(anna, standard=True), book(anna, segment="retail")
        book(anna, valid_to={"year": 2020, "month": 1, "day": 1}, segment="retail")
        assert anna("ResolvePriceBook", currency_code="eur", segment="retail").name == retail.name
        assert anna("ResolvePriceBook", currency_code="EUR", segment="other").name == standard.name
        refusal = anna.refusal("ResolvePriceBook", currency_code="USD")
        assert (refusal.code, refusal.reason) == (StatusCode.NOT_FOUND, "NO_PRICE_BOOK")

    def test_one_standard_book_in_a_currency(self, anna):
        book(anna, standard=True)
        book(anna, standard=True, currency_code="USD")
        wanted = {"display_name": "Other", "currency_code": "EUR", "standard": True}
        assert anna.refusal("CreatePriceBook", price_book=wanted).code is StatusCode.ALREADY_EXISTS


class TestAvailability:
    def at(self, minutes: int) -> Timestamp:
        moment = Timestamp()
        moment.FromDatetime(dt.datetime.now(dt.UTC) - dt.timedelta(minutes=minutes))
        return moment

    def test_is_shown_with_its_age(self, anna):
        sold = product(anna)
        assert not sold.HasField("availability")
        told = anna(
            "ReportAvailability", name=sold.name, stock={"value": "12.5"}, lead_time_days=3, as_of_time=self.at(90)
        )
        found = anna("GetProduct", name=sold.name).availability
        assert (found.stock.value, found.lead_time_days, found.as_of_time) == ("12.5", 3, told.availability.as_of_time)
        assert 5400 <= found.age.seconds < 5500

    def test_older_report_is_ignored(self, anna):
        sold = product(anna)
        anna("ReportAvailability", name=sold.name, stock={"value": "2"}, as_of_time=self.at(1))
        late = anna("ReportAvailability", name=sold.name, stock={"value": "7"}, as_of_time=self.at(2))
        assert late.availability.stock.value == "2"

    def test_needs_its_own_right_and_cannot_be_written(self, anna):
        sold = product(anna)
        bert = anna.colleague("sales.products.read:all", "sales.products.update:all")
        refusal = bert.refusal("ReportAvailability", name=sold.name, stock={"value": "2"})
        assert refusal.code is StatusCode.PERMISSION_DENIED
        bert("UpdateProduct", product={"name": sold.name, "availability": {"stock": {"value": "9"}}, "unit": "kg"})
        assert not anna("GetProduct", name=sold.name).HasField("availability")

    @pytest.mark.parametrize(("stock", "minutes", "path"), [("many", 0, "stock"), ("1", -60, "as_of_time")])
    def test_names_what_is_wrong(self, anna, stock, minutes, path):
        sold = product(anna)
        refusal = anna.refusal(
            "ReportAvailability", name=sold.name, stock={"value": stock}, as_of_time=self.at(minutes)
        )
        assert [*refusal.violations] == [path]
