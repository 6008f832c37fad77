"""The pure rules of leads: conditions, points, territories, turns."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontor.sales.v1.lead_condition_pb2 import LeadCondition
from kontor.sales.v1.lead_pb2 import Lead
from kontor.sales.v1.territory_pb2 import Territory
from kontor_kit.errors import FailedPrecondition
from kontor_sales.lead_assignment_rules import rules as assignment
from kontor_sales.lead_assignment_rules.rules import LEAST_BUSY, ROUND_ROBIN, WEIGHTED, Candidate
from kontor_sales.lead_conditions import rules as conditions
from kontor_sales.lead_forms import rules as forms
from kontor_sales.lead_score_rules import rules as scores
from kontor_sales.lead_score_rules.rules import Event, Rule
from kontor_sales.leads import rules as leads
from kontor_sales.territories import rules as territories

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
OPERATORS = LeadCondition.Operator
POINTS = st.integers(-1000, 1000)
DAYS = st.floats(0, 5000, allow_nan=False)
HALF_LIVES = st.integers(0, 400)


def condition(field, operator, *values):
    return LeadCondition(field=field, operator=f"OPERATOR_{operator}", values=values)


class TestConditions:
    @pytest.mark.parametrize(
        ("field", "operator", "values", "holds"),
        [
            ("source", "IN", ["Fair", "web"], True),
            ("source", "NOT_IN", ["web"], True),
            ("source", "UNSPECIFIED", ["FAIR"], True),
            ("job_title", "STARTS_WITH", ["head", "chief"], True),
            ("employee_count", "AT_LEAST", ["40"], True),
            ("employee_count", "AT_LEAST", ["40.5"], False),
            ("employee_count", "AT_MOST", ["40"], True),
            ("email_domain", "IN", ["b.example"], True),
            ("tags", "IN", ["hot"], True),
            ("tags", "NOT_IN", ["hot"], False),
            ("locality", "IS_SET", [], False),
            ("locality", "IS_NOT_SET", [], True),
            ("custom_fields.budget", "AT_LEAST", ["500"], True),
            ("custom_fields.nothing", "IS_SET", [], False),
            ("custom_fields.yes", "IN", ["true"], True),
        ],
    )
    def test_hold_or_not(self, field, operator, values, holds):
        lead = Lead(
            source="fair", job_title="Head of Science", employee_count=40, email="a@b.example", tags=["new", "Hot"]
        )
        lead.custom_fields.update({"budget": 500, "yes": True})
        assert conditions.holds(condition(field, operator, *values), lead) is holds
        assert conditions.check([condition(field, operator, *values)]) == []

    @pytest.mark.parametrize(
        ("wrong", "path"),
        [
            (condition("owner", "IN", "a"), "conditions[0].field"),
            (condition("score", "AT_LEAST", "5"), "conditions[0].field"),
            (condition("custom_fields.", "IS_SET"), "conditions[0].field"),
            (condition("source", "IN"), "conditions[0].values"),
            (condition("source", "IS_SET", "a"), "conditions[0].values"),
            (condition("employee_count", "AT_LEAST", "many"), "conditions[0].values"),
            (condition("employee_count", "AT_LEAST", "NaN"), "conditions[0].values"),
            (condition("employee_count", "AT_MOST", "1", "2"), "conditions[0].values"),
        ],
    )
    def test_name_what_is_wrong(self, wrong, path):
        assert [found.field for found in conditions.check([wrong], scores=False)] == [path]


class TestPoints:
    @given(POINTS, DAYS, DAYS, HALF_LIVES)
    def test_only_become_fewer(self, points, age, more, half_life):
        assert abs(scores.left(points, age + more, half_life)) <= abs(scores.left(points, age, half_life))
        assert abs(scores.left(points, age, half_life)) <= abs(points)

    @given(POINTS, st.integers(1, 400))
    def test_are_half_after_their_half_life(self, points, half_life):
        assert abs(scores.left(points, half_life, half_life) - points / 2) <= 0.5
        assert scores.left(-points, half_life, half_life) == -scores.left(points, half_life, half_life)

    @given(
        st.lists(
            st.builds(
                Rule,
                st.uuids().map(str),
                st.just("R"),
                POINTS,
                st.sampled_from(["", "a", "b"]),
                st.booleans(),
                st.sampled_from(["", "fit", "interest"]),
                HALF_LIVES,
                st.none() | st.just(NOW - dt.timedelta(days=20)),
                st.none() | st.just(NOW - dt.timedelta(days=5)),
            ),
            max_size=6,
        ),
        st.lists(st.tuples(st.sampled_from("ab"), st.integers(-10, 100)), max_size=8),
    )
    def test_of_all_parts_are_the_score(self, rules, happened):
        events = [Event(kind, NOW - dt.timedelta(days=days)) for kind, days in happened]
        created = NOW - dt.timedelta(days=50)
        parts = scores.parts(rules, Lead(), created, events, NOW)
        assert scores.total(parts) == sum(part.points for part in parts)
        ungrouped = sum(part.points for part in parts if not part.rule.group)
        assert sum(points for _, points in scores.by_group(parts)) + ungrouped == scores.total(parts)
        for rule in rules:
            own = [part for part in parts if part.rule is rule]
            counting = [e for e in events if e.type == rule.event_type and e.time <= NOW and rule.covers(e.time)]
            if rule.event_type:
                assert len(own) == (len(counting) if rule.repeatable else min(1, len(counting)))
            assert all(part.age_days >= 0 for part in own)
        due = scores.next_look(rules, parts, NOW)
        assert due is None or due > NOW

    def test_of_the_last_event_count_where_the_rule_is_not_repeatable(self):
        rule = Rule("r", "R", 10, "a", half_life_days=10)
        events = [Event("a", NOW - dt.timedelta(days=days)) for days in (30, 10)]
        [part] = scores.parts([rule], Lead(), NOW, events, NOW)
        assert (part.age_days, part.points) == (10, 5)


class TestStates:
    @given(st.integers(1, 6), st.integers(2, 5))
    def test_lead_nowhere_from_where_it_ends(self, before, after):
        if before in (leads.CONVERTING, leads.CONVERTED) and before != after:
            with pytest.raises(FailedPrecondition):
                leads.check_step(before, after)


def territory(number, parent=0, **fields):
    name = f"territories/{uuid.UUID(int=number)}"
    return Territory(name=name, parent=f"territories/{uuid.UUID(int=parent)}" if parent else "", **fields)


def place(region="DE", code="80331", industry="Software", size=50):
    return SimpleNamespace(region_code=region, postal_code=code, industry=industry, employee_count=size)


class TestTerritories:
    def test_most_specific_one_wins(self):
        world = territory(1)
        germany = territory(2, 1, areas=[{"region_code": "DE"}])
        munich = territory(3, 2, areas=[{"region_code": "DE", "postal_prefixes": ["80", "81"]}])
        software = territory(4, 3, industries=["software"])
        large = territory(5, 2, min_employee_count=1000)
        france = territory(6, 1, areas=[{"region_code": "FR"}])
        below_france = territory(7, 6, industries=["software"])
        every = [world, germany, munich, software, large, france, below_france]
        assert territories.matching(every, place()) == [software, munich, germany, world]
        assert territories.matching(every, place(code="1", size=2000)) == [large, germany, world]
        assert territories.matching(every, place(region="", code="", industry="", size=0)) == [world]

    def test_longer_postal_prefix_is_more_specific(self):
        short = territory(1, areas=[{"region_code": "DE", "postal_prefixes": ["8"]}])
        long = territory(2, areas=[{"region_code": "DE", "postal_prefixes": ["1", "8033"]}])
        assert territories.matching([short, long], place(code="80 331")) == [long, short]

    @given(st.lists(st.integers(0, 8), min_size=1, max_size=8))
    def test_lines_end_even_in_a_circle(self, parents):
        every = {t.name: t for t in (territory(n, parent) for n, parent in enumerate(parents, 1))}
        for name in every:
            found = territories.line(name, every)
            assert len(found) == len(set(found)) <= len(every)
        assert territories.matching(every.values(), place()) is not None


def take_turns(method, candidates, number):
    """Return who gets `number` leads, one after the other, and the candidates after them."""
    got = []
    for _ in range(number):
        choice = assignment.choose(method, candidates)
        got.append(choice.chosen)
        candidates = choice.after
    return got, candidates


CAPACITIES = st.lists(st.integers(1, 9), min_size=1, max_size=6)


class TestTurns:
    @given(st.integers(1, 8), st.integers(1, 12))
    def test_go_round(self, members, rounds):
        got, _ = take_turns(ROUND_ROBIN, [Candidate(str(n)) for n in range(members)], members * rounds)
        assert got == [str(n) for n in range(members)] * rounds

    @given(CAPACITIES, st.integers(1, 4))
    def test_are_in_proportion_to_capacity(self, capacities, rounds):
        candidates = [Candidate(str(n), capacity) for n, capacity in enumerate(capacities)]
        got, after = take_turns(WEIGHTED, candidates, sum(capacities) * rounds)
        assert Counter(got) == {str(n): capacity * rounds for n, capacity in enumerate(capacities)}
        assert all(candidate.credit == 0 for candidate in after)

    @given(st.sampled_from([ROUND_ROBIN, LEAST_BUSY, WEIGHTED]), st.lists(st.booleans(), min_size=1, max_size=6))
    def test_pass_over_who_is_away_or_has_had_enough(self, method, away):
        candidates = [Candidate(str(n), away=is_away, daily_quota=2) for n, is_away in enumerate(away)]
        got, _ = take_turns(method, candidates, 3 * len(away))
        present = [str(n) for n, is_away in enumerate(away) if not is_away]
        assert Counter(filter(None, got)) == dict.fromkeys(present, 2)

    def test_least_busy_is_by_capacity(self):
        candidates = [Candidate("a", 1, open_leads=2), Candidate("b", 4, open_leads=7), Candidate("c", 1, open_leads=3)]
        assert assignment.choose(LEAST_BUSY, candidates).chosen == "b"

    def test_who_comes_back_gets_no_backlog(self):
        candidates = [Candidate("a"), Candidate("b", away=True)]
        _, after = take_turns(ROUND_ROBIN, candidates, 5)
        back = [Candidate(c.user, turn=c.turn, assigned_today=c.assigned_today) for c in after]
        got, _ = take_turns(ROUND_ROBIN, sorted(back, key=lambda c: c.user), 4)
        assert got == ["b", "a", "b", "a"]


class TestForms:
    @given(st.binary(max_size=200), st.sampled_from(["application/json", "application/x-www-form-urlencoded", "x"]))
    def test_read_anything_or_refuse_it(self, data, kind):
        try:
            found = forms.read(kind, data)
        except forms.InvalidArgument:
            return
        assert all(isinstance(part, str) for pair in found.items() for part in pair)

    @given(st.text(max_size=30))
    def test_origins_are_plain_or_refused(self, text):
        try:
            plain = forms.plain_origin(text)
        except ValueError:
            return
        assert forms.plain_origin(plain) == plain
