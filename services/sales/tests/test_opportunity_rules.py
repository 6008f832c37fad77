"""The rules of pipelines and opportunities, on messages alone."""

from __future__ import annotations

import datetime as dt
import itertools
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontor.sales.v1 import opportunity_pb2, pipeline_pb2
from kontor.sales.v1.opportunity_service_pb2 import ImportOpportunitiesRequest
from kontor_sales.opportunities import rules
from kontor_sales.pipelines import rules as pipelines

Opportunity = opportunity_pb2.Opportunity
Pipeline = pipeline_pb2.Pipeline
NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)

ids = st.sampled_from(["a", "b", "c", "d", "won", "lost"])
probabilities = st.one_of(st.just(""), st.decimals(-1, 2, places=2).map(str), st.sampled_from(["x", "NaN", "Infinity"]))
stages = st.lists(st.tuples(ids, st.integers(0, 3), probabilities), max_size=6)


def pipeline_of(parts):
    made = Pipeline(display_name="P")
    for id, category, probability in parts:
        stage = made.stages.add(id=id, display_name=id, category=category)
        if probability:
            stage.probability.value = probability
    return made


class TestPipelines:
    @given(stages)
    def test_in_form_stay_as_they_are_and_hold_what_all_rely_on(self, parts):
        pipeline = pipeline_of(parts)
        if pipelines.normalise(pipeline):
            return
        again = Pipeline()
        again.CopyFrom(pipeline)
        assert pipelines.normalise(again) == []
        assert again == pipeline
        found = [stage.id for stage in pipeline.stages]
        assert len(set(found)) == len(found)
        assert pipelines.first(pipeline, pipelines.OPEN) is not None
        for stage in pipeline.stages:
            probability = Decimal(stage.probability.value)
            assert 0 <= probability <= 1
            assert stage.category in (pipelines.OPEN, pipelines.WON, pipelines.LOST)
            assert probability == {pipelines.WON: 1, pipelines.LOST: 0}.get(stage.category, probability)

    @given(stages, ids, ids)
    def test_forward_is_never_both_ways(self, parts, one, other):
        pipeline = pipeline_of(parts)
        pipelines.normalise(pipeline)
        there, back = pipelines.is_forward(pipeline, one, other), pipelines.is_forward(pipeline, other, one)
        assert not (there and back)

    @pytest.mark.parametrize("field", sorted(pipelines.CRITERIA_FIELDS))
    def test_criteria_can_ask_for_every_field_that_they_may_name(self, field):
        criteria = Pipeline.Criteria(required_fields=[field])
        assert pipelines.unmet(criteria, Opportunity()) == [f"{field} is not set"]

    def test_criteria_ask_for_amounts_above_zero(self):
        criteria = Pipeline.Criteria(positive_amount=True)
        for amount, lacks in (({}, 1), ({"units": 0}, 1), ({"nanos": 1}, 0), ({"units": 3}, 0)):
            assert len(pipelines.unmet(criteria, Opportunity(amount=amount))) == lacks


def centre(chiefs):
    """Return members who report to each other as `chiefs` say: places, or None."""
    return [
        {"contact": f"c{place}", "role": 1, "reports_to": "" if chief is None else f"c{chief}"}
        for place, chief in enumerate(chiefs)
    ]


class TestBuyingCentre:
    @given(st.lists(st.one_of(st.none(), st.integers(0, 7)), max_size=8))
    def test_is_refused_exactly_where_somebody_reports_to_nobody_known_or_in_a_circle(self, chiefs):
        members = Opportunity(buying_centre=centre(chiefs)).buying_centre
        wrong = {violation.field for violation in rules.check_buying_centre(members)}
        expected = set()
        for place, chief in enumerate(chiefs):
            walked, here = set(), place
            while here is not None and here < len(chiefs) and here not in walked:
                walked.add(here)
                here = chiefs[here]
            if (chief is not None and chief >= len(chiefs)) or here == place:
                expected.add(f"buying_centre[{place}].reports_to")
        assert wrong == expected

    def test_has_everybody_once(self):
        members = Opportunity(buying_centre=[{"contact": "c"}, {"contact": "c"}]).buying_centre
        assert [violation.field for violation in rules.check_buying_centre(members)] == ["buying_centre[1].contact"]


times = st.integers(0, 400).map(lambda days: dt.datetime(2025, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=days))


class TestImport:
    @given(
        st.one_of(st.none(), times),
        st.lists(st.tuples(st.sampled_from(["a", "b", "won", "lost"]), times), max_size=4),
        st.one_of(st.none(), times),
        st.sampled_from(["a", "won", "lost"]),
    )
    def test_times_are_in_order_whatever_is_said(self, opened, visits, closed, stage):
        pipeline = pipeline_of([("a", 1, ""), ("b", 1, "")])
        pipelines.normalise(pipeline)
        row = ImportOpportunitiesRequest.Row(
            opportunity={"stage": visits[-1][0] if visits else stage},
            open_time=opened,
            close_time=closed,
            visits=[{"stage": stage, "enter_time": entered} for stage, entered in visits],
        )
        named = [time for time in (opened, *(entered for _, entered in visits), closed) if time is not None]
        violations = rules.settle(row, pipeline, NOW)
        assert bool(violations) == any(later < earlier for earlier, later in itertools.pairwise(named))
        if violations:
            return
        deal = row.opportunity
        entered = pipelines.find(pipeline, deal.stage)
        rules.enter(deal, entered, NOW)
        assert deal.HasField("close_time") == (entered.category != pipelines.OPEN)
        begun, moved = deal.open_time.ToDatetime(dt.UTC), deal.stage_enter_time.ToDatetime(dt.UTC)
        assert begun <= moved <= NOW
        if deal.HasField("close_time"):
            assert begun <= deal.close_time.ToDatetime(dt.UTC) <= NOW


class TestMoves:
    @given(st.lists(st.sampled_from(["a", "b", "won", "lost"]), max_size=8))
    def test_state_and_times_follow_the_stage(self, path):
        pipeline = pipeline_of([("a", 1, ""), ("b", 1, "")])
        pipelines.normalise(pipeline)
        deal, before, last_open = Opportunity(), None, ""
        for step, id in enumerate(path):
            stage = pipelines.find(pipeline, id)
            moment = NOW + dt.timedelta(days=step)
            rules.enter(deal, stage, moment, before)
            last_open = id if stage.category == pipelines.OPEN else last_open
            assert (deal.stage, deal.state, deal.last_open_stage) == (id, stage.category, last_open)
            assert deal.open_time.ToDatetime(dt.UTC) == NOW
            assert deal.stage_enter_time.ToDatetime(dt.UTC) == moment
            assert deal.HasField("close_time") == (stage.category != pipelines.OPEN)
            before = Opportunity()
            before.CopyFrom(deal)


class TestStalled:
    @given(st.integers(0, 100), st.floats(0, 10**8), st.integers(0, 400))
    def test_the_own_history_counts_as_soon_as_there_is_enough(self, left, seconds, days):
        stage = Pipeline.Stage(stalled_after_days=days)
        threshold = rules.stalled_after((left, seconds), stage)
        assert threshold == (seconds if left >= rules.SAMPLE else days * 86400 if days else None)
        assert rules.stalled_after(None, None) is None

    def test_only_what_is_open_is_stalled(self):
        deal = Opportunity(state=1, stage_enter_time=NOW - dt.timedelta(seconds=11))
        assert [rules.is_stalled(deal, threshold, NOW) for threshold in (10, 11, None)] == [True, False, False]
        deal.state = 2
        assert not rules.is_stalled(deal, 10, NOW)


def member(stance, influence, role=5):
    return {"contact": f"c{stance}{influence}", "role": role, "stance": stance, "influence": influence}


class TestWarnings:
    @pytest.mark.parametrize(
        ("members", "codes"),
        [
            ([], []),
            ([member(1, 1)], []),
            ([member(0, 5)], [rules.NO_SUPPORTER]),
            ([member(-1, 2), member(1, 0)], []),
            ([member(-1, 3), member(1, 2)], [rules.UNANSWERED_BLOCKER]),
            ([member(-2, 5), member(2, 5)], []),
            ([member(-1, 3)], [rules.UNANSWERED_BLOCKER, rules.NO_SUPPORTER]),
        ],
    )
    def test_about_who_is_for_and_against_it(self, members, codes):
        deal = Opportunity(state=1, buying_centre=members)
        assert [code for code, _ in rules.warnings(deal, Pipeline(), NOW.date())] == codes

    @pytest.mark.parametrize(("stage", "warned"), [("a", False), ("b", True), ("c", True)])
    def test_about_the_economic_buyer_from_a_stage_on(self, stage, warned):
        pipeline = pipeline_of([(id, 1, "") for id in "abc"])
        pipeline.economic_buyer_from = "b"
        deal = Opportunity(state=1, stage=stage)
        assert bool(list(rules.warnings(deal, pipeline, NOW.date()))) is warned
        deal.buying_centre.add(contact="c", role=pipelines.ROLE_ECONOMIC_BUYER, stance=1)
        assert not list(rules.warnings(deal, pipeline, NOW.date()))

    def test_about_days_that_have_passed(self):
        today = NOW.date()

        def on(days):
            day = today + dt.timedelta(days=days)
            return {"year": day.year, "month": day.month, "day": day.day}

        for days, warned in ((-1, True), (0, False), (1, False)):
            steps = [
                {"display_name": "S", "due_date": on(days)},
                {"display_name": "T", "due_date": on(-9), "done_date": on(-8)},
            ]
            deal = Opportunity(state=1, next_step_date=on(days), close_date=on(days), decision_steps=steps)
            assert [code for code, _ in rules.warnings(deal, Pipeline(), today)] == ([4, 5, 6] if warned else [])
            deal.state = 3
            assert not list(rules.warnings(deal, Pipeline(), today))


REASONS = {"won": rules.Reason(2, False), "lost": rules.Reason(1, False), "other": rules.Reason(1, True)}


class TestReasons:
    @given(
        st.integers(1, 3),
        st.lists(st.tuples(st.sampled_from(["won", "lost", "other", "none"]), st.sampled_from(["", " ", "n"])), max_size=3),
        st.booleans(),
    )  # fmt: skip
    def test_explain_the_outcome(self, state, held, needed):
        deal = Opportunity(state=state, close_reasons=[{"close_reason": name, "note": note} for name, note in held])
        fine = all(
            name != "none"
            and (state == 1 or (name == "won") == (state == 2))
            and not (name == "other" and not note.strip())
            for name, note in held
        ) and len({name for name, _ in held}) == len(held)
        fine = fine and bool(held or state != 3 or not needed)
        assert bool(rules.check_reasons(deal, REASONS, needed=needed)) is not fine
        assert all(reason.weight == 1 for reason in deal.close_reasons)
