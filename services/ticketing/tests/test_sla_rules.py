"""Clocks: what they count, what they wait for, and what they never forget."""

from __future__ import annotations

import datetime as dt
import itertools
from dataclasses import replace
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kontor_ticketing.sla_policies import rules
from kontor_ticketing.sla_policies.rules import (
    BREACHED,
    CANCELLED,
    CLOSED,
    FIRST_RESPONSE,
    MET,
    PAUSED,
    PENDING,
    RESOLUTION,
    RUNNING,
    SOLVED,
    History,
    Terms,
    Version,
)
from kontor_ticketing.working_calendars import rules as calendars

NEW, OPEN = 1, 2
NORMAL, URGENT = 2, 4
HOUR = dt.timedelta(hours=1)
STEP = dt.timedelta(minutes=5)

OFFICE = calendars.WorkingTime(
    ZoneInfo("Europe/Berlin"), calendars.hours_of_week([(day, 9 * 60, 17 * 60) for day in range(5)])
)
NIGHTS = calendars.WorkingTime(
    ZoneInfo("Europe/Berlin"), calendars.hours_of_week([(day, 20 * 60, 4 * 60) for day in range(7)])
)


def at(*when: int) -> dt.datetime:
    """Return a moment of June 2024 in Berlin; the 7th is a Friday."""
    return dt.datetime(2024, 6, *when, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(dt.UTC)


def version(first=4, resolution=8, *, working=OFFICE, **more) -> Version:
    targets = {FIRST_RESPONSE: first * HOUR, RESOLUTION: resolution * HOUR}
    return Version("slaPolicies/1", 1, "Gold", "Munich", working, {0: targets, **more.pop("own", {})}, **more)


def history(*spans, terms=None, **more) -> History:
    return History(spans, terms or [Terms(spans[0][1], NORMAL, version())], **more)


def clock(metric, told, *when):
    found = rules.run(metric, told, at(*when))
    assert found is not None
    return found


class TestFirstResponse:
    def test_is_due_in_working_time(self):
        running = clock(FIRST_RESPONSE, history((NEW, at(7, 15))), 7, 16)
        assert (running.state, running.due, running.elapsed) == (RUNNING, at(10, 11), HOUR)

    def test_is_met_by_an_answer(self):
        met = clock(FIRST_RESPONSE, history((NEW, at(7, 15)), answer=at(10, 10)), 12, 9)
        assert (met.state, met.stop, met.elapsed, met.due) == (MET, at(10, 10), 3 * HOUR, at(10, 11))

    def test_is_met_by_an_answer_that_sets_the_ticket_to_pending_at_once(self):
        told = history((NEW, at(7, 9)), (PENDING, at(7, 10)), answer=at(7, 10))
        assert clock(FIRST_RESPONSE, told, 7, 10).state == MET
        assert clock(RESOLUTION, told, 7, 10).state == PAUSED

    def test_does_not_wait_for_the_customer_whom_nobody_answered(self):
        told = history((NEW, at(7, 9)), (PENDING, at(7, 10)))
        assert clock(FIRST_RESPONSE, told, 7, 12).due == at(7, 13)

    def test_is_met_by_the_solution(self):
        assert clock(FIRST_RESPONSE, history((NEW, at(7, 9)), (SOLVED, at(7, 10))), 8, 9).state == MET

    def test_stays_missed_when_the_answer_comes_late(self):
        late = clock(FIRST_RESPONSE, history((NEW, at(7, 9)), answer=at(7, 14)), 7, 15)
        assert (late.state, late.breached, late.stop) == (BREACHED, at(7, 13), at(7, 14))

    def test_does_not_go_on_when_the_ticket_is_opened_again(self):
        told = history((NEW, at(7, 9)), (SOLVED, at(7, 10)), (OPEN, at(10, 9)))
        assert clock(FIRST_RESPONSE, told, 20, 9).state == MET


class TestResolution:
    def test_waits_while_the_ticket_is_pending(self):
        told = history((NEW, at(6, 9)), (PENDING, at(6, 12)))
        waiting = clock(RESOLUTION, told, 20, 9)
        assert (waiting.state, waiting.due, waiting.due_soon, waiting.elapsed) == (PAUSED, None, None, 3 * HOUR)

    def test_goes_on_with_what_is_left(self):
        told = history((NEW, at(6, 9)), (PENDING, at(6, 12)), (OPEN, at(10, 16)))
        assert clock(RESOLUTION, told, 10, 16).due == at(11, 13)

    def test_pause_is_measured_in_working_time_and_never_moves_the_deadline_into_a_weekend(self):
        """A pause over a weekend takes as much working time as lies in it: none, where nothing is worked."""
        told = history((NEW, at(7, 15)), (PENDING, at(7, 17)), (OPEN, at(9, 20)))
        assert (
            clock(RESOLUTION, told, 10, 9).due == clock(RESOLUTION, history((NEW, at(7, 15))), 7, 16).due == at(10, 15)
        )

    def test_counts_on_where_the_policy_says_so(self):
        terms = [Terms(at(6, 9), NORMAL, version(counts_pending=True))]
        told = history((NEW, at(6, 9)), (PENDING, at(6, 12)), terms=terms)
        assert clock(RESOLUTION, told, 6, 13).due == at(6, 17)

    def test_is_met_when_solved_in_time_and_stays_so_when_closed_later(self):
        told = history((NEW, at(6, 9)), (SOLVED, at(6, 12)), (CLOSED, at(20, 12)))
        met = clock(RESOLUTION, told, 21, 9)
        assert (met.state, met.stop, met.elapsed) == (MET, at(6, 12), 3 * HOUR)

    def test_time_solved_does_not_count_when_it_is_opened_again(self):
        told = history((NEW, at(6, 9)), (SOLVED, at(6, 12)), (OPEN, at(12, 9)))
        again = clock(RESOLUTION, told, 12, 9)
        assert (again.state, again.elapsed, again.due) == (RUNNING, 3 * HOUR, at(12, 14))

    def test_is_not_missed_at_once_when_it_is_opened_again(self):
        told = history((NEW, at(6, 9)), (SOLVED, at(6, 16, 59)), (OPEN, at(20, 9)))
        assert clock(RESOLUTION, told, 20, 9).state == RUNNING
        assert clock(RESOLUTION, told, 20, 9, 2).breached == at(20, 9, 1)

    def test_what_was_missed_stays_missed(self):
        told = history((NEW, at(6, 9)), (SOLVED, at(7, 12)), (OPEN, at(10, 9)), (SOLVED, at(10, 10)))
        assert (clock(RESOLUTION, told, 11, 9).state, clock(RESOLUTION, told, 11, 9).breached) == (BREACHED, at(6, 17))

    def test_is_missed_in_the_night_after_the_last_hour(self):
        told = history((NEW, at(6, 9)), (SOLVED, at(6, 20)))
        assert clock(RESOLUTION, told, 7, 9).breached == at(6, 17)
        assert clock(RESOLUTION, history((NEW, at(6, 9)), (SOLVED, at(6, 17))), 7, 9).state == MET

    def test_counts_no_more_when_the_ticket_is_merged(self):
        told = history((NEW, at(6, 9)), (CLOSED, at(6, 12)), merged=True)
        for metric in rules.METRICS:
            assert (clock(metric, told, 20, 9).state, clock(metric, told, 20, 9).breached) == (CANCELLED, None)

    def test_stays_met_or_missed_when_the_ticket_is_merged_afterwards(self):
        solved = history((NEW, at(6, 9)), (SOLVED, at(6, 12)), (CLOSED, at(6, 13)), merged=True)
        assert clock(RESOLUTION, solved, 20, 9).state == MET
        answered = history((NEW, at(6, 9)), (CLOSED, at(7, 12)), merged=True, answer=at(6, 10))
        assert clock(FIRST_RESPONSE, answered, 20, 9).state == MET
        assert clock(RESOLUTION, answered, 20, 9).state == BREACHED


class TestTerms:
    def test_earlier_pauses_are_kept_when_the_policy_changes(self):
        first, second = version(), replace(version(resolution=10), number=2)
        told = history(
            (NEW, at(6, 9)),
            (PENDING, at(6, 11)),
            (OPEN, at(10, 9)),
            terms=[Terms(at(6, 9), NORMAL, first), Terms(at(10, 11), NORMAL, second)],
        )
        changed = clock(RESOLUTION, told, 10, 11)
        assert (changed.elapsed, changed.due) == (4 * HOUR, at(10, 17))

    def test_earlier_pauses_are_kept_also_by_terms_that_know_none(self):
        told = history(
            (NEW, at(6, 9)),
            (PENDING, at(6, 11)),
            (OPEN, at(10, 9)),
            terms=[Terms(at(6, 9), NORMAL, version()), Terms(at(10, 9), NORMAL, version(counts_pending=True))],
        )
        assert clock(RESOLUTION, told, 10, 9).elapsed == 2 * HOUR

    def test_hold_by_priority(self):
        own = {URGENT: {RESOLUTION: 2 * HOUR}}
        told = history((NEW, at(6, 9)), terms=[Terms(at(6, 9), URGENT, version(own=own))])
        assert clock(RESOLUTION, told, 6, 9).due == at(6, 11)
        assert rules.run(FIRST_RESPONSE, told, at(6, 9)) is None

    def test_that_are_tighter_do_not_make_what_is_past_late(self):
        """Three hours were counted when two became all there is: it is late from then on, and not an hour ago."""
        own = {URGENT: {RESOLUTION: 2 * HOUR}}
        terms = [Terms(at(6, 9), NORMAL, version(own=own)), Terms(at(6, 12), URGENT, version(own=own))]
        told = history((NEW, at(6, 9)), terms=terms)
        assert clock(RESOLUTION, told, 6, 12).state == RUNNING
        assert clock(RESOLUTION, told, 6, 13).breached == at(6, 12)
        in_time = history((NEW, at(6, 9)), (SOLVED, at(6, 11)), terms=terms)
        assert clock(RESOLUTION, in_time, 6, 13).state == MET

    def test_that_are_looser_do_not_undo_what_was_missed(self):
        terms = [Terms(at(6, 9), NORMAL, version(resolution=1)), Terms(at(6, 12), NORMAL, version(resolution=80))]
        assert clock(RESOLUTION, history((NEW, at(6, 9)), terms=terms), 6, 13).breached == at(6, 10)

    def test_that_promise_nothing_count_as_those_that_follow(self):
        terms = [Terms(at(6, 9), NORMAL, None), Terms(at(6, 12), NORMAL, version())]
        assert rules.run(RESOLUTION, history((NEW, at(6, 9)), terms=terms[:1]), at(6, 13)) is None
        assert clock(RESOLUTION, history((NEW, at(6, 9)), terms=terms), 6, 13).due == at(6, 17)

    def test_that_come_to_an_end_leave_only_what_was_missed(self):
        ends = [Terms(at(6, 9), NORMAL, version(resolution=5)), Terms(at(6, 12), NORMAL, None)]
        assert rules.run(RESOLUTION, history((NEW, at(6, 9)), terms=ends), at(6, 16)) is None
        missed = [Terms(at(6, 9), NORMAL, version(resolution=2)), Terms(at(6, 12), NORMAL, None)]
        assert clock(RESOLUTION, history((NEW, at(6, 9)), terms=missed), 6, 16).breached == at(6, 11)

    def test_warn_as_early_as_they_say(self):
        terms = [Terms(at(7, 15), NORMAL, version(warning_lead=2 * HOUR))]
        running = clock(RESOLUTION, history((NEW, at(7, 15)), terms=terms), 7, 16)
        assert (running.due_soon, running.due) == (at(10, 13), at(10, 15))
        assert clock(FIRST_RESPONSE, history((NEW, at(7, 15)), terms=terms), 7, 16).due_soon == at(7, 17)


class TestExplanation:
    def test_names_each_interval_and_the_rule(self):
        told = history((NEW, at(7, 15)), (PENDING, at(7, 16)), (OPEN, at(10, 10)), (SOLVED, at(10, 11)))
        found = [
            (each.start, each.counted, each.reason, each.rule, each.elapsed)
            for each in rules.explain(RESOLUTION, told, at(10, 11))
        ]
        assert found == [
            (at(7, 15), True, calendars.WORKING_HOURS, "Munich", HOUR),
            (at(7, 16), False, rules.WAITED, "PENDING pauses by Gold, version 1", HOUR),
            (at(10, 10), True, calendars.WORKING_HOURS, "Munich", 2 * HOUR),
        ]


versions = st.sampled_from(
    [
        None,
        version(1, 2),
        version(3, 30),
        version(2, 9, working=NIGHTS, counts_pending=True),
        version(5, 6, working=calendars.AROUND_THE_CLOCK),
    ]
)
steps = st.integers(0, 12 * 24 * 4)
gaps = steps.map(lambda number: number * STEP)


@st.composite
def histories(draw):
    start = at(3, 9) + draw(gaps)
    spans, terms = [(NEW, start)], [Terms(start, NORMAL, draw(versions))]
    moment = start
    for category in draw(st.lists(st.sampled_from([OPEN, PENDING, SOLVED]), max_size=4)):
        moment += draw(gaps)
        if category != spans[-1][0]:
            spans.append((category, moment))
    moment = start
    for found in draw(st.lists(versions, max_size=2)):
        moment += draw(gaps)
        terms.append(Terms(moment, NORMAL, found))
    answer = start + draw(gaps) if draw(st.booleans()) else None
    return History(spans, terms, answer=answer), max(spans[-1][1], terms[-1].since, answer or start) + draw(gaps)


def with_a_watch(metric, told, now):
    """Count as somebody would who looks at a watch again and again: elapsed time, and when it was too late."""

    def latest(pairs, moment):
        return [what for since, what in pairs if since <= moment][-1]

    stop = rules.stopped(metric, told)
    spans, terms = [(since, category) for category, since in told.spans], [(t.since, t) for t in told.terms]
    elapsed, late, moment = dt.timedelta(), None, told.spans[0][1]
    while moment < min(now, stop or now):
        promised = latest(terms, moment)
        after, before = (
            [t.version for _, t in terms if t.since > moment],
            [t.version for _, t in terms if t.since <= moment],
        )
        by = next(filter(None, [promised.version, *after, *reversed(before)]), None)
        category = latest(spans, moment)
        waits = category == SOLVED or (category == PENDING and metric == RESOLUTION and by and not by.counts_pending)
        target = promised.target(metric)
        if target is not None and not waits and elapsed >= target and late is None:
            late = moment
        if by and not waits:
            wall = moment.astimezone(by.working.zone)
            elapsed += STEP * any(
                start <= wall.hour * 60 + wall.minute < end for start, end in by.working.week[wall.weekday()]
            )
        moment += STEP
    return elapsed, late


class TestProperties:
    @given(histories(), st.sampled_from(rules.METRICS))
    @settings(max_examples=120, deadline=None)
    def test_a_clock_shows_what_somebody_with_a_watch_sees(self, drawn, metric):
        told, now = drawn
        shown = rules.run(metric, told, now)
        elapsed, late = with_a_watch(metric, told, now)
        if shown is not None:
            assert (shown.elapsed, shown.breached) == (elapsed, late)
            assert (shown.state == BREACHED) == (late is not None)
        elif any(terms.version for terms in told.terms):
            assert late is None

    @given(histories(), st.sampled_from(rules.METRICS))
    @settings(max_examples=80, deadline=None)
    def test_intervals_count_what_the_clock_shows(self, drawn, metric):
        told, now = drawn
        shown = rules.run(metric, told, now)
        if shown is not None and shown.stop is None:
            found = list(rules.explain(metric, told, now))
            assert sum((i.end - i.start for i in found if i.counted), dt.timedelta()) == shown.elapsed
            assert all(one.end == other.start for one, other in itertools.pairwise(found))

    @given(histories(), steps, steps)
    @settings(max_examples=80, deadline=None)
    def test_a_pause_never_brings_a_deadline_forward(self, drawn, after, length):
        told, now = drawn
        told = History([(NEW, told.spans[0][1])], [told.terms[0]])
        start = told.spans[0][1] + after * STEP
        paused = replace(told, spans=[*told.spans, (PENDING, start), (OPEN, start + length * STEP)])
        now = max(now, start + length * STEP)
        for metric in rules.METRICS:
            without, with_pause = rules.run(metric, told, now), rules.run(metric, paused, now)
            if without is not None:
                assert with_pause.due >= without.due

    @given(histories(), st.sampled_from(rules.METRICS), gaps)
    @settings(max_examples=80, deadline=None)
    def test_terms_that_are_said_again_change_nothing(self, drawn, metric, gap):
        told, now = drawn
        again = Terms(told.terms[-1].since + gap, NORMAL, told.terms[-1].version)
        shown = rules.run(metric, told, now + gap)
        assert rules.run(metric, replace(told, terms=[*told.terms, again]), now + gap) == shown


def ticket(**fields):
    usual = {"type": 1, "priority": NORMAL, "queue": "", "account": "", "tags": []}
    return SimpleNamespace(**{**usual, **fields})


def policy(name, order=0, **conditions):
    none = dict.fromkeys(("ticket_types", "priorities", "queues", "accounts", "tags"), ())
    return SimpleNamespace(name=name, order=order, standard=not conditions, **{**none, **conditions})


class TestChoice:
    @pytest.mark.parametrize(
        ("given_ticket", "expected"),
        [
            (ticket(), "standard"),
            (ticket(type=5), "complaints"),
            (ticket(type=5, tags=["vip", "x"]), "vip"),
            (ticket(type=1, tags=["vip"]), "standard"),
            (ticket(account="accounts/1", priority=URGENT), "urgent"),
            (ticket(account="accounts/1"), "standard"),
        ],
        ids=["nothing", "type", "first that fits", "all must fit", "several", "one is not enough"],
    )
    def test_falls_on_the_first_that_fits_and_on_the_standard_last(self, given_ticket, expected):
        policies = [
            policy("standard"),
            policy("complaints", 3, ticket_types=[5]),
            policy("vip", 2, ticket_types=[5, 2], tags=["vip"]),
            policy("urgent", 1, accounts=["accounts/1"], priorities=[URGENT]),
        ]
        assert rules.choose(policies, given_ticket).name == expected

    def test_falls_on_none_where_none_fits(self):
        assert rules.choose([policy("complaints", ticket_types=[5])], ticket()) is None
