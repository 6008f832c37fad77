"""Who is offered a lead: the shares, and why somebody is not."""

from __future__ import annotations

import datetime as dt
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kontor_partners.lead_offers import rules
from kontor_partners.lead_offers.rules import Candidate, Wanted

NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
SOME = frozenset(("a", "b"))
OTHER = frozenset(("c",))

WEIGHTS = st.lists(st.integers(1, 20), min_size=1, max_size=8)


def candidates(weights) -> list[Candidate]:
    return [Candidate(f"partners/{number}", weight=weight) for number, weight in enumerate(weights)]


class TestShares:
    @settings(max_examples=100)
    @given(WEIGHTS, st.integers(1, 120))
    def test_nobody_is_ever_a_whole_lead_ahead(self, weights, leads):
        fit, offered = candidates(weights), Counter[str]()
        for count in range(1, leads + 1):
            offered[rules.choose(fit, offered).partner] += 1
            for each in fit:
                due = each.weight * count / sum(weights)
                # So that nobody falls further behind than all others can be ahead.
                assert offered[each.partner] - due < 1
                assert due - offered[each.partner] < len(fit)

    @settings(max_examples=100)
    @given(WEIGHTS, st.integers(1, 5))
    def test_after_a_round_everybody_has_exactly_its_share(self, weights, rounds):
        fit, offered = candidates(weights), Counter[str]()
        for _ in range(rounds * sum(weights)):
            offered[rules.choose(fit, offered).partner] += 1
        assert offered == {each.partner: rounds * each.weight for each in fit}

    @given(WEIGHTS, st.data())
    def test_the_order_of_the_partners_does_not_matter(self, weights, data):
        fit = candidates(weights)
        offered = {each.partner: data.draw(st.integers(0, 9)) for each in fit}
        mixed = data.draw(st.permutations(fit))
        assert rules.choose(fit, offered) == rules.choose(mixed, offered)

    def test_of_equal_ones_the_less_busy_then_the_older(self):
        busy, free, new = Candidate("partners/1", open_offers=1), Candidate("partners/2"), Candidate("partners/3")
        assert rules.choose([new, busy, free], {}).ranked == ["partners/2", "partners/3", "partners/1"]

    def test_nobody_is_fit(self):
        assert rules.choose([], {}) == rules.Choice("", "nobody is fit for this lead", [], {})

    def test_who_is_new_need_not_catch_up(self):
        new = NOW - dt.timedelta(days=3)
        fit = [Candidate("partners/1", since=NOW - dt.timedelta(days=900)), Candidate("partners/2", since=new)]
        assert rules.counted_since(fit, NOW) == new
        assert rules.counted_since(fit[:1], NOW) == NOW - rules.PERIOD


class TestFitness:
    @pytest.mark.parametrize(
        ("fields", "wanted", "why"),
        [
            pytest.param({}, Wanted(), "", id="everything"),
            pytest.param({"idle": "is suspended"}, Wanted(), "is suspended", id="idle"),
            pytest.param({"weight": 0}, Wanted(), "gets no leads at its level", id="weight"),
            pytest.param({"refused": True}, Wanted(), "did not take this lead before", id="refused"),
            pytest.param({"regions": frozenset(("CH",))}, Wanted("CH"), "", id="region"),
            pytest.param({"regions": frozenset(("CH",))}, Wanted("AT"), "does not sell in AT", id="other-region"),
            pytest.param({"regions": frozenset(("CH",))}, Wanted(), "sells in some countries only", id="no-region"),
            pytest.param({"products": SOME}, Wanted(products=SOME | OTHER), "", id="one-product"),
            pytest.param({"products": SOME}, Wanted(), "", id="no-interest"),
            pytest.param({"products": OTHER}, Wanted(products=SOME), "sells none of the products", id="no-product"),
            pytest.param({"families": SOME}, Wanted(products=OTHER, families=SOME), "", id="family"),
            pytest.param(
                {"families": SOME}, Wanted(products=SOME, families=OTHER), "sells none of the products", id="no-family"
            ),
            pytest.param({"capacity": 2, "open_offers": 1}, Wanted(), "", id="room"),
            pytest.param({"capacity": 2, "open_offers": 2}, Wanted(), "has 2 open offers, which is all", id="full"),
        ],
    )
    def test_says_why_not(self, fields, wanted, why):
        assert rules.why_not(Candidate("partners/1", **fields), wanted) == why
