"""What an activity must be like, how it goes on, and when it stands in whose calendar."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from kontor_kit import normal_forms
from kontor_kit.errors import FailedPrecondition, Violation

TASK, CALL, MEETING, VISIT, EMAIL, LETTER, MESSAGE, VIDEO_CONFERENCE = range(1, 9)
"""As Activity.Type."""
PLANNED, HELD, NOT_HELD, CANCELLED = range(1, 5)
"""As Activity.State."""
NORMAL: Final = 2
"""As Activity.Priority."""
NEEDS_ACTION, ACCEPTED, DECLINED, TENTATIVE = range(1, 5)
"""As Activity.Participation."""
FREE, BUSY, MAYBE_BUSY = range(3)
"""What an entry of a calendar says of somebody."""
UTC: Final = "UTC"

_WORDS: Final = {PLANNED: "planned", HELD: "held", NOT_HELD: "not held", CANCELLED: "called off"}
_STEPS: Final = {
    HELD: frozenset((PLANNED, NOT_HELD)),
    NOT_HELD: frozenset((PLANNED,)),
    CANCELLED: frozenset((PLANNED,)),
    PLANNED: frozenset((HELD, NOT_HELD, CANCELLED)),
}
_TYPED: Final = {
    "direction": frozenset((CALL, EMAIL, LETTER, MESSAGE)),
    "phone_number": frozenset((CALL,)),
    "conference_uri": frozenset((MEETING, VIDEO_CONFERENCE)),
    "channel": frozenset((MESSAGE,)),
}
"""The fields that only some types have."""
_MET: Final = frozenset((MEETING, VISIT, VIDEO_CONFERENCE))
_WHEN: Final = ("start_time", "end_time", "time_zone", "all_day")
_TOLD: Final = (*_WHEN, "subject", "description", "location", "conference_uri", "state", "organizer")
"""What the invited are told again where it changes."""


class Entry(NamedTuple):
    """When an activity stands in the calendar of a user, and what that says of them."""

    start: dt.datetime
    end: dt.datetime
    busy: int


def normalise(activity: Any) -> list[Violation]:
    """Bring the message of an activity into its normal form, in place, and return what is wrong with it."""
    found: list[Violation] = []
    if not activity.subject.strip():
        found.append(Violation("subject", "must not be blank"))
    activity.priority = activity.priority or NORMAL
    activity.time_zone = activity.time_zone or UTC
    zone = list(normal_forms.normalise_field(activity, "time_zone", normal_forms.time_zone))
    found += zone or _check_times(activity)
    found += _check_due(activity)
    for name, types in _TYPED.items():
        if getattr(activity, name) and activity.type not in types:
            found.append(Violation(name, "is nothing that an activity of this type has"))
    found += normal_forms.normalise_field(activity, "phone_number", normal_forms.phone)
    found += normal_forms.normalise_field(activity, "conference_uri", normal_forms.website)
    if activity.HasField("organizer"):
        found += normal_forms.normalise_field(activity.organizer, "email", normal_forms.email, "organizer.email")
    found += _normalise_attendees(activity.attendees)
    return found


def _check_times(activity: Any) -> Iterator[Violation]:
    if not activity.HasField("start_time"):
        if activity.HasField("end_time"):
            yield Violation("end_time", "needs a start_time")
        if activity.all_day:
            yield Violation("all_day", "needs a start_time")
        if activity.type in _MET and not activity.HasField("held_time"):
            yield Violation("start_time", "is required for an activity of this type")
        return
    if not activity.HasField("end_time"):
        activity.end_time.CopyFrom(activity.start_time)
    start, end = time_of(activity.start_time), time_of(activity.end_time)
    if start is None or end is None:
        yield Violation("start_time" if start is None else "end_time", "must be a time between the years 1900 and 9998")
    elif activity.all_day:
        yield from _check_days(start, end, zoneinfo.ZoneInfo(activity.time_zone))
    elif end < start:
        yield Violation("end_time", "must not be earlier than start_time")


def _check_due(activity: Any) -> Iterator[Violation]:
    if activity.HasField("due_date"):
        due = activity.due_date
        try:
            dt.date(due.year, due.month, due.day)
        except ValueError:
            yield Violation("due_date", "must be a whole date: a year, a month and a day that exist")


def _check_days(start: dt.datetime, end: dt.datetime, zone: dt.tzinfo) -> Iterator[Violation]:
    for name, moment in (("start_time", start), ("end_time", end)):
        if midnight(moment.astimezone(zone).date(), zone) != moment:
            yield Violation(name, "must be midnight in time_zone where whole days are taken")
    if end <= start:
        yield Violation("end_time", "must be later than start_time")


def time_of(stamp: Any) -> dt.datetime | None:
    """Return the time of a Timestamp in UTC; None where it is not between the years 1900 and 9998.

    Outside of these a time of one zone is no time in another, or no program reads it.
    """
    try:
        moment: dt.datetime = stamp.ToDatetime(dt.UTC)
    except (ValueError, OverflowError):
        return None
    return moment if 1900 <= moment.year <= 9998 else None


def midnight(day: dt.date, zone: dt.tzinfo) -> dt.datetime:
    """Return when `day` begins in `zone`, in UTC: where clocks skip midnight, when they do."""
    return dt.datetime.combine(day, dt.time(), zone).astimezone(dt.UTC)


def _normalise_attendees(attendees: Any) -> Iterator[Violation]:
    seen: set[str] = set()
    for place, attendee in enumerate(attendees):
        path = f"attendees[{place}]"
        yield from normal_forms.normalise_field(attendee, "email", normal_forms.email, f"{path}.email")
        if attendee.user and attendee.contact:
            yield Violation(f"{path}.contact", "cannot stand beside a user")
        identities = {name for name in (attendee.user, attendee.contact, attendee.email.lower()) if name}
        if not identities:
            yield Violation(path, "needs a user, a contact or an e-mail address")
        if identities & seen:
            yield Violation(path, "is invited already")
        seen |= identities
        attendee.participation = attendee.participation or NEEDS_ACTION


def identity(attendee: Any) -> str:
    """Return what tells an attendee from the others."""
    return attendee.user or attendee.contact or attendee.email.lower()  # type: ignore[no-any-return]


def agenda_time(activity: Any, created: dt.datetime) -> dt.datetime:
    """Return when an activity stands in a list: at its start, at the end of the day when it is due, when it was made."""
    if activity.HasField("start_time"):
        return activity.start_time.ToDatetime(dt.UTC)  # type: ignore[no-any-return]
    if activity.HasField("held_time"):
        return activity.held_time.ToDatetime(dt.UTC)  # type: ignore[no-any-return]
    if activity.HasField("due_date"):
        due = activity.due_date
        day = dt.date(due.year, due.month, due.day)
        if 1900 <= day.year <= 9998:
            return midnight(day + dt.timedelta(days=1), zoneinfo.ZoneInfo(activity.time_zone))
    return created


def follow_changes(before: Any, after: Any) -> None:
    """Ask the invited again where the time changed, and raise the sequence where they are to be told, in place."""
    if any(getattr(before, name) != getattr(after, name) for name in _WHEN):
        known = {identity(attendee): attendee.participation for attendee in before.attendees}
        for attendee in after.attendees:
            # Who said something in the same change, or made it, is not asked.
            if attendee.participation == known.get(identity(attendee)) and attendee.user != after.owner:
                attendee.participation = NEEDS_ACTION
    invited = [{identity(attendee) for attendee in activity.attendees} for activity in (before, after)]
    if invited[0] != invited[1] or any(getattr(before, name) != getattr(after, name) for name in _TOLD):
        after.sequence = before.sequence + 1


def check_step(before: int, after: int) -> None:
    """Raise FailedPrecondition where an activity in the state `before` cannot come into `after`."""
    if before not in _STEPS[after]:
        raise FailedPrecondition(
            f"an activity that is {_WORDS[before]} cannot become one that is {_WORDS[after]}", reason="WRONG_STATE"
        )


def check_held(activity: Any, now: dt.datetime) -> Iterator[Violation]:
    """Yield what is wrong with when an activity took place."""
    if activity.state != HELD:
        if activity.HasField("held_time"):
            yield Violation("held_time", "is there only where the activity was held")
        return
    held = time_of(activity.held_time) if activity.HasField("held_time") else None
    if held is None:
        yield Violation("held_time", "must be a time between the years 1900 and 9998")
    elif held > now:
        yield Violation("held_time", "must not lie in the future")


def resets(before: Any | None, after: Any) -> set[str]:
    """Return the accounts whose clocks a change moves: those that were heard of, or are no longer."""
    moments = [_heard(activity) if activity is not None else None for activity in (before, after)]
    if before is not None and moments[0] == moments[1]:
        return set()
    if before is None and after.type != TASK and after.state == HELD and after.account:
        return {after.account}
    return {moment[0] for moment in moments if moment is not None}


def _heard(activity: Any) -> tuple[str, int, int] | None:
    if activity.state != HELD or activity.type == TASK or not activity.account or activity.HasField("delete_time"):
        return None
    return activity.account, activity.type, activity.held_time.ToNanoseconds()


def held_at(activity: Any, given: dt.datetime | None, now: dt.datetime) -> dt.datetime:
    """Return when an activity took place: when it is said to, else when it was to end, if that has passed, else now."""
    if given is not None:
        return given
    end = time_of(activity.end_time) if activity.HasField("end_time") else None
    return min(end, now) if end is not None else now


def entries(activity: Any) -> dict[str, Entry]:
    """Return when the activity stands in whose calendar, by user.

    It stands in that of its owner and of the invited who have not declined, as long as it takes place. A task without
    a time stands where it is due, and keeps nobody busy.
    """
    if activity.state not in (PLANNED, HELD) or activity.HasField("delete_time"):
        return {}
    if activity.HasField("start_time"):
        start, end = activity.start_time.ToDatetime(dt.UTC), activity.end_time.ToDatetime(dt.UTC)
    elif activity.HasField("due_date"):
        start = end = activity.agenda_time.ToDatetime(dt.UTC)
    else:
        return {}
    free = activity.transparent or start == end
    found: dict[str, Entry] = {}
    for attendee in activity.attendees:
        if attendee.user and attendee.participation != DECLINED:
            busy = BUSY if attendee.participation == ACCEPTED else MAYBE_BUSY
            found[attendee.user] = Entry(start, end, FREE if free else busy)
    declined = {attendee.user for attendee in activity.attendees if attendee.participation == DECLINED}
    if activity.owner and activity.owner not in found:
        found[activity.owner] = Entry(start, end, FREE if free or activity.owner in declined else BUSY)
    return found


def follow_lead(activity: Any, lead: Any, owner: str) -> None:
    """Point an activity about a lead to what was made of the lead, in place; a planned one goes to `owner`.

    Where it points already it stays, and what is over stays with whoever did it.
    """
    activity.account = activity.account or lead.account
    activity.opportunity = activity.opportunity or lead.opportunity
    if lead.contact and lead.contact not in activity.contacts:
        activity.contacts.append(lead.contact)
    if activity.state == PLANNED and owner:
        activity.owner = owner


def same_report(activity: Any, request: Any) -> bool:
    """Tell whether a report says what the activity was reported on with already."""
    return (
        activity.outcome == request.outcome
        and list(activity.needs) == list(request.needs)
        and list(activity.competitor_sightings) == list(request.competitor_sightings)
    )
