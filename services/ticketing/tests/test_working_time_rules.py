"""The algebra of working time."""

from __future__ import annotations

import datetime as dt
import itertools
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kontor_ticketing.working_calendars import public_holidays, rules
from kontor_ticketing.working_calendars.rules import AROUND_THE_CLOCK, DAY, Exceptional, WorkingTime

# With half hours of summer time, at midnight, to the other side of the date line, with rules that changed, and without.
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Santiago",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Pacific/Apia",
    "Asia/Beirut",
]
NINE_TO_FIVE = [(day, 9 * 60, 17 * 60) for day in range(5)]
EPOCH = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)

moments = st.timedeltas(dt.timedelta(days=3653), dt.timedelta(days=12784)).map(lambda age: EPOCH + age)
minutes = st.integers(0, DAY - 1)
amounts = st.timedeltas(dt.timedelta(microseconds=1), dt.timedelta(hours=300))
slots = st.lists(st.tuples(st.integers(0, 6), minutes, st.integers(0, DAY)), min_size=1, max_size=12)
hours = st.lists(st.tuples(minutes, st.integers(1, DAY)), max_size=3).map(
    lambda spans: rules.merge([(start, max(start + 1, end)) for start, end in spans])
)
exceptions = st.dictionaries(
    st.tuples(st.sampled_from([0, 2012, 2024]), st.integers(1, 12), st.integers(1, 28)),
    hours.map(lambda spans: Exceptional("agreed", spans)),
    max_size=5,
)
holidays = st.sampled_from([("", ""), ("DE", "BY"), ("US", ""), ("IT", "")]).map(
    lambda place: public_holidays.holidays_of(*place) if place[0] else None
)
working_times = st.builds(
    WorkingTime,
    zone=st.sampled_from(ZONES).map(ZoneInfo),
    week=slots.map(rules.hours_of_week),
    holiday=holidays,
    exceptions=exceptions,
)


def berlin(*when: int) -> dt.datetime:
    return dt.datetime(*when, tzinfo=ZoneInfo("Europe/Berlin"))


def office(slots=NINE_TO_FIVE, zone="Europe/Berlin", **more) -> WorkingTime:
    return WorkingTime(ZoneInfo(zone), rules.hours_of_week(slots), **more)


def hours_between(w, start, end) -> float:
    return rules.between(w, start, end) / dt.timedelta(hours=1)


class TestProperties:
    @given(working_times, moments, amounts)
    @settings(max_examples=150, deadline=None)
    def test_adding_and_then_measuring_gives_what_was_added(self, w, start, amount):
        try:
            end = rules.add(w, start, amount)
        except rules.NeverWorked:
            assume(False)
        assert rules.between(w, start, end) == amount

    @given(working_times, moments, amounts)
    @settings(max_examples=60, deadline=None)
    def test_what_is_added_is_over_at_the_first_such_moment(self, w, start, amount):
        try:
            end = rules.add(w, start, amount)
        except rules.NeverWorked:
            assume(False)
        assert rules.between(w, start, end - dt.timedelta(microseconds=1)) < amount

    @given(
        working_times, moments, st.lists(st.timedeltas(dt.timedelta(), dt.timedelta(days=40)), min_size=2, max_size=2)
    )
    @settings(max_examples=100, deadline=None)
    def test_measuring_adds_up_and_never_goes_back(self, w, start, steps):
        middle, end = start + steps[0], start + steps[0] + steps[1]
        first, second = rules.between(w, start, middle), rules.between(w, middle, end)
        assert rules.between(w, start, end) == first + second
        assert dt.timedelta() <= first <= middle - start

    @given(working_times, moments, st.timedeltas(dt.timedelta(), dt.timedelta(days=60)))
    @settings(max_examples=100, deadline=None)
    def test_intervals_lie_without_gap_and_count_what_is_measured(self, w, start, length):
        end = start + length
        found = list(rules.intervals(w, start, end))
        edges = [start, *(interval.end for interval in found)]
        assert [interval.start for interval in found] == edges[:-1]
        assert edges[-1] == end
        assert all(interval.start < interval.end for interval in found)
        assert sum((i.end - i.start for i in found if i.counted), dt.timedelta()) == rules.between(w, start, end)
        assert all(one[2:] != other[2:] for one, other in itertools.pairwise(found))

    @given(working_times, moments, st.integers(0, 60 * 24 * 5))
    @settings(max_examples=40, deadline=None)
    def test_a_minute_counts_when_the_clock_on_the_wall_shows_working_hours(self, w, start, length):
        """Against a counter that knows nothing of slots, days and changes: it looks at the clock every minute."""
        start = start.replace(second=0, microsecond=0)
        counted = 0
        for number in range(length):
            wall = (start + dt.timedelta(minutes=number)).astimezone(w.zone)
            spans = w.day(wall.date())[0]
            counted += any(first <= wall.hour * 60 + wall.minute < last for first, last in spans)
        assert rules.between(w, start, start + dt.timedelta(minutes=length)) == dt.timedelta(minutes=counted)

    @given(moments, amounts)
    @settings(max_examples=20, deadline=None)
    def test_around_the_clock_is_time_itself(self, start, amount):
        assert rules.add(AROUND_THE_CLOCK, start, amount) == start + amount


class TestHours:
    def test_lie_over_a_weekend(self):
        assert rules.add(office(), berlin(2024, 6, 7, 16), dt.timedelta(hours=2)) == berlin(2024, 6, 10, 10)

    def test_end_with_the_day_and_not_with_the_next_morning(self):
        assert rules.add(office(), berlin(2024, 6, 7, 16), dt.timedelta(hours=1)) == berlin(2024, 6, 7, 17)

    def test_leave_out_lunch(self):
        split = office([(day, *span) for day in range(5) for span in ((540, 720), (780, 1020))])
        assert rules.add(split, berlin(2024, 6, 5, 11, 30), dt.timedelta(hours=1)) == berlin(2024, 6, 5, 13, 30)

    def test_of_a_night_begin_on_one_day_and_end_on_the_next(self):
        night = office([(4, 22 * 60, 6 * 60)])
        assert hours_between(night, berlin(2024, 6, 7, 0), berlin(2024, 6, 10, 0)) == 8
        assert rules.add(night, berlin(2024, 6, 7, 23), dt.timedelta(hours=3)) == berlin(2024, 6, 8, 2)

    def test_of_sunday_night_reach_into_the_week(self):
        assert hours_between(office([(6, 22 * 60, 6 * 60)]), berlin(2024, 6, 10, 0), berlin(2024, 6, 10, 12)) == 6

    @pytest.mark.parametrize("end", [0, DAY], ids=["until 00:00", "until 24:00"])
    def test_may_take_the_whole_day(self, end):
        assert rules.hours_of_week([(2, 0, end)])[2] == ((0, DAY),)

    def test_that_overlap_count_once(self):
        assert rules.hours_of_week([(0, 540, 720), (0, 600, 660), (0, 720, 780)])[0] == ((540, 780),)

    @pytest.mark.parametrize(
        ("day", "expected"), [((2024, 3, 31), 23), ((2024, 10, 27), 25), ((2024, 2, 29), 24)], ids=str
    )
    def test_of_a_day_are_those_that_pass(self, day, expected):
        start = berlin(*day)
        assert hours_between(office([(d, 0, DAY) for d in range(7)]), start, start + dt.timedelta(days=1)) == expected

    def test_that_the_clock_skips_are_not_worked(self):
        early = office([(6, 120, 240)])
        assert hours_between(early, berlin(2024, 3, 31), berlin(2024, 4, 1)) == 1
        assert hours_between(early, berlin(2024, 10, 27), berlin(2024, 10, 28)) == 3

    def test_of_a_day_that_never_was_are_not_worked(self):
        """Samoa went to bed on Thursday and rose on Saturday."""
        apia = office([(4, 0, DAY)], "Pacific/Apia")
        assert not rules.between(apia, dt.datetime(2011, 12, 26, tzinfo=dt.UTC), dt.datetime(2012, 1, 1, tzinfo=dt.UTC))

    def test_over_years_are_counted(self):
        assert hours_between(office(), berlin(2001, 1, 1), berlin(2031, 1, 1)) == 7827 * 8

    @pytest.mark.parametrize(
        "w", [office([]), office([], exceptions={(2024, 6, 8): Exceptional("once", ((540, 600),))})], ids=["no", "few"]
    )
    def test_that_never_come_are_told_of(self, w):
        with pytest.raises(rules.NeverWorked, match="are worked within ten years"):
            rules.add(w, berlin(2024, 6, 7), dt.timedelta(hours=2))


class TestDays:
    def test_that_are_public_holidays_are_not_worked(self):
        bavarian = office(holiday=public_holidays.holidays_of("DE", "BY"))
        assert rules.add(bavarian, berlin(2024, 3, 28, 16), dt.timedelta(hours=2)) == berlin(2024, 4, 2, 10)
        found = list(rules.intervals(bavarian, berlin(2024, 3, 29), berlin(2024, 3, 30)))
        assert [(i.reason, i.rule) for i in found] == [(rules.HOLIDAY, "Good Friday")]

    def test_are_holidays_where_they_are_kept(self):
        day = dt.date(2024, 11, 1)
        assert public_holidays.holidays_of("DE", "BY")(day) == "All Saints' Day"
        assert not public_holidays.holidays_of("DE", "BE")(day)

    def test_with_other_hours_go_before_holidays(self):
        fair = {(2024, 3, 29): Exceptional("Fair", ((600, 720),)), (0, 12, 24): Exceptional("Christmas Eve")}
        w = office(holiday=public_holidays.holidays_of("DE", "BY"), exceptions=fair)
        assert hours_between(w, berlin(2024, 3, 29), berlin(2024, 4, 1)) == 2
        found = list(rules.intervals(w, berlin(2024, 3, 29), berlin(2024, 3, 29, 11)))
        assert [(i.counted, i.reason, i.rule) for i in found] == [
            (False, rules.EXCEPTION, "Fair"),
            (True, rules.EXCEPTIONAL_HOURS, "Fair"),
        ]
        assert not rules.between(w, berlin(2025, 12, 24), berlin(2025, 12, 25))
        assert hours_between(w, berlin(2025, 12, 23), berlin(2025, 12, 24)) == 8
