"""How often an account is to be heard of, and whom to visit on which day; with the reasons, which anybody can add up."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from kontor_kit.errors import Violation

ANY: Final = 0
"""As Activity.Type: the channel of whatever is no task."""
VISIT: Final = 4
TIERS: Final = range(5)
ROLES: Final = range(10)
"""As CareCadence.Tier and CareCadence.Role; 0 is not said."""
USUAL_DAYS: Final = 30
USUAL_PER_DAY: Final = 4
WORKDAYS: Final = (1, 2, 3, 4, 5)
MOST_DAYS: Final = 60
MOST_VISITS: Final = 200
SOON: Final = dt.timedelta(days=30)
"""An opportunity that closes within so many days of the first day is worth a visit."""

CADENCE, OPPORTUNITY, OVERDUE_TASKS, TERRITORY = range(1, 5)
"""As VisitPlan.Reason.Code."""
_DUE: Final = 40
_LATE: Final = 40
_DEAL: Final = 20
_MOST_DEALS: Final = 2
_TASK: Final = 5
_MOST_TASKS: Final = 4
_HOME: Final = 5
_AREA: Final = 2
"""Accounts whose postal codes begin with the same so many characters are near each other."""


class CareClass(NamedTuple):
    """A kind of account, and how often there is to be an activity of one type with it."""

    channel: int
    tier: int
    role: int
    days: int
    cadence: str


class Candidate(NamedTuple):
    """An account that could be visited, and what is known of it."""

    account: str
    display_name: str
    due: dt.date | None = None
    """When the next visit is due; None where no cadence asks for one."""
    days: int = 0
    """How often there is to be one."""
    closing: tuple[dt.date, ...] = ()
    """When the user's open opportunities with it are to close."""
    overdue_tasks: int = 0
    territory: str = ""
    """What the user's territory is called that it belongs to."""
    area: str = ""


class Reason(NamedTuple):
    """What speaks for a visit."""

    code: int
    points: int
    message: str


class Visit(NamedTuple):
    """Whom to visit when, and why."""

    account: str
    display_name: str
    date: dt.date
    reasons: tuple[Reason, ...]
    day_reason: str

    @property
    def score(self) -> int:
        """How much speaks for it."""
        return sum(reason.points for reason in self.reasons)


def normalise(cadence: Any) -> list[Violation]:
    """Bring the message of a cadence into its normal form, in place, and return what is wrong with it."""
    found: list[Violation] = []
    if not cadence.display_name.strip():
        found.append(Violation("display_name", "must not be blank"))
    seen: set[int] = set()
    for place, channel in enumerate(cadence.channels):
        channel.every_days = channel.every_days or USUAL_DAYS
        if channel.type in seen:
            found.append(Violation(f"channels[{place}].type", "comes twice"))
        seen.add(channel.type)
    return found


def fitting(cadences: Iterable[Any], tier: int, role: int) -> Any | None:
    """Return the cadence that fits accounts of this tier and role most closely, of several alike the latest; or None."""
    fits = [one for one in cadences if one.tier in (0, tier) and one.role in (0, role)]
    return max(fits, key=lambda one: (one.role != 0, one.tier != 0, _key(one.name)), default=None)


def care_classes(cadences: Sequence[Any], channel: int | None = None) -> list[CareClass]:
    """Return the kinds of accounts that cadences are for; those with one channel where it is given."""
    found: list[CareClass] = []
    for tier in TIERS:
        for role in ROLES:
            cadence = fitting(cadences, tier, role)
            if cadence is None:
                continue
            for one in cadence.channels:
                if channel is None or one.type == channel:
                    found.append(CareClass(one.type, tier, role, one.every_days, cadence.name))
    return found


def visit_days(cadence: Any | None) -> tuple[int, int]:
    """Return which clock a visit is due by, and after how many days: of visits, else of anything; 0 days where by none."""
    days = {channel.type: channel.every_days for channel in cadence.channels} if cadence is not None else {}
    return next(((channel, days[channel]) for channel in (VISIT, ANY) if channel in days), (VISIT, 0))


def reasons(candidate: Candidate, start: dt.date, end: dt.date) -> list[Reason]:
    """Return what speaks for a visit between two days; nothing does where it could wait."""
    found: list[Reason] = []
    if candidate.due is not None and candidate.due <= end:
        late = max(0, (start - candidate.due).days)
        # Late by a whole interval counts twice what is merely due.
        points = _DUE + min(_LATE, _LATE * late // candidate.days)
        how = f"overdue for {late} days" if late else f"due on {candidate.due}"
        found.append(Reason(CADENCE, points, f"A visit every {candidate.days} days is {how}."))
    closing = sorted(day for day in candidate.closing if day <= start + SOON)
    if closing:
        points = _DEAL * min(len(closing), _MOST_DEALS)
        what = "An opportunity closes" if len(closing) == 1 else f"{len(closing)} opportunities close, the first"
        found.append(Reason(OPPORTUNITY, points, f"{what} on {closing[0]}."))
    if candidate.overdue_tasks:
        number = candidate.overdue_tasks
        points = _TASK * min(number, _MOST_TASKS)
        found.append(Reason(OVERDUE_TASKS, points, f"{number} {'task is' if number == 1 else 'tasks are'} overdue."))
    if found and candidate.territory:
        found.append(Reason(TERRITORY, _HOME, f"Belongs to the territory {candidate.territory}."))
    return found


def wanted_day(candidate: Candidate, start: dt.date, end: dt.date) -> dt.date:
    """Return the last day on which a visit is in time: when it is due, and before the first opportunity closes."""
    latest = [candidate.due] if candidate.due is not None and candidate.due <= end else []
    latest += [day - dt.timedelta(days=1) for day in candidate.closing if day <= start + SOON]
    # Tasks are overdue: as soon as can be.
    return min(max(min(latest, default=start), start), end)


def plan(
    candidates: Iterable[Candidate], start: dt.date, end: dt.date, room: Mapping[dt.date, int]
) -> tuple[list[Visit], int]:
    """Return the visits by day, and how many accounts found no place.

    `room` says how many visits fit into each day on which any do. What most speaks for chooses first: a day in time on
    which somebody near is visited, else the last day in time, else the first one after it. The same candidates in any
    order come to the same plan.
    """
    scored = [(candidate, reasons(candidate, start, end)) for candidate in candidates]
    worth = [(candidate, tuple(found)) for candidate, found in scored if found]
    worth.sort(key=lambda one: (-sum(r.points for r in one[1]), one[0].due or end, one[0].account))
    left = {day: places for day, places in room.items() if places > 0 and start <= day <= end}
    areas: dict[dt.date, set[str]] = {}
    visits: list[Visit] = []
    for candidate, found in worth[:MOST_VISITS]:
        wanted = wanted_day(candidate, start, end)
        if not left:
            break
        day = min(left, key=lambda day: _distance(day, wanted, candidate.area in areas.get(day, ())))
        visits.append(
            Visit(candidate.account, candidate.display_name, day, found, _why(day, wanted, candidate, areas.get(day)))
        )
        if candidate.area:
            areas.setdefault(day, set()).add(candidate.area)
        left[day] -= 1
        if not left[day]:
            del left[day]
    visits.sort(key=lambda visit: (visit.date, -visit.score, visit.account))
    return visits, len(worth) - len(visits)


def _distance(day: dt.date, wanted: dt.date, near: bool) -> tuple[bool, bool, int]:
    return day > wanted, not near, abs((wanted - day).days)


def _why(day: dt.date, wanted: dt.date, candidate: Candidate, areas: Collection[str] | None) -> str:
    if candidate.area and areas and candidate.area in areas:
        return f"Somebody near is visited that day; it is in time until {wanted}."
    if day == wanted:
        return "It is the last day in time."
    return f"It is the first day with room after {wanted}." if day > wanted else f"There is no room on {wanted}."


def room(
    start: dt.date, end: dt.date, weekdays: Collection[int], per_day: int, taken: Mapping[dt.date, int]
) -> dict[dt.date, int]:
    """Return how many visits fit into each day; `taken` says how many are planned, or that a day is not there at all."""
    days = (start + dt.timedelta(days=number) for number in range((end - start).days + 1))
    return {day: max(0, per_day - taken.get(day, 0)) for day in days if day.isoweekday() in weekdays}


def area(region_code: str, postal_code: str) -> str:
    """Return what accounts near each other have in common; empty where it is not known."""
    return f"{region_code}-{postal_code[:_AREA]}" if region_code and postal_code else ""


def _key(name: str) -> uuid.UUID:
    return uuid.UUID(name.rpartition("/")[2])
