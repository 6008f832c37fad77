"""Orders: the same becomes of one, in whichever order the reports come."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from kontor.sales.v1.order_pb2 import Order
from kontor_kit import money
from kontor_sales.orders import rules


def report(sequence: int, state: int, source: str = "erp") -> Order.Report:
    moment = Timestamp()
    moment.FromDatetime(dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(hours=sequence))
    return Order.Report(source=source, sequence=sequence, state=state, event_time=moment)


def payment(external_id: str, units: object = 1, currency: str = "EUR") -> Order.Payment:
    return Order.Payment(
        source="erp",
        external_id=external_id,
        net_amount=money.fields(Decimal(str(units)), currency),
        pay_date={"year": 2026, "month": 1, "day": 31},
    )


@given(st.lists(st.integers(2, 8), min_size=1, max_size=8).flatmap(
    lambda states: st.tuples(st.just(states), st.permutations(range(len(states)))))
)  # fmt: skip
def test_order_of_reports_changes_nothing(given_reports: tuple[list[int], list[int]]) -> None:
    states, places = given_reports
    order = Order(state=rules.REQUESTED)
    for place in [*places, *places]:
        assert rules.conflict(order, report(place + 1, states[place]), "4711") == ""
        rules.add_report(order, report(place + 1, states[place]))
    assert order.state == states[-1]
    assert [known.state for known in order.reports] == states


class TestContradiction:
    def test_of_the_number_the_system_or_what_was_said(self) -> None:
        order = Order(order_number="4711", reports=[report(2, 3)])
        assert rules.conflict(order, report(3, 4), "4711") == ""
        assert "number 4711" in rules.conflict(order, report(3, 4), "4712")
        assert "erp" in rules.conflict(order, report(3, 4, source="other"), "4711")
        assert "something else" in rules.conflict(order, report(2, 4), "4711")


class TestPayments:
    def test_each_once(self) -> None:
        order = Order(payments=[payment("1")])
        given_payments = [payment("1"), payment("2"), payment("2"), payment("3")]
        assert [new.external_id for new in rules.new_payments(order, given_payments)] == ["2", "3"]

    def test_names_what_is_wrong(self) -> None:
        wrong = payment("5")
        wrong.pay_date.month = 13
        payments = [
            payment("1", -5),
            payment("2", 1, "USD"),
            payment("3", "0.001"),
            payment("4", 1, ""),
            wrong,
            payment("6", 2**62),
        ]
        assert [each.field for each in rules.check_payments(payments, "EUR")] == [
            "payments[1].net_amount.currency_code",
            "payments[2].net_amount",
            "payments[3].net_amount.currency_code",
            "payments[4].pay_date",
            "payments[5].net_amount",
        ]
