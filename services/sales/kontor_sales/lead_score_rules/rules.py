"""What leads get points for, and what is left of them after a while.

The score of a lead is the sum of its parts, each in whole points: what is shown always adds up.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kontor_kit.errors import Violation
from kontor_sales.lead_conditions import rules as conditions

DAY: Final = dt.timedelta(days=1)
STATE_ACTIVE: Final = 1
"""As LeadScoreRule.State."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A score rule that is used; see the message LeadScoreRule."""

    name: str
    display_name: str
    points: int
    event_type: str = ""
    repeatable: bool = False
    group: str = ""
    half_life_days: int = 0
    start: dt.datetime | None = None
    end: dt.datetime | None = None
    fits: Callable[[Any], bool] = lambda lead: True
    """Whether its conditions hold of a lead."""

    def covers(self, time: dt.datetime) -> bool:
        """Tell whether a time lies in the rule's period."""
        return (self.start is None or self.start <= time) and (self.end is None or time < self.end)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a lead."""

    type: str
    time: dt.datetime


@dataclass(frozen=True, slots=True)
class Part:
    """Points of one rule for one event, or for what the lead is."""

    rule: Rule
    since: dt.datetime
    age_days: float
    points: int
    """What is left of them."""


def normalise(rule: Any) -> list[Violation]:
    """Bring the message of a score rule into its normal form, in place, and return what is wrong with it."""
    found = conditions.check(rule.conditions, scores=False)
    if not rule.display_name.strip():
        found.append(Violation("display_name", "must not be blank"))
    if rule.repeatable and not rule.event_type:
        found.append(Violation("repeatable", "is for rules with an event_type"))
    if rule.HasField("start_time") and rule.HasField("end_time"):
        start, end = (getattr(rule, name).ToNanoseconds() for name in ("start_time", "end_time"))
        if end <= start:
            found.append(Violation("end_time", "must be later than start_time"))
    rule.state = rule.state or STATE_ACTIVE
    return found


def left(points: int, age_days: float, half_life_days: int) -> int:
    """Return what is left of points after so many days, in whole points; a half goes away from zero."""
    if half_life_days == 0 or age_days <= 0:
        return points
    size: int = math.floor(abs(points) * 0.5 ** (age_days / half_life_days) + 0.5)
    return size if points >= 0 else -size


def parts(
    rules: Iterable[Rule], lead: Any, created: dt.datetime, events: Sequence[Event], at: dt.datetime
) -> list[Part]:
    """Return what a lead's score at a time is made of; what happened later does not count."""
    found: list[Part] = []
    for rule in rules:
        if not rule.fits(lead):
            continue
        if rule.event_type:
            times = sorted(
                event.time for event in events if event.type == rule.event_type and event.time <= at
                and rule.covers(event.time)
            )  # fmt: skip
            since = times if rule.repeatable else times[-1:]
        else:
            since = [max(created, rule.start or created)] if created <= at and rule.covers(at) else []
        for time in since:
            age = (at - time) / DAY
            found.append(Part(rule, time, age, left(rule.points, age, rule.half_life_days)))
    return found


def total(found: Iterable[Part]) -> int:
    """Return the score."""
    return sum(part.points for part in found)


def by_group(found: Iterable[Part]) -> list[tuple[str, int]]:
    """Return the score of each group, by name; points without a group are in none."""
    sums: Counter[str] = Counter()
    for part in found:
        if part.rule.group:
            sums[part.rule.group] += part.points
    return sorted(sums.items())


def next_look(rules: Iterable[Rule], found: Iterable[Part], at: dt.datetime) -> dt.datetime | None:
    """Return when the score has to be looked at again though nothing happens; None where time changes nothing.

    Points decay a little all the time: once a day is often enough.
    """
    moments = [time for rule in rules for time in (rule.start, rule.end) if time is not None and time > at]
    if any(part.rule.half_life_days and part.points for part in found):
        moments.append(at + DAY)
    return min(moments, default=None)
