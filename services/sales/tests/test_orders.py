"""Orders: asked for once, and a mirror of what the system says that handles them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from grpc import RpcError, StatusCode

from kontor_kit.testing import answer
from services.sales.tests.selling import accepted, day, euro, line, order, quote

CONFIRMED, DELIVERED, INVOICED, PAID = 2, 4, 5, 6


@pytest.fixture
def erp(anna):
    return anna.colleague("sales.orders.report:all", "sales.orders.read:all")


def tell(caller, name, sequence, state, **fields):
    return caller(
        "ReportOrderState",
        **{"name": name, "source": "erp", "external_id": "4711", "sequence": sequence, "state": state, **fields},
    )


def contradicts(caller, name, sequence, state, **fields):
    return caller.refusal(
        "ReportOrderState",
        **{"name": name, "source": "erp", "external_id": "4711", "sequence": sequence, "state": state, **fields},
    )


class TestOrdering:
    def test_takes_over_what_was_accepted_and_has_no_number(self, anna):
        signed = accepted(anna, lines=[line(100, tax_rate={"value": "19"})], account="accounts/" + anna.user[6:])
        made = anna("OrderQuote", name=signed.name, note="Gate 2")
        assert anna("GetOrder", name=made.name) == made
        assert (made.quote, made.account, made.owner, made.note) == (signed.name, signed.account, anna.user, "Gate 2")
        assert (made.state, made.order_number, list(made.lines)) == (1, "", list(signed.lines))
        assert (made.gross_amount, list(made.taxes)) == (signed.gross_amount, list(signed.taxes))

    def test_only_what_was_accepted(self, anna):
        refusal = anna.refusal("OrderQuote", name=quote(anna).name)
        assert (refusal.code, refusal.reason) == (StatusCode.FAILED_PRECONDITION, "QUOTE_NOT_ACCEPTED")

    def test_once_whoever_asks_at_once(self, anna):
        signed = accepted(anna)

        def ask(_: int) -> str:
            try:
                return anna("OrderQuote", name=signed.name).name
            except RpcError as error:
                return answer(error).code.name

        with ThreadPoolExecutor(6) as pool:
            outcomes = sorted(pool.map(ask, range(6)))
        assert outcomes[:5] == ["ALREADY_EXISTS"] * 5
        assert [found.name for found in anna("ListOrders").orders] == outcomes[5:]

    def test_same_again_for_the_same_request(self, anna):
        signed = accepted(anna)
        again = {"name": signed.name, "request_id": "0190a000-0000-7000-8000-000000000001"}
        assert anna("OrderQuote", **again) == anna("OrderQuote", **again)

    def test_own_scope_sees_own_orders_only(self, anna):
        made = order(anna)
        bert = anna.colleague("sales.orders.*:own", "sales.quotes.*:own")
        assert len(bert("ListOrders").orders) == 0
        assert bert.refusal("GetOrder", name=made.name).code is StatusCode.NOT_FOUND
        assert bert.refusal("OrderQuote", name=accepted(anna).name).code is StatusCode.NOT_FOUND


class TestSearch:
    def test_says_what_is_too_short_to_look_for_in_what_has_no_name(self, anna):
        refusal = anna.refusal("SearchOrders", query="4")
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, ["query"])
        assert not anna("SearchOrders", query="4711").results


class TestMirror:
    def test_says_what_the_other_system_does(self, anna, erp):
        name = order(anna).name
        told = tell(erp, name, 1, CONFIRMED, message="Will come on Monday")
        assert (told.state, told.order_number, told.reports[0].message) == (CONFIRMED, "4711", "Will come on Monday")
        assert anna("GetOrder", name=name) == told

    def test_late_and_repeated_reports_change_nothing(self, anna, erp):
        name = order(anna).name
        last = tell(erp, name, 3, DELIVERED)
        late = tell(erp, name, 1, CONFIRMED)
        assert late.state == DELIVERED
        assert [report.sequence for report in late.reports] == [1, 3]
        assert tell(erp, name, 3, DELIVERED) == late
        assert tell(erp, name, 1, CONFIRMED).etag == late.etag != last.etag

    def test_reports_at_once_are_all_kept(self, anna, erp):
        name = order(anna).name
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: tell(erp, name, number, PAID if number == 8 else CONFIRMED), range(1, 9)))
        found = anna("GetOrder", name=name)
        assert found.state == PAID
        assert [report.sequence for report in found.reports] == [*range(1, 9)]

    @pytest.mark.parametrize(
        ("sequence", "fields"), [(2, {"external_id": "4712"}), (2, {"source": "other"}), (1, {"state": DELIVERED})]
    )
    def test_contradictions_are_refused(self, anna, erp, sequence, fields):
        name = order(anna).name
        tell(erp, name, 1, CONFIRMED)
        assert contradicts(erp, name, **{"sequence": sequence, "state": CONFIRMED, **fields}).reason == "CONTRADICTION"

    @pytest.mark.parametrize(
        ("fields", "path"),
        [({"sequence": 0}, "sequence"), ({"state": 1}, "state"), ({"state": 99}, "state"), ({"source": ""}, "source")],
    )
    def test_names_the_field_that_is_wrong(self, anna, erp, fields, path):
        refusal = contradicts(erp, order(anna).name, **{"sequence": 1, "state": CONFIRMED, **fields})
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, [path])

    def test_nobody_else_sets_it(self, anna):
        name = order(anna).name
        seller = anna.colleague("sales.orders.read:all", "sales.orders.update:all", "sales.orders.create:all")
        assert contradicts(seller, name, 1, PAID).code is StatusCode.PERMISSION_DENIED
        changed = {"name": name, "state": PAID, "order_number": "1", "lines": [line(1)], "note": "New"}
        after = seller("UpdateOrder", order=changed)
        assert (after.state, after.order_number, after.note) == (1, "", "New")
        assert after.lines[0].unit_price.units == 100

    def test_tells_of_it(self, anna, erp):
        name = order(anna).name
        for sequence, state in ((2, DELIVERED), (1, CONFIRMED), (3, INVOICED)):
            tell(erp, name, sequence, state)
        with anna.running.database.connect() as connection:
            rows = connection.execute(
                "SELECT event_type FROM change_pending WHERE resource_name = %s ORDER BY sequence", [name]
            ).fetchall()
        prefix = "kontor.sales.v1.order."
        assert [row[0].removeprefix(prefix) for row in rows] == ["created", "delivered", "reported", "invoiced"]


class TestPayments:
    def paid(self, external_id, units):
        return {"source": "erp", "external_id": external_id, "net_amount": euro(units), "pay_date": day(-1)}

    def test_are_kept_once(self, anna, erp):
        name = order(anna).name
        told = tell(erp, name, 1, PAID, payments=[self.paid("R1", 60), self.paid("R2", 40)])
        assert [payment.external_id for payment in told.payments] == ["R1", "R2"]
        again = tell(erp, name, 2, PAID, payments=[self.paid("R2", 40), self.paid("G1", -40)])
        assert [payment.external_id for payment in again.payments] == ["R1", "R2", "G1"]

    def test_belong_to_one_order(self, anna, erp):
        tell(erp, order(anna).name, 1, PAID, payments=[self.paid("R1", 1)])
        other = order(anna).name
        refusal = contradicts(erp, other, 1, PAID, external_id="4712", payments=[self.paid("R1", 1)])
        assert refusal.code is StatusCode.ALREADY_EXISTS
        assert anna("GetOrder", name=other).state == 1

    def test_have_the_currency_of_the_order(self, anna, erp):
        dollars = {**self.paid("R1", 1), "net_amount": {"currency_code": "USD", "units": 1}}
        refusal = contradicts(erp, order(anna).name, 1, PAID, payments=[dollars])
        assert [*refusal.violations] == ["payments[0].net_amount.currency_code"]
