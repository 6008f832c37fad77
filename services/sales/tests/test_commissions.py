"""Commissions: exact, reproducible, and each payment once."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from kontor.sales.v1.commission_plan_pb2 import CommissionPlan
from kontor_kit import money
from kontor_kit.ids import uuid7
from kontor_sales.commissions import rules
from services.sales.tests.selling import TODAY, date, euro, line, order

MONTH = (TODAY.replace(day=1) - dt.timedelta(days=1)).replace(day=1)
BEFORE = (MONTH - dt.timedelta(days=1)).replace(day=1)
DAY = dt.date(2026, 3, 1)


def rate(
    percent: object, agent: str = "", family: str = "", plan: str = "p", since: dt.date | None = None
) -> rules.Rate:
    return rules.Rate(plan, agent, family, Decimal(str(percent)), since, None)


class TestRules:
    @given(
        st.decimals(-(10**6), 10**6, places=2),
        st.dictionaries(st.sampled_from("abcd"), st.decimals(0, 1000, places=2), min_size=1),
        st.decimals(0, 100, places=2),
    )
    def test_parts_add_up_and_what_is_given_back_is_the_same_below_zero(
        self, payment: Decimal, weights: dict[str, Decimal], percent: Decimal
    ) -> None:
        rates = {family: rate(percent) for family in weights}
        parts = rules.divide(payment, "EUR", weights, rates)
        assert sum((part.basis for part in parts), Decimal(0)) == payment
        for part in parts:
            assert part.amount == money.rounded(part.basis * percent / 100, "EUR")
        back = rules.divide(-payment, "EUR", weights, rates)
        assert [-part.amount for part in back] == [part.amount for part in parts]

    def test_the_rate_counts_that_says_the_most(self) -> None:
        rates = [rate(1), rate(2, family="GTX"), rate(3, agent="a"), rate(4, agent="a", family="GTX")]
        found = {
            (agent, family): rules.choose(rates, agent, family, DAY).percent  # type: ignore[union-attr]
            for agent in "ab"
            for family in ("GTX", "")
        }
        assert found == {("a", "GTX"): 4, ("a", ""): 3, ("b", "GTX"): 2, ("b", ""): 1}

    def test_of_equal_ones_the_latest(self) -> None:
        rates = [
            rate(1, since=dt.date(2026, 1, 1)),
            rate(2, since=dt.date(2026, 2, 1)),
            rate(3, since=dt.date(2027, 1, 1)),
        ]
        assert rules.choose(rates, "a", "", DAY) == rates[1]
        assert rules.choose(rates[2:], "a", "", DAY) is None

    @pytest.mark.parametrize(("month", "wanted"), [(1, (2026, 2)), (12, (2027, 1)), (2, (2026, 3))])
    def test_month_after(self, month: int, wanted: tuple[int, int]) -> None:
        assert rules.month_after(dt.date(2026, month, 1)) == dt.date(*wanted, 1)

    @pytest.mark.parametrize(
        ("rates", "path"),
        [
            ([{"percent": {"value": "101"}}], "rates[0].percent"),
            ([{"percent": {"value": "1"}}, {"percent": {"value": "2"}}], "rates[1]"),
        ],
    )
    def test_names_what_is_wrong_in_a_plan(self, rates: list, path: str) -> None:
        assert [each.field for each in rules.normalise(CommissionPlan(display_name="P", rates=rates))] == [path]


class Shop:
    """A tenant that sells two families of products."""

    def __init__(self, anna):
        self.anna = anna
        self.erp = anna.colleague("sales.orders.*:all")
        self.products = {
            family: anna("CreateProduct", product={"sku": family, "display_name": family, "family": family}).name
            for family in ("GTX", "MG")
        }
        self.number = 0

    def plan(self, **percent):
        rates = [{"family": family, "percent": {"value": str(value)}} for family, value in percent.items()]
        return self.anna("CreateCommissionPlan", commission_plan={"display_name": "Plan", "rates": rates}).name

    def sell(self, agent, gtx, mg):
        lines = [line(gtx, product=self.products["GTX"]), line(mg, product=self.products["MG"])]
        return order(self.anna, lines=lines, owner=agent).name

    def pay(self, name, units, day):
        self.number += 1
        paid = {
            "source": "erp",
            "external_id": f"R{self.number}",
            "net_amount": euro(units),
            "pay_date": date(day),
        }
        self.erp(
            "ReportOrderState",
            name=name,
            source="erp",
            external_id=name,
            sequence=self.number,
            state=6,
            payments=[paid],
        )

    def settle(self, agent, month=MONTH):
        return self.anna("SettleCommissions", agent=agent, month=date(month)).commissions


@pytest.fixture
def shop(anna):
    return Shop(anna)


class TestSettling:
    def test_pays_by_family_and_takes_back_what_was_given_back(self, shop):
        agent = shop.anna.user
        plan = shop.plan(GTX=10, MG=5)
        name = shop.sell(agent, 75, 25)
        shop.pay(name, 100, MONTH)
        shop.pay(name, -40, MONTH + dt.timedelta(days=3))
        [commission] = shop.settle(agent)
        assert [
            (each.family, money.amount(each.basis_amount), money.amount(each.amount)) for each in commission.lines
        ] == [
            ("GTX", 75, Decimal("7.50")),
            ("MG", 25, Decimal("1.25")),
            ("GTX", -30, Decimal("-3.00")),
            ("MG", -10, Decimal("-0.50")),
        ]
        assert {each.plan for each in commission.lines} == {plan}
        assert money.amount(commission.total_amount) == Decimal("5.25")
        assert (commission.owner, commission.currency_code) == (agent, "EUR")
        assert shop.anna("GetCommission", name=commission.name) == commission

    def test_same_again_and_each_payment_once(self, shop):
        agent = shop.anna.user
        shop.plan(GTX=10)
        name = shop.sell(agent, 100, 0)
        shop.pay(name, 60, BEFORE)
        first = shop.settle(agent, BEFORE)
        # It was told late of: the month is settled, and the next one has it.
        shop.pay(name, 40, BEFORE)
        assert shop.settle(agent, BEFORE) == first
        [later] = shop.settle(agent)
        assert [money.amount(found[0].total_amount) for found in (first, [later])] == [6, 4]
        assert shop.settle(agent) == [later]

    def test_once_whoever_asks_at_once(self, shop):
        agent = shop.anna.user
        shop.plan(GTX=10)
        shop.pay(shop.sell(agent, 100, 0), 100, MONTH)
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda _: [each.name for each in shop.settle(agent)], range(6)))
        assert len({name for [name] in found}) == 1

    def test_what_is_paid_meanwhile_is_left_for_the_next_month(self, shop, server):
        agent = shop.anna.user
        shop.plan(GTX=10)
        name = shop.sell(agent, 100, 0)
        shop.pay(name, 60, BEFORE)
        with ThreadPoolExecutor(1) as pool, server.database.connect() as connection:
            with connection.transaction():
                # Who settles has read the payments when they wait for the plans.
                connection.execute("LOCK TABLE commission_plans IN ACCESS EXCLUSIVE MODE")
                settling = pool.submit(shop.settle, agent, BEFORE)
                waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'commission_plans'::regclass"
                while not connection.execute(waiting).fetchone()[0]:
                    assert not settling.done()
                shop.pay(name, 40, BEFORE)
            [first] = settling.result()
        [later] = shop.settle(agent)
        assert [money.amount(found.total_amount) for found in (first, later)] == [6, 4]

    def test_without_a_rate_there_is_nothing_and_it_says_so(self, shop):
        agent = shop.anna.user
        shop.pay(shop.sell(agent, 50, 50), 100, MONTH)
        [commission] = shop.settle(agent)
        assert money.amount(commission.total_amount) == 0
        assert {(each.percent.value, each.plan) for each in commission.lines} == {("0", "")}

    def test_nothing_paid_nothing_settled(self, shop):
        assert len(shop.settle(shop.anna.user)) == 0

    @pytest.mark.parametrize(
        "month",
        [TODAY.replace(day=1), MONTH + dt.timedelta(days=1), dt.date(9999, 12, 1)],
        ids=["open", "middle", "last"],
    )
    def test_only_months_that_are_over(self, anna, month):
        refusal = anna.refusal("SettleCommissions", agent=anna.user, month=date(month))
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, ["month"])

    def test_a_rate_is_for_somebody_who_is_there(self, anna, peer):
        nobody = f"users/{uuid7()}"
        peer.absent.add(nobody)
        plan = {"display_name": "Plan", "rates": [{"percent": {"value": "5"}, "agent": nobody}]}
        refusal = anna.refusal("CreateCommissionPlan", commission_plan=plan)
        assert refusal.violations == {"commission_plan.rates[0].agent": f"there is no {nobody}"}

    def test_agents_see_their_own_only_and_settle_nothing(self, shop):
        bert = shop.anna.colleague("sales.commissions.read:own")
        shop.plan(GTX=10)
        for agent in (shop.anna.user, bert.user):
            shop.pay(shop.sell(agent, 100, 0), 100, MONTH)
            shop.settle(agent)
        assert [each.owner for each in bert("ListCommissions").commissions] == [bert.user]
        assert bert("ListCommissions", include_total_size=True).total_size == 1
        refusal = bert.refusal("SettleCommissions", agent=bert.user, month=date(MONTH))
        assert refusal.code is StatusCode.PERMISSION_DENIED
