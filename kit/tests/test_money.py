"""Amounts of money: to the message and back, rounding, division."""

from __future__ import annotations

from decimal import Decimal

import pytest
from google.type.money_pb2 import Money
from hypothesis import given
from hypothesis import strategies as st

from kontor_kit import money

AMOUNTS = st.decimals(min_value=-(10**12), max_value=10**12, places=2)
WEIGHTS = st.lists(st.decimals(min_value=0, max_value=10**6, places=4), min_size=1, max_size=12)
CURRENCIES = st.sampled_from(("EUR", "JPY", "KWD", "CHF"))


class TestMessage:
    @given(st.decimals(min_value=-(10**15), max_value=10**15, places=9))
    def test_there_and_back(self, amount: Decimal) -> None:
        message = Money(**money.fields(amount, "EUR"))
        assert money.amount(message) == amount
        other = Money()
        money.fill(other, amount, "EUR")
        assert other == message
        assert money.check(message, "price", negative=True) == []

    @pytest.mark.parametrize(
        ("message", "field"),
        [
            (Money(units=1), "price.currency_code"),
            (Money(currency_code="EURO", units=1), "price.currency_code"),
            (Money(currency_code="EUR", units=1, nanos=-1), "price.nanos"),
            (Money(currency_code="EUR", nanos=10**9), "price.nanos"),
            (Money(currency_code="EUR", units=-1), "price"),
        ],
    )
    def test_refused(self, message: Money, field: str) -> None:
        assert [violation.field for violation in money.check(message, "price")] == [field]

    def test_no_more_than_the_most(self) -> None:
        for units, wrong in ((10, []), (-10, []), (11, ["price"]), (-11, ["price"])):
            message = Money(currency_code="EUR", units=units)
            found = money.check(message, "price", negative=True, most=Decimal(10))
            assert [violation.field for violation in found] == wrong

    def test_currency_in_its_normal_form(self) -> None:
        message = Money(currency_code="eur", units=1)
        assert money.check(message, "price") == []
        assert message.currency_code == "EUR"


class TestRounding:
    @pytest.mark.parametrize(
        ("amount", "currency", "wanted"),
        [
            ("0.005", "EUR", "0.01"),
            ("-0.005", "EUR", "-0.01"),
            ("0.0049999", "EUR", "0.00"),
            ("2.5", "JPY", "3"),
            ("1.2345", "KWD", "1.235"),
        ],
    )
    def test_half_goes_away_from_zero(self, amount: str, currency: str, wanted: str) -> None:
        assert money.rounded(Decimal(amount), currency) == Decimal(wanted)

    @given(st.decimals(min_value=-(10**9), max_value=10**9, places=6), CURRENCIES)
    def test_off_by_half_a_unit_at_most_and_odd(self, amount: Decimal, currency: str) -> None:
        found = money.rounded(amount, currency)
        assert abs(found - amount) * 2 <= money.exponent(currency)
        assert money.rounded(-amount, currency) == -found
        assert money.rounded(found, currency) == found


class TestShares:
    @given(AMOUNTS, WEIGHTS, CURRENCIES)
    def test_add_up_and_lie_within_a_unit_of_the_exact_share(
        self, total: Decimal, weights: list[Decimal], currency: str
    ) -> None:
        total = money.rounded(total, currency)
        found = money.shares(total, weights, currency)
        assert sum(found) == total
        whole = sum(weights)
        if whole:
            for part, weight in zip(found, weights, strict=True):
                assert abs(part - total * weight / whole) < money.exponent(currency)
                assert weight or not part

    def test_without_parts(self) -> None:
        assert money.shares(Decimal(1), [], "EUR") == []
