"""The rules of forecasts: periods, what categories come to, and steps between snapshots that add up."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontor_kit import money
from kontor_sales.forecasts import bridge_rules, rollup_rules
from kontor_sales.forecasts import rules as periods
from kontor_sales.forecasts.bridge_rules import Deal
from kontor_sales.forecasts.rollup_rules import CLOSED, COMMIT, CUMULATED, PIPELINE, Cell, Overlay

CURRENCIES = ("EUR", "USD", "JPY", "KWD")
QUARTER = periods.Period(dt.date(2026, 4, 1), dt.date(2026, 6, 30))
DAYS = st.dates(dt.date(2026, 3, 1), dt.date(2026, 7, 31))


class TestPeriods:
    @given(st.sampled_from((1, 2, 3)), st.dates(dt.date(1990, 1, 1), dt.date(2090, 1, 1)), st.integers(1, 12))
    def test_follow_each_other_without_gaps(self, kind, day, fiscal_start):
        period = periods.around(kind, day, fiscal_start)
        assert period.has(day)
        assert period.start.day == 1
        after = periods.around(kind, period.end + dt.timedelta(days=1), fiscal_start)
        assert after.start == period.end + dt.timedelta(days=1)
        assert periods.beginning(kind, period.start) == period
        assert (period.start.month - fiscal_start) % periods.MONTHS[kind] == 0

    def test_of_a_fiscal_year(self):
        assert periods.around(3, dt.date(2026, 3, 31), 4) == (dt.date(2025, 4, 1), dt.date(2026, 3, 31))
        assert periods.around(2, dt.date(2026, 1, 5), 2) == (dt.date(2025, 11, 1), dt.date(2026, 1, 31))
        assert periods.around(1, dt.date(2024, 2, 5)) == (dt.date(2024, 2, 1), dt.date(2024, 2, 29))


def cells():
    numbers = st.decimals("0", "1e9", places=3)
    return st.builds(
        Cell,
        group=st.sampled_from((None, uuid.UUID(int=1), uuid.UUID(int=2))),
        category=st.sampled_from(list(CUMULATED)),
        currency=st.sampled_from((*CURRENCIES, None)),
        day=st.just(QUARTER.start),
        deals=st.integers(1, 9),
        amount=numbers,
        weighted=numbers,
    )


class TestRollUp:
    @given(
        st.lists(cells(), max_size=20), st.dictionaries(st.sampled_from(CURRENCIES), st.decimals("0.1", 9, places=3))
    )
    def test_what_is_added_up_is_all_that_is_given(self, given_cells, worth):
        rates = {(currency, QUARTER.start): rate for currency, rate in worth.items()}
        found = rollup_rules.add_up(given_cells, [], "EUR", rates)
        assert found.keys() == {cell.group for cell in given_cells}
        whole = rollup_rules.whole(found.get(None, {}))
        for category, sums in whole.items():
            its = [cell for cell in given_cells if cell.category == category and cell.group is None]
            assert sums.count == sum(cell.deals for cell in its)
            for currency in CURRENCIES:
                of_it = sum((cell.amount for cell in its if cell.currency == currency), Decimal(0))
                assert sums.amounts[currency] == of_it
                if currency != "EUR" and currency not in worth:
                    assert sums.unconverted[currency] == of_it
        surer = rollup_rules.cumulated(whole)
        assert surer[PIPELINE].count == sum(whole[part].count for part in CUMULATED[PIPELINE])

    def test_what_was_frozen_counts_whatever_the_rates_are(self):
        frozen = Cell(None, CLOSED, "USD", QUARTER.start, 1, Decimal(100), Decimal(100), Decimal(50), "EUR")
        whole = rollup_rules.add_up([frozen], [], "EUR", {("USD", QUARTER.start): Decimal(9)})[None]
        assert whole[CLOSED].base == whole[CLOSED].weighted == 50
        other = rollup_rules.add_up([frozen], [], "CHF", {("EUR", QUARTER.start): Decimal(2)})[None]
        assert other[CLOSED].base == 100

    def test_overlays_count_once_in_every_way_of_adding_up(self):
        overlay = Overlay(None, COMMIT, 2, "EUR", Decimal(-5), QUARTER.start)
        found = rollup_rules.cumulated(rollup_rules.add_up([], [overlay], "EUR", {})[None])
        assert [found[category].forecast for category in CUMULATED] == [0, -5, -5, -5, 0]


class World:
    """A tenant's deals, to which something happens."""

    def __init__(self):
        self.deals = {}
        self.rates = dict.fromkeys(CURRENCIES, Decimal("0.7"))

    def snapshot(self):
        found = {}
        for name, deal in self.deals.items():
            base = None
            if deal.amount is not None:
                base = money.rounded(deal.amount * self.rates[deal.currency], "EUR")
            found[name] = deal._replace(base=base)
        return found

    def happen(self, event, name, value):
        deal = self.deals.get(name)
        if event == "rate":
            self.rates[value.currency] = value.amount or Decimal(1)
        elif deal is None or event == "create":
            self.deals[name] = value
        elif event == "delete":
            del self.deals[name]
        elif event == "revalue":
            self.deals[name] = deal._replace(amount=value.amount, currency=value.currency)
        else:
            self.deals[name] = deal._replace(**{event: getattr(value, event)})


def deals():
    def build(deal, unvalued):
        amount = None if unvalued else money.rounded(deal.amount, deal.currency)
        return deal._replace(amount=amount, currency=None if unvalued else deal.currency)

    made = st.builds(
        Deal,
        mine=st.booleans(),
        here=st.booleans(),
        state=st.sampled_from((1, 1, 1, 2, 3)),
        category=st.sampled_from((1, 2, 2, 3, 4)),
        day=st.one_of(st.none(), DAYS),
        currency=st.sampled_from(CURRENCIES),
        amount=st.decimals(0, 10_000, places=3),
        base=st.none(),
    )
    return st.builds(build, made, st.sampled_from((False, False, False, True)))


EVENTS = ("create", "delete", "revalue", "state", "category", "day", "mine", "here", "rate")
HISTORIES = st.lists(
    st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 5), deals()), max_size=12), min_size=2, max_size=5
)


def counted(snapshot):
    """What counts, by currency and in the base currency, without asking the rules."""
    amounts, base = Counter(), Decimal(0)
    for deal in snapshot.values():
        inside = deal.day is not None and QUARTER.start <= deal.day <= QUARTER.end
        if deal.mine and deal.here and deal.state == 1 and deal.category != 1 and inside and deal.currency:
            amounts[deal.currency] += deal.amount
            base += deal.base
    return {currency: amount for currency, amount in amounts.items() if amount}, base


class TestBridge:
    @given(HISTORIES)
    def test_adds_up_to_the_cent_in_every_currency(self, history):
        world, before = World(), {}
        for events in history:
            for event, name, value in events:
                # A rate changes what everything is worth; deals without a currency have no rate to change.
                if event != "rate" or value.currency:
                    world.happen(event, name, value)
            after = world.snapshot()
            amounts, base = counted(before)
            for name in before.keys() | after.keys():
                for step in bridge_rules.steps(before.get(name), after.get(name), QUARTER):
                    base += step.base
                    for currency, change in step.amounts.items():
                        amounts[currency] = amounts.get(currency, Decimal(0)) + change
            assert ({currency: left for currency, left in amounts.items() if left}, base) == counted(after)
            before = after

    @given(deals(), deals())
    def test_what_is_not_the_readers_adds_nothing(self, before, after):
        before, after = before._replace(mine=False), after._replace(mine=False)
        assert not list(bridge_rules.steps(before, after, QUARTER))
        assert not list(bridge_rules.steps(None, after, QUARTER))
        assert not list(bridge_rules.steps(before, None, QUARTER))

    @given(deals())
    def test_nothing_happens_to_what_stays(self, deal):
        assert not list(bridge_rules.steps(deal, deal, QUARTER))

    @pytest.mark.parametrize("state", [2, 3])
    def test_what_came_and_closed_in_between_passed_through(self, state):
        deal = Deal(True, True, state, 2, QUARTER.start, "EUR", Decimal(5), Decimal(5))
        found = [(step.kind, step.amounts["EUR"]) for step in bridge_rules.steps(None, deal, QUARTER)]
        assert found == [(bridge_rules.NEW, 5), (bridge_rules.IS_WON if state == 2 else bridge_rules.IS_LOST, -5)]
        later = deal._replace(day=QUARTER.end + dt.timedelta(days=1))
        assert not list(bridge_rules.steps(None, later, QUARTER))
