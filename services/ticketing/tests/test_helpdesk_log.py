"""Deadlines of 4,580 real tickets, against a counter that looks at every minute and knows nothing of the algebra."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import itertools
from array import array
from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest

from kontor_ticketing.sla_policies import rules
from kontor_ticketing.sla_policies.rules import BREACHED, FIRST_RESPONSE, MET, PAUSED, RESOLUTION, RUNNING, History
from kontor_ticketing.ticket_states.rules import CLOSED, NEW, OPEN, PENDING, SOLVED
from kontor_ticketing.working_calendars import public_holidays
from kontor_ticketing.working_calendars import rules as calendars
from tests.real_data import DATA, needs_data

pytestmark = [needs_data, pytest.mark.timeout(120)]

ROME = ZoneInfo("Europe/Rome")
HOURS = [(9 * 60, 13 * 60), (14 * 60, 18 * 60)]
FIRST, LAST = dt.datetime(2010, 1, 1, tzinfo=dt.UTC), dt.datetime(2015, 1, 1, tzinfo=dt.UTC)
HOUR, MINUTE = dt.timedelta(hours=1), dt.timedelta(minutes=1)
TARGETS = {"Value 1": (4, 24), "Value 2": (8, 80), "Value 3": (16, 160), "Value 4": (40, 400)}
"""What is promised by level, in hours: the first response and the solution."""
CATEGORIES = {
    "Insert ticket": NEW,
    "Assign seriousness": NEW,
    "Wait": PENDING,
    "Resolve ticket": SOLVED,
    "Closed": CLOSED,
}
EASTER_MONDAYS = {"2010-04-05", "2011-04-25", "2012-04-09", "2013-04-01", "2014-04-21"}
UNITY = "2011-03-17"
"""Of Italy, 150 years before: kept in that year alone."""
FIXED = {"01-01", "01-06", "04-25", "05-01", "06-02", "08-15", "11-01", "12-08", "12-25", "12-26"}


def tickets():
    """Return of each ticket its level and events: what happened, and when, in UTC and whole minutes."""
    cases = defaultdict(list)
    with gzip.open(DATA / "tickets" / "helpdesk_italian_log.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            moment = dt.datetime.strptime(row["Complete Timestamp"], "%Y/%m/%d %H:%M:%S.%f").replace(tzinfo=ROME)
            minute = moment.astimezone(dt.UTC).replace(second=0, microsecond=0)
            cases[row["Case ID"]].append((row["Activity"], minute, row["service_level"]))
    return [(events[0][2], [event[:2] for event in events]) for events in cases.values()]


def history(level, events) -> History:
    spans = [(NEW, events[0][1])]
    for activity, moment in events:
        category = CATEGORIES.get(activity, OPEN)
        # What is not new any more does not become it again.
        category = OPEN if category == NEW and spans[-1][0] != NEW else category
        if category != spans[-1][0] and spans[-1][0] != CLOSED:
            spans.append((category, moment))
    first, resolution = TARGETS[level]
    version = rules.Version(
        "slaPolicies/1",
        1,
        level,
        "Rome",
        calendars.WorkingTime(
            ROME,
            calendars.hours_of_week([(day, *span) for day in range(5) for span in HOURS]),
            public_holidays.holidays_of("IT", ""),
        ),
        {0: {FIRST_RESPONSE: first * HOUR, RESOLUTION: resolution * HOUR}},
    )
    answer = next((moment for activity, moment in events if activity == "Take in charge ticket"), None)
    return History(spans, [rules.Terms(spans[0][1], 2, version)], answer)


class Minutes:
    """Knows of each minute of five years whether it is worked."""

    def __init__(self) -> None:
        walls = [(FIRST + hour * HOUR).astimezone(ROME) for hour in range(int((LAST - FIRST) / HOUR))]
        minutes = itertools.chain.from_iterable(map(self._hour, walls))
        self.worked = array("i", itertools.accumulate(minutes, initial=0))

    def _hour(self, wall):
        """Return of each minute of an hour whether it is worked."""
        closed = {*EASTER_MONDAYS, UNITY}
        if wall.weekday() > 4 or f"{wall:%m-%d}" in FIXED or f"{wall:%Y-%m-%d}" in closed:
            return [False] * 60
        return [any(start <= wall.hour * 60 + minute < end for start, end in HOURS) for minute in range(60)]

    def at(self, moment) -> int:
        """Return how many minutes were worked since the beginning."""
        return self.worked[int((moment - FIRST) / MINUTE)]

    def when(self, minutes):
        """Return the first moment at which so many minutes were worked."""
        return FIRST + bisect_left(self.worked, minutes) * MINUTE

    def look(self, told: History, metric: int, now):
        """Return how a clock stands: its state, how many minutes are left, and the deadline that holds or was missed."""
        left = told.terms[0].target(metric) // MINUTE
        stop = told.answer if metric == FIRST_RESPONSE else None
        ends = [*(since for _, since in told.spans[1:]), now]
        state, deadline, missed = RUNNING, None, None
        for (category, since), end in zip(told.spans, ends, strict=True):
            if state == MET and metric == FIRST_RESPONSE:
                break
            if category in (SOLVED, CLOSED):
                state = MET
            elif category == PENDING and metric == RESOLUTION:
                state = PAUSED
            else:
                answered = stop is not None and stop <= end
                until = stop if answered else end
                state, deadline = MET if answered else RUNNING, self.when(self.at(since) + left)
                missed = deadline if missed is None and deadline < until else missed
                left -= self.at(until) - self.at(since)
        if missed is not None:
            return BREACHED, left, missed
        return state, left, deadline if state == RUNNING else None


@pytest.fixture(scope="module")
def log():
    return [(history(*each), each[1]) for each in tickets()]


@pytest.fixture(scope="module")
def counter():
    return Minutes()


def as_it_was(told: History, now) -> History:
    """Return what was known of a ticket at some time."""
    spans = [span for span in told.spans if span[1] <= now]
    return replace(told, spans=spans, answer=told.answer if told.answer and told.answer <= now else None)


@pytest.mark.parametrize(
    ("metric", "missed"), [(FIRST_RESPONSE, 1788), (RESOLUTION, 980)], ids=["first response", "resolution"]
)
def test_deadlines_of_all_tickets_are_as_counted_whenever_something_happened(log, counter, metric, missed):
    seen = Counter()
    for told, events in log:
        *moments, last = sorted({moment for _, moment in events})
        for now in [*moments, last, last + dt.timedelta(days=30)]:
            known = as_it_was(told, now)
            shown = rules.run(metric, known, now)
            left = told.terms[0].target(metric) // MINUTE - shown.elapsed // MINUTE
            deadline = None if shown.state == MET else shown.due
            assert (shown.state, left, deadline) == counter.look(known, metric, now)
            seen[shown.state] += 1
        seen["tickets"] += 1
        seen["missed in the end"] += shown.state == BREACHED
    assert min(seen[RUNNING], seen[MET]) > 4000
    assert (seen["tickets"], seen["missed in the end"]) == (4580, missed)
