"""Promotions: once each, never above the budget, and what was taken back is free again."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from uuid import uuid4

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import RpcError, StatusCode
from hypothesis import given
from hypothesis import strategies as st

from kontor.sales.v1.promotion_pb2 import Promotion
from kontor_kit import money
from kontor_kit.testing import answer
from kontor_sales.promotions import rules

THREADS = 16


def euro(units: object) -> dict:
    return money.fields(Decimal(str(units)), "EUR")


def at(days: float) -> Timestamp:
    moment = Timestamp()
    moment.FromDatetime(dt.datetime.now(dt.UTC) + dt.timedelta(days=days))
    return moment


def lasting(**fields) -> dict:
    usual = {"display_name": "Spring", "discount_percent": {"value": "10"}, "start_time": at(-1), "end_time": at(1)}
    return {**usual, **fields}


def promote(caller, **fields):
    return caller("CreatePromotion", promotion=lasting(**fields))


def line(units: object, **fields) -> dict:
    return {"description": "Work", "unit_price": euro(units), **fields}


def somebody() -> str:
    return f"accounts/{uuid4()}"


def redeem(caller, promotion, account=None, **fields):
    usual = {"lines": [line(100)], "occasion": "shop 1"}
    return caller("RedeemPromotion", name=promotion.name, account=account or somebody(), **{**usual, **fields})


def refused(caller, promotion, account=None, **fields):
    usual = {"lines": [line(100)], "occasion": "shop 1"}
    fields = {**usual, **fields}
    return caller.refusal("RedeemPromotion", name=promotion.name, account=account or somebody(), **fields)


class TestProducts:
    def test_must_be_there_when_they_are_named(self, anna):
        product = anna("CreateProduct", product={"sku": "P-1", "display_name": "Oak"}).name
        missing = f"products/{uuid4()}"
        refusal = anna.refusal("CreatePromotion", promotion=lasting(products=[product, missing]))
        assert [*refusal.violations] == ["promotion.products[1]"]
        promotion = promote(anna, products=[product])
        anna("DeleteProduct", name=product)
        assert anna("UpdatePromotion", promotion={"name": promotion.name, "display_name": "Later"}).products == [
            product
        ]


class TestRedeeming:
    def test_gives_the_discount_and_counts_it(self, anna):
        promotion = promote(anna, budget=euro(1000))
        account = somebody()
        found = redeem(anna, promotion, account, lines=[line("99.99", quantity={"value": "3"})])
        assert (found.account, found.promotion, found.state, found.occasion) == (account, promotion.name, 1, "shop 1")
        assert money.amount(found.discount_amount) == Decimal("30.00")
        after = anna("GetPromotion", name=promotion.name)
        assert (money.amount(after.redeemed_amount), after.redemption_count) == (30, 1)
        listed = anna("ListPromotionRedemptions", filter=f"promotion = {promotion.name}").promotion_redemptions
        assert list(listed) == [found]

    def test_once_each_and_the_same_again_for_the_same_occasion(self, anna):
        promotion, account = promote(anna), somebody()
        first = redeem(anna, promotion, account)
        assert redeem(anna, promotion, account) == first
        refusal = refused(anna, promotion, account, occasion="shop 2")
        assert (refusal.code, refusal.reason) == (StatusCode.ALREADY_EXISTS, "ALREADY_REDEEMED")
        assert anna("GetPromotion", name=promotion.name).redemption_count == 1

    def test_cancelled_it_can_be_taken_up_again(self, anna):
        promotion, account = promote(anna, budget=euro(10)), somebody()
        first = redeem(anna, promotion, account)
        assert refused(anna, promotion).reason == "BUDGET_EXHAUSTED"
        cancelled = anna("CancelPromotionRedemption", name=first.name, reason="Returned")
        assert (cancelled.state, cancelled.cancel_reason) == (2, "Returned")
        after = anna("GetPromotion", name=promotion.name)
        assert (money.amount(after.redeemed_amount), after.redemption_count) == (0, 0)
        assert anna.refusal("CancelPromotionRedemption", name=first.name).reason == "CANCELLED"
        assert redeem(anna, promotion, account, occasion="shop 2").name != first.name

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"state": 2}, "PROMOTION_PAUSED"),
            ({"start_time": at(0.5)}, "PROMOTION_NOT_BEGUN"),
            ({"end_time": at(-0.5)}, "PROMOTION_ENDED"),
            ({"segment": "key accounts"}, "OTHER_SEGMENT"),
            ({"budget": euro("9.99")}, "BUDGET_EXHAUSTED"),
            ({"families": ["GTX"]}, "NOTHING_ELIGIBLE"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_refused_where_it_does_not_hold(self, anna, fields, reason):
        refusal = refused(anna, promote(anna, **fields))
        assert (refusal.code, refusal.reason) == (StatusCode.FAILED_PRECONDITION, reason)

    def test_for_its_products_and_families_only(self, anna):
        sold = [
            anna("CreateProduct", product={"sku": sku, "display_name": sku, "family": family}).name
            for sku, family in (("A", "GTX"), ("B", "MG"), ("C", "SX"))
        ]
        promotion = promote(anna, products=[sold[0]], families=["MG"], segment="retail")
        lines = [{"product": name, "unit_price": euro(100)} for name in sold]
        assert money.amount(redeem(anna, promotion, lines=lines, segment="retail").discount_amount) == 20

    def test_no_currency_mixing(self, anna):
        promotion = promote(anna, budget=money.fields(Decimal(100), "USD"))
        assert [*refused(anna, promotion).violations] == ["lines[0].unit_price.currency_code"]

    def test_needs_its_right_and_an_account_that_is_there(self, anna, peer):
        promotion, account = promote(anna), somebody()
        bert = anna.colleague("sales.promotions.read:all", "sales.promotions.update:all")
        assert refused(bert, promotion).code is StatusCode.PERMISSION_DENIED
        stranger = anna.running.caller()
        assert refused(stranger, promotion).code is StatusCode.NOT_FOUND
        peer.absent.add(account)
        assert [*refused(anna, promotion, account).violations] == ["account"]
        assert anna("GetPromotion", name=promotion.name).redemption_count == 0


class TestConcurrency:
    def test_budget_is_never_exceeded(self, anna):
        promotion = promote(anna, discount_percent=None, discount_amount=euro(10), budget=euro(55))

        def attempt(_: int) -> str:
            try:
                redeem(anna, promotion)
            except RpcError as error:
                return answer(error).reason
            return ""

        with ThreadPoolExecutor(THREADS) as pool:
            outcomes = list(pool.map(attempt, range(THREADS)))
        assert sorted(outcomes) == [""] * 5 + ["BUDGET_EXHAUSTED"] * 11
        after = anna("GetPromotion", name=promotion.name)
        assert (money.amount(after.redeemed_amount), after.redemption_count) == (50, 5)

    def test_one_for_each_customer(self, anna):
        promotion, account = promote(anna), somebody()

        def attempt(number: int) -> str:
            while True:
                try:
                    redeem(anna, promotion, account, occasion=f"shop {number}")
                except RpcError as error:
                    # On a busy machine the owner of the account may not be heard of in time.
                    if error.code() is not StatusCode.UNAVAILABLE:
                        return answer(error).reason
                else:
                    return ""

        with ThreadPoolExecutor(THREADS) as pool:
            outcomes = list(pool.map(attempt, range(THREADS)))
        assert sorted(outcomes) == [""] + ["ALREADY_REDEEMED"] * 15
        assert anna("GetPromotion", name=promotion.name).redemption_count == 1


class TestStored:
    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"display_name": " "}, "display_name"),
            ({"discount_percent": None}, "discount_percent"),
            ({"discount_percent": {"value": "0"}}, "discount_percent"),
            ({"discount_percent": {"value": "101"}}, "discount_percent"),
            ({"discount_amount": euro(1)}, "discount_amount"),
            ({"end_time": at(-2)}, "end_time"),
            ({"budget": {"currency_code": "EUR", "units": -1}}, "budget"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_names_the_field_that_is_wrong(self, anna, fields, path):
        refusal = anna.refusal("CreatePromotion", promotion=lasting(**fields))
        assert [*refusal.violations] == [f"promotion.{path}"]

    def test_budget_is_not_lowered_below_what_was_redeemed(self, anna):
        promotion = promote(anna, budget=euro(100))
        redeem(anna, promotion)
        anna("UpdatePromotion", promotion={"name": promotion.name, "budget": euro(10)})
        refusal = anna.refusal("UpdatePromotion", promotion={"name": promotion.name, "budget": euro(9)})
        assert [*refusal.violations] == ["promotion.budget"]

    def test_code_is_unique_whatever_its_case(self, anna):
        promote(anna, code="spring")
        assert anna.refusal("CreatePromotion", promotion=lasting(code="SPRING")).code is StatusCode.ALREADY_EXISTS


@given(st.decimals(0, 10**6, places=2), st.decimals("0.01", 100, places=2), st.decimals("0.01", 10**6, places=2))
def test_discount_is_never_more_than_the_price(amount: Decimal, percent: Decimal, off: Decimal) -> None:
    for promotion in (
        Promotion(discount_percent={"value": str(percent)}),
        Promotion(discount_amount=money.fields(off, "EUR")),
    ):
        assert 0 <= rules.discount(promotion, amount, "EUR") <= amount
