"""The algebra of working time: how much of it lies between two moments, and when an amount of it is over.

A moment is worked when the clock on the wall, in the calendar's zone, reads a time within the hours of its day: those of
the week, none on a public holiday, and those agreed for the day where there is an exception, which goes before both.
What is counted is time that passes: a night in which clocks are put forward is an hour shorter.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from kontor_kit import normal_forms
from kontor_kit.errors import Violation

DAY: Final = 24 * 60
"""In minutes."""
HORIZON: Final = dt.timedelta(days=3653)
"""How far ahead a deadline may lie."""

WORKING_HOURS: Final = 1
EXCEPTIONAL_HOURS: Final = 2
OUTSIDE_HOURS: Final = 3
HOLIDAY: Final = 4
EXCEPTION: Final = 5
"""As ExplainDeadlineResponse.Interval.Reason."""

_NONE: Final = dt.timedelta()
_ONE_DAY: Final = dt.timedelta(days=1)

Hours = tuple[tuple[int, int], ...]
"""Spans of a day in minutes since midnight, without overlap, in order."""


class NeverWorked(ValueError):
    """There is not as much working time as asked for within the horizon."""


class Exceptional(NamedTuple):
    """A day for which other hours were agreed."""

    display_name: str
    hours: Hours = ()


class Interval(NamedTuple):
    """A span of time that is worked, or is not."""

    start: dt.datetime
    end: dt.datetime
    counted: bool
    reason: int
    rule: str


@dataclass(frozen=True)
class WorkingTime:
    """Which time is worked."""

    zone: ZoneInfo
    week: tuple[Hours, ...]
    """The hours of each day, from Monday on; see `hours_of_week`."""
    holiday: Callable[[dt.date], str] | None = None
    """Returns what a public holiday is called, and of other days nothing; None where no holidays are kept."""
    exceptions: Mapping[tuple[int, int, int], Exceptional] = field(default_factory=dict)
    """By year, month and day; those of every year have the year 0."""

    def day(self, day: dt.date) -> tuple[Hours, int, str]:
        """Return the hours of a day, the reason of what is within them, or outside where there are none, and its rule."""
        found = self.exceptions.get((day.year, day.month, day.day)) or self.exceptions.get((0, day.month, day.day))
        if found:
            return found.hours, EXCEPTIONAL_HOURS, found.display_name
        if self.holiday is not None and (called := self.holiday(day)):
            return (), HOLIDAY, called
        return self.week[day.weekday()], WORKING_HOURS, ""


AROUND_THE_CLOCK: Final = WorkingTime(ZoneInfo("UTC"), (((0, DAY),),) * 7)


def hours_of_week(slots: list[tuple[int, int, int]]) -> tuple[Hours, ...]:
    """Return the hours of each day, from Monday on, of slots: weekday (Monday is 0), start and end in minutes.

    An end that is not after the start lies on the day after. Slots may overlap.
    """
    days: list[list[tuple[int, int]]] = [[] for _ in range(7)]
    for weekday, start, end in slots:
        if start < end:
            days[weekday].append((start, end))
        else:
            days[weekday].append((start, DAY))
            days[(weekday + 1) % 7].append((0, end))
    return tuple(map(merge, days))


def merge(spans: list[tuple[int, int]]) -> Hours:
    """Return spans without overlap, in order, those that touch as one."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif start < end:
            merged.append((start, end))
    return tuple(merged)


def between(w: WorkingTime, start: dt.datetime, end: dt.datetime) -> dt.timedelta:
    """Return the working time from `start` to `end`; none where `end` is not later."""
    worked = _NONE
    for day in _days(w, start, end):
        worked += day.worked()
    return worked


def add(w: WorkingTime, start: dt.datetime, amount: dt.timedelta) -> dt.datetime:
    """Return the first moment, not before `start`, at which `amount` of working time has passed since.

    Raises NeverWorked where that is not so within the horizon.
    """
    if amount <= _NONE:
        return start
    left = amount
    for day in _days(w, start, start + HORIZON):
        worked = day.worked()
        if worked >= left:
            return day.moment(left)
        left -= worked
    raise NeverWorked(f"only {amount - left} of {amount} are worked within ten years from {start:%Y-%m-%d}")


def intervals(w: WorkingTime, start: dt.datetime, end: dt.datetime) -> Iterator[Interval]:
    """Yield intervals from `start` to `end` without gap, each counted or not for one reason."""
    last: Interval | None = None
    for span in (span for day in _days(w, start, end) for span in day.spans()):
        if last is not None and last[2:] == span[2:]:
            last = last._replace(end=span.end)
            continue
        if last is not None:
            yield last
        last = span
    if last is not None:
        yield last


class _Day(NamedTuple):
    """A day, or a part of one in which the zone's offset stays the same: all by the clock on the wall."""

    midnight: dt.datetime
    start: dt.datetime
    end: dt.datetime
    offset: dt.timedelta
    hours: Hours
    reason: int
    rule: str

    def worked(self) -> dt.timedelta:
        """Return how much of it is worked."""
        if self.end - self.start == _ONE_DAY:
            return dt.timedelta(minutes=sum(end - start for start, end in self.hours))
        return sum((span.end - span.start for span in self.spans() if span.counted), _NONE)

    def moment(self, worked: dt.timedelta) -> dt.datetime:
        """Return when so much of it has been worked; there must be as much."""
        for span in self.spans():
            if span.counted:
                if worked <= span.end - span.start:
                    return span.start + worked
                worked -= span.end - span.start
        raise AssertionError("there is less")

    def spans(self) -> Iterator[Interval]:
        """Yield what it consists of, in UTC."""
        outside = {HOLIDAY: HOLIDAY, EXCEPTIONAL_HOURS: EXCEPTION}.get(self.reason, OUTSIDE_HOURS)
        at = self.start
        for minutes in (*self.hours, (DAY, DAY)):
            start, end = (min(self.midnight + dt.timedelta(minutes=minute), self.end) for minute in minutes)
            if at < start:
                yield self._interval(at, start, (False, outside, self.rule))
            at = max(at, start)
            if at < end:
                yield self._interval(at, end, (True, self.reason, self.rule))
            at = max(at, end)

    def _interval(self, start: dt.datetime, end: dt.datetime, rest: tuple[bool, int, str]) -> Interval:
        begin, finish = ((moment - self.offset).replace(tzinfo=dt.UTC) for moment in (start, end))
        return Interval(begin, finish, *rest)


def _days(w: WorkingTime, start: dt.datetime, end: dt.datetime) -> Iterator[_Day]:
    start, end = start.astimezone(dt.UTC), end.astimezone(dt.UTC)
    for begin, finish, offset in _offsets(w.zone, start, end):
        # As long as the offset stays, the clock on the wall runs like any other: UTC shifted.
        at, until = begin.replace(tzinfo=None) + offset, finish.replace(tzinfo=None) + offset
        midnight = dt.datetime.combine(at.date(), dt.time())
        while at < until:
            tomorrow = midnight + _ONE_DAY
            yield _Day(midnight, at, min(tomorrow, until), offset, *w.day(midnight.date()))
            at = midnight = tomorrow


def _offsets(
    zone: ZoneInfo, start: dt.datetime, end: dt.datetime
) -> Iterator[tuple[dt.datetime, dt.datetime, dt.timedelta]]:
    """Yield the parts of the time from `start` to `end` in which the zone's offset from UTC stays the same."""
    at = start
    while at < end:
        change = next((found for found in _changes(zone, at.year) if found > at), None)
        until = min(change or dt.datetime(at.year + 1, 1, 1, tzinfo=dt.UTC), end)
        yield at, until, _offset(zone, at)
        at = until


@lru_cache(maxsize=4096)
def _changes(zone: ZoneInfo, year: int) -> tuple[dt.datetime, ...]:
    """Return the moments of a year at which the zone's offset changes; it does so once a day at most."""
    found = []
    at, end = dt.datetime(year, 1, 1, tzinfo=dt.UTC), dt.datetime(year + 1, 1, 1, tzinfo=dt.UTC)
    while at < end:
        before, after = at, at + _ONE_DAY
        if _offset(zone, before) != (new := _offset(zone, after)):
            while after - before > dt.timedelta(seconds=1):
                middle = before + (after - before) // 2
                middle = middle.replace(microsecond=0)
                before, after = (before, middle) if _offset(zone, middle) == new else (middle, after)
            found.append(after)
        at += _ONE_DAY
    return tuple(found)


def _offset(zone: ZoneInfo, moment: dt.datetime) -> dt.timedelta:
    offset = moment.astimezone(zone).utcoffset()
    assert offset is not None, "a zone has an offset"
    return offset


def normalise(calendar: Any) -> list[Violation]:
    """Bring a calendar into its normal form, in place, and return what is wrong with it."""
    violations = [*normal_forms.normalise_field(calendar, "time_zone", normal_forms.time_zone)]
    violations += normal_forms.normalise_field(calendar, "country_code", normal_forms.country)
    if not calendar.display_name.strip():
        violations.append(Violation("display_name", "must not be blank"))
    if calendar.subdivision and not calendar.country_code:
        violations.append(Violation("subdivision", "needs its country_code"))
    for place, slot in enumerate(calendar.slots):
        violations += _check_span(slot, f"slots[{place}]", overnight=True)
    seen: set[tuple[int, int, int]] = set()
    for place, exception in enumerate(calendar.exceptions):
        path = f"exceptions[{place}]"
        day = (exception.date.year, exception.date.month, exception.date.day)
        violations += _check_day(day, f"{path}.date")
        if day in seen:
            violations.append(Violation(f"{path}.date", "stands there twice"))
        seen.add(day)
        for number, hours in enumerate(exception.hours):
            violations += _check_span(hours, f"{path}.hours[{number}]", overnight=False)
    if not violations and not calendar.slots and not any(exception.hours for exception in calendar.exceptions):
        violations.append(Violation("slots", "must not be empty: nothing would ever be worked"))
    return violations


def worked(calendar: Any) -> tuple[Any, ...]:
    """Return what decides about the working time of a calendar's message, and what it is called: to be compared."""
    fields = ("display_name", "time_zone", "slots", "country_code", "subdivision", "exceptions")
    return tuple(list(value) if isinstance(value := getattr(calendar, name), Iterable) else value for name in fields)


def _check_day(day: tuple[int, int, int], path: str) -> list[Violation]:
    year, month, number = day
    try:
        # The 29th of February exists in some years.
        dt.date(year or 2000, month, number)
    except ValueError:
        return [Violation(path, "must be a day that exists")]
    return []


def _check_span(span: Any, path: str, *, overnight: bool) -> list[Violation]:
    violations = []
    for end in ("start", "end"):
        at = getattr(span, end)
        last = DAY if end == "end" else DAY - 1
        whole = at.hours >= 0 and 0 <= at.minutes < 60 and not at.seconds and not at.nanos
        if not whole or _minute(at) > last:
            violations.append(Violation(f"{path}.{end}", "must be a time of day in whole minutes"))
    if not violations and not overnight and _minute(span.end) <= _minute(span.start):
        violations.append(Violation(f"{path}.end", "must be after start"))
    return violations


def _minute(time_of_day: Any) -> int:
    return int(time_of_day.hours * 60 + time_of_day.minutes)


def working_time(calendar: Any, holiday: Callable[[dt.date], str] | None = None) -> WorkingTime:
    """Return the working time of a calendar's message; `holiday` says what a public holiday is called."""
    return WorkingTime(
        zone=ZoneInfo(calendar.time_zone),
        week=hours_of_week([(slot.day - 1, _minute(slot.start), _minute(slot.end)) for slot in calendar.slots]),
        holiday=holiday,
        exceptions={
            (found.date.year, found.date.month, found.date.day): Exceptional(
                found.display_name, merge([(_minute(hours.start), _minute(hours.end)) for hours in found.hours])
            )
            for found in calendar.exceptions
        },
    )
