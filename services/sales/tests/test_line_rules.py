"""Lines: normal form, discounts, taxes, and that everything adds up."""

from __future__ import annotations

import random
from decimal import Decimal
from itertools import count

import pytest
from google.type.money_pb2 import Money
from hypothesis import given
from hypothesis import strategies as st

from kontor.sales.v1.line_item_pb2 import LineItem
from kontor_kit import money
from kontor_sales.lines import rules

CURRENCIES = st.sampled_from(("EUR", "JPY", "KWD"))
PERCENT = st.decimals(0, 100, places=4)
RATES = st.sampled_from((None, Decimal(0), Decimal("2.5"), Decimal(7), Decimal(19)))


def decimal(value: object) -> dict[str, str]:
    return {"value": str(value)}


def line(price: object = 10, times: object = 1, currency: str = "EUR", **fields: object) -> LineItem:
    usual = {
        "description": "Work",
        "quantity": decimal(times),
        "unit_price": money.fields(Decimal(str(price)), currency),
    }
    return LineItem(**{**usual, **fields})


def normalised(*lines: LineItem) -> list[LineItem]:
    ids = count(1)
    assert rules.normalise(lines, lambda: f"l{next(ids)}") == []
    return list(lines)


def totals(*lines: LineItem, discount: rules.Discount = rules.NO_DISCOUNT) -> rules.Totals:
    return rules.price(normalised(*lines), discount)


@st.composite
def documents(draw: st.DrawFn) -> tuple[list[LineItem], rules.Discount]:
    currency = draw(CURRENCIES)
    prices, quantities = st.decimals(0, 10**6, places=9), st.decimals("0.0001", 10**4, places=4)
    lines = []
    for _ in range(draw(st.integers(0, 8))):
        made = line(draw(prices), draw(quantities), currency)
        rate, percent = draw(RATES), draw(st.one_of(st.none(), PERCENT))
        if rate is not None:
            made.tax_rate.value = str(rate)
        if percent is not None:
            made.discount_percent.value = str(percent)
        lines.append(made)
    whole = draw(st.decimals(0, 10**6, places=0))
    discount = draw(
        st.sampled_from((rules.NO_DISCOUNT, rules.Discount(percent=draw(PERCENT)), rules.Discount(amount=whole)))
    )
    return normalised(*lines), discount


class TestSums:
    @given(documents())
    def test_lines_add_up_to_the_document(self, document: tuple[list[LineItem], rules.Discount]) -> None:
        lines, discount = document
        found = rules.price(lines, discount)
        for field, total in (("net_amount", found.net), ("tax_amount", found.tax), ("gross_amount", found.gross)):
            assert sum((money.amount(getattr(each, field)) for each in lines), Decimal(0)) == total
        assert found.full - found.discount + found.tax == found.gross
        assert sum((tax.tax for tax in found.taxes), Decimal(0)) == found.tax
        assert all(money.amount(each.net_amount) >= 0 for each in lines)
        assert 0 <= found.discount <= found.full
        if lines:
            for each in lines:
                amount = money.amount(each.gross_amount)
                assert money.rounded(amount, found.currency) == amount
                assert each.gross_amount.currency_code == found.currency

    @given(documents(), st.randoms(use_true_random=False))
    def test_order_of_lines_changes_nothing(
        self, document: tuple[list[LineItem], rules.Discount], shuffling: random.Random
    ) -> None:
        lines, discount = document
        found = rules.price(lines, discount)
        shuffled = [LineItem.FromString(each.SerializeToString()) for each in lines]
        shuffling.shuffle(shuffled)
        assert rules.price(shuffled, discount) == found
        assert sorted(shuffled, key=lambda each: each.line_id) == sorted(lines, key=lambda each: each.line_id)

    @given(documents())
    def test_same_when_priced_again(self, document: tuple[list[LineItem], rules.Discount]) -> None:
        lines, discount = document
        found = rules.price(lines, discount)
        assert rules.normalise(lines, lambda: "never") == []
        assert rules.price(lines, discount) == found

    @given(documents())
    def test_tax_is_that_of_the_sum_of_each_rate(self, document: tuple[list[LineItem], rules.Discount]) -> None:
        lines, discount = document
        found = rules.price(lines, discount)
        for tax in found.taxes:
            taxed = [each for each in lines if each.HasField("tax_rate") and Decimal(each.tax_rate.value) == tax.rate]
            assert tax.net == sum((money.amount(each.net_amount) for each in taxed), Decimal(0))
            assert tax.tax == money.rounded(tax.net * tax.rate / 100, found.currency)

    def test_nothing_in_no_currency(self) -> None:
        assert rules.price([], rules.Discount(percent=Decimal(10))) == rules.Totals("", *[Decimal(0)] * 3, ())


class TestExamples:
    def test_line_is_rounded_once(self) -> None:
        # Three times 0.335 is 1.005, not three times 0.34.
        assert totals(line("0.335", 3)).net == Decimal("1.01")

    def test_discount_and_tax_of_an_invoice_done_by_hand(self) -> None:
        lines = [
            line("19.99", 3, discount_percent=decimal(10), tax_rate=decimal(19)),
            line("5.25", "1.5", discount_amount=money.fields(Decimal("0.88"), "EUR"), tax_rate=decimal(7)),
        ]
        found = totals(*lines, discount=rules.Discount(percent=Decimal(5)))
        # 59.97 - 6.00 = 53.97; 7.88 - 0.88 = 7.00; 5 % of 60.97 is 3.05, of which 2.70 and 0.35.
        assert [money.amount(each.net_amount) for each in lines] == [Decimal("51.27"), Decimal("6.65")]
        assert found.taxes == (
            rules.Tax(Decimal(7), Decimal("6.65"), Decimal("0.47")),
            rules.Tax(Decimal(19), Decimal("51.27"), Decimal("9.74")),
        )
        assert (found.full, found.net, found.gross) == (Decimal("67.85"), Decimal("57.92"), Decimal("68.13"))

    def test_document_discount_takes_at_most_everything(self) -> None:
        found = totals(line(10), line(20), discount=rules.Discount(amount=Decimal(100)))
        assert (found.net, found.discount_percent) == (0, 100)

    def test_unit_left_over_goes_to_the_first_id(self) -> None:
        lines = [line(1, line_id=id) for id in ("c", "a", "b")]
        totals(*lines, discount=rules.Discount(amount=Decimal("0.10")))
        net = {each.line_id: money.amount(each.net_amount) for each in lines}
        assert net == {"a": Decimal("0.96"), "b": Decimal("0.97"), "c": Decimal("0.97")}


class TestNormalise:
    def test_gives_ids_and_one_of_it(self) -> None:
        first, second = normalised(
            line(line_id="keep"), LineItem(product="products/x", unit_price=money.fields(1, "eur"))
        )
        assert (first.line_id, second.line_id, second.quantity.value) == ("keep", "l1", "1")
        assert second.unit_price.currency_code == "EUR"

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"description": " "}, "description"),
            ({"quantity": decimal(0)}, "quantity"),
            ({"quantity": decimal(-1)}, "quantity"),
            ({"quantity": decimal("NaN")}, "quantity"),
            ({"quantity": decimal("many")}, "quantity"),
            ({"quantity": decimal("0.00001")}, "quantity"),
            ({"quantity": decimal("1e999999")}, "quantity"),
            ({"quantity": decimal("1_000")}, "quantity"),
            ({"tax_rate": decimal("\u0661\u0662")}, "tax_rate"),
            ({"discount_percent": decimal(" 10")}, "discount_percent"),
            ({"unit_price": Money(units=1)}, "unit_price.currency_code"),
            ({"unit_price": Money(currency_code="EUR", units=-1)}, "unit_price"),
            ({"unit_price": Money(currency_code="EUR", units=10**13)}, "unit_price"),
            ({"quantity": decimal(10**9), "unit_price": Money(currency_code="EUR", units=10**9)}, "unit_price"),
            ({"tax_rate": decimal(101)}, "tax_rate"),
            ({"discount_percent": decimal(101)}, "discount_percent"),
            ({"discount_amount": Money(currency_code="EUR", units=11)}, "discount_amount"),
            ({"discount_amount": Money(currency_code="EUR", nanos=1)}, "discount_amount"),
            ({"discount_amount": Money(currency_code="USD", units=1)}, "discount_amount.currency_code"),
            ({"discount_percent": decimal(1), "discount_amount": Money(currency_code="EUR")}, "discount_amount"),
        ],
    )
    def test_names_the_field_that_is_wrong(self, fields: dict, path: str) -> None:
        lines = [line(line_id="a"), line(line_id="b", **fields)]
        assert [each.field for each in rules.normalise(lines, str)] == [f"lines[1].{path}"]

    def test_refuses_two_currencies(self) -> None:
        paths = [each.field for each in rules.normalise([line(line_id="a"), line(line_id="b", currency="USD")], str)]
        assert paths == ["lines[1].unit_price.currency_code"]
        assert rules.normalise([line(line_id="a")], str, currency="USD")[0].field == "lines[0].unit_price.currency_code"

    def test_refuses_an_id_twice(self) -> None:
        assert [each.field for each in rules.normalise([line(line_id="a")] * 2, str)] == ["lines[1].line_id"]
