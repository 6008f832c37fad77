"""Activities as iCalendar (RFC 5545) and iTIP (RFC 5546), and the merging of busy times."""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import icalendar

from kontor_kit.errors import FailedPrecondition, InvalidArgument
from kontor_sales.activities import rules as activities

MARK: Final = "kontor_cal_"
"""What every key begins with."""
CONTENT_TYPE: Final = "text/calendar; charset=utf-8"
MAX_BYTES: Final = 128 * 1024
"""An answer is a few lines; to take a mebibyte apart takes more than a second."""
DESCRIPTION: Final = 2000
"""So much of a description stands in a calendar; whoever wants more looks it up."""
BUSY, TENTATIVE, UNAVAILABLE = range(1, 4)
"""As QueryFreeBusyResponse.Busy.Type; the later one wins where two overlap, but for what is certain."""

_PRODUCT: Final = "-//Kontor//Kontor CRM//EN"
_PREFIX_LENGTH: Final = len(MARK) + 6
_PARTSTAT: Final = {
    activities.NEEDS_ACTION: "NEEDS-ACTION",
    activities.ACCEPTED: "ACCEPTED",
    activities.DECLINED: "DECLINED",
    activities.TENTATIVE: "TENTATIVE",
}
_PARTICIPATION: Final = {text: number for number, text in _PARTSTAT.items()}
_KINDS: Final = {
    activities.TASK: "Task",
    activities.CALL: "Call",
    activities.MEETING: "Meeting",
    activities.VISIT: "Visit",
    activities.EMAIL: "E-mail",
    activities.LETTER: "Letter",
    activities.MESSAGE: "Message",
    activities.VIDEO_CONFERENCE: "Conference",
}
_PRIORITIES: Final = {1: 9, 2: 5, 3: 1}
_COMMENT: Final = 2000


class Busy(NamedTuple):
    """A time in which somebody is not free."""

    start: dt.datetime
    end: dt.datetime
    type: int


class Reply(NamedTuple):
    """What somebody who is invited answered."""

    participation: int
    comment: str


# Keys of feeds.


def new_key() -> str:
    """Return a key that nobody can guess."""
    return MARK + secrets.token_urlsafe(32)


def digest(key: str) -> bytes:
    """Return what is kept of a key; it is too long to be found by trying."""
    return hashlib.sha256(key.encode()).digest()


def prefix_of(key: str) -> str:
    """Return what of a key may be shown to people."""
    return key[:_PREFIX_LENGTH]


# What programs read.


def feed(display_name: str, shown: Iterable[Any], *, busy_only: bool) -> bytes:
    """Return the calendar of somebody."""
    calendar = _calendar("PUBLISH")
    calendar.add("name", _text(display_name))
    calendar.add("x-wr-calname", _text(display_name))
    calendar.add("refresh-interval", dt.timedelta(minutes=15), parameters={"VALUE": "DURATION"})
    for activity in shown:
        # A task that is due says nothing of when its owner is busy.
        if not busy_only:
            calendar.add_component(_component(activity))
        elif activity.HasField("start_time"):
            calendar.add_component(_hidden(activity))
    return _written(calendar)


def invitation(activity: Any) -> bytes:
    """Return what the invited are to be sent; raises FailedPrecondition where nobody invites, or is invited."""
    if not activity.HasField("organizer") or not activity.attendees:
        what = "attendees" if activity.HasField("organizer") else "organizer"
        raise FailedPrecondition(f"the activity has no {what}", reason="NOBODY_INVITED")
    if not activity.HasField("start_time"):
        raise FailedPrecondition("the activity has no start_time", reason="NOBODY_INVITED")
    calendar = _calendar("CANCEL" if activity.state == activities.CANCELLED else "REQUEST")
    calendar.add_component(_component(activity))
    return _written(calendar)


def free_busy(calendars: Mapping[str, Sequence[Busy]], start: dt.datetime, end: dt.datetime, now: dt.datetime) -> bytes:
    """Return a VFREEBUSY of each user."""
    calendar = _calendar("PUBLISH")
    kinds = {BUSY: "BUSY", TENTATIVE: "BUSY-TENTATIVE", UNAVAILABLE: "BUSY-UNAVAILABLE"}
    for user, times in calendars.items():
        found = icalendar.FreeBusy()
        found.add("uid", f"{user.rpartition('/')[2]}-{start:%Y%m%dT%H%M%SZ}-{end:%Y%m%dT%H%M%SZ}")
        found.add("dtstamp", now)
        found.add("dtstart", start)
        found.add("dtend", end)
        found.add("organizer", _address(user, ""))
        for busy in times:
            found.add("freebusy", (busy.start, busy.end), parameters={"FBTYPE": kinds[busy.type]})
        calendar.add_component(found)
    return _written(calendar)


def _written(calendar: icalendar.Calendar) -> bytes:
    text: bytes = calendar.to_ical()
    return text


def _calendar(method: str) -> icalendar.Calendar:
    calendar = icalendar.Calendar()
    calendar.add("version", "2.0")
    calendar.add("prodid", _PRODUCT)
    calendar.add("method", method)
    return calendar


def uid(activity: Any) -> str:
    """Return what an activity is called in every calendar, for ever."""
    return activity.name.rpartition("/")[2]  # type: ignore[no-any-return]


def _component(activity: Any) -> icalendar.Event | icalendar.Todo:
    is_event = activity.HasField("start_time")
    found: icalendar.Event | icalendar.Todo = icalendar.Event() if is_event else icalendar.Todo()
    _identify(found, activity)
    found.add("sequence", activity.sequence)
    found.add("created", activity.create_time.ToDatetime(dt.UTC))
    found.add("last-modified", activity.update_time.ToDatetime(dt.UTC))
    found.add("summary", _text(activity.subject))
    found.add("categories", [_KINDS[activity.type]])
    found.add("priority", _PRIORITIES[activity.priority])
    for name, value in (("description", activity.description[:DESCRIPTION]), ("location", activity.location)):
        if value:
            found.add(name, _text(value))
    if activity.conference_uri:
        found.add("url", activity.conference_uri)
    if is_event:
        _place(found, activity)
        found.add("status", "CANCELLED" if activity.state == activities.CANCELLED else "CONFIRMED")
    else:
        _place_task(found, activity)
    if activity.HasField("organizer"):
        organizer = activity.organizer
        found.add("organizer", _address(organizer.email, organizer.display_name))
    for attendee in activity.attendees:
        found.add("attendee", _attendee(attendee))
    return found


def _hidden(activity: Any) -> icalendar.Event:
    event = icalendar.Event()
    _identify(event, activity)
    event.add("summary", "Busy")
    event.add("class", "PRIVATE")
    _place(event, activity)
    return event


def _identify(found: Any, activity: Any) -> None:
    found.add("uid", uid(activity))
    found.add("dtstamp", activity.update_time.ToDatetime(dt.UTC))


def _place(event: Any, activity: Any) -> None:
    start, end = activity.start_time.ToDatetime(dt.UTC), activity.end_time.ToDatetime(dt.UTC)
    if activity.all_day:
        zone = zoneinfo.ZoneInfo(activity.time_zone)
        event.add("dtstart", start.astimezone(zone).date())
        event.add("dtend", end.astimezone(zone).date())
    else:
        # Moments are the same everywhere: in UTC they need no rules of zones, which change. To a second, as the format
        # has them.
        event.add("dtstart", start.replace(microsecond=0))
        if end > start:
            event.add("dtend", end.replace(microsecond=0))
    event.add("transp", "TRANSPARENT" if activity.transparent else "OPAQUE")


def _place_task(todo: Any, activity: Any) -> None:
    if activity.HasField("due_date"):
        due = activity.due_date
        todo.add("due", dt.date(due.year, due.month, due.day))
    if activity.state == activities.HELD:
        todo.add("status", "COMPLETED")
        todo.add("completed", activity.held_time.ToDatetime(dt.UTC))
    else:
        todo.add("status", "CANCELLED" if activity.state == activities.CANCELLED else "NEEDS-ACTION")


def _attendee(attendee: Any) -> icalendar.vCalAddress:
    address = _address(attendee.email or attendee.user or attendee.contact, attendee.display_name)
    address.params["PARTSTAT"] = icalendar.vText(_PARTSTAT[attendee.participation])
    address.params["ROLE"] = icalendar.vText("OPT-PARTICIPANT" if attendee.optional else "REQ-PARTICIPANT")
    address.params["RSVP"] = icalendar.vText("TRUE")
    return address


def _address(place: str, display_name: str) -> icalendar.vCalAddress:
    """Return a calendar address: of an e-mail address, or of a user or contact of whom none is known."""
    uri = f"mailto:{place}" if "@" in place else f"urn:uuid:{place.rpartition('/')[2]}"
    address = icalendar.vCalAddress(uri)
    if display_name:
        # A parameter has no way to say a quote, or a line break.
        address.params["CN"] = icalendar.vText(" ".join(_text(display_name).replace('"', "'").split()))
    return address


def _text(text: str) -> str:
    """Return a text without what no calendar may have: control characters other than tabs and line breaks."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(sign for sign in lines if sign in "\t\n" or (sign >= " " and not "\x7f" <= sign <= "\x9f"))


# What programs send.


def read_reply(data: bytes, activity: Any) -> dict[str, Reply]:
    """Return what a REPLY says of the attendees of an activity, by `identity`.

    Raises InvalidArgument where it is none, answers something else or an older version, or where somebody answers who
    is not invited.
    """
    if len(data) > MAX_BYTES:
        raise _wrong(f"must not be longer than {MAX_BYTES} bytes")
    try:
        calendars = icalendar.Calendar.from_ical(data, multiple=True)
        methods = [str(calendar.get("method", "")).upper() for calendar in calendars]
        components = [found for calendar in calendars for found in calendar.subcomponents]
        answers = [found for found in components if found.name in ("VEVENT", "VTODO")]
    except Exception as error:
        # The library raises whatever the text makes it stumble over; none of it is ours.
        raise _wrong("is no calendar (RFC 5545)") from error
    if not methods or set(methods) != {"REPLY"}:
        raise _wrong("METHOD must be REPLY (RFC 5546)")
    if not answers:
        raise _wrong("has no VEVENT or VTODO")
    replies: dict[str, Reply] = {}
    for answer in answers:
        replies |= _read_answer(answer, activity)
    return replies


def _read_answer(answer: Any, activity: Any) -> dict[str, Reply]:
    if str(answer.get("uid", "")) != uid(activity):
        raise _wrong(f"UID must be {uid(activity)}, the activity that is answered")
    try:
        sequence = int(answer.get("sequence", 0))
    except (TypeError, ValueError):
        raise _wrong("SEQUENCE must be a number") from None
    if sequence != activity.sequence:
        relation = "an older version" if sequence < activity.sequence else "a version that is not there"
        raise _wrong(f"SEQUENCE {sequence} is of {relation}; the activity's is {activity.sequence}")
    given = answer.get("attendee")
    addresses = given if isinstance(given, list) else [given] if given is not None else []
    if not addresses:
        raise _wrong("ATTENDEE is missing")
    invited = {_uri(attendee): attendee for attendee in activity.attendees}
    comment = answer.get("comment", "")
    comment = " ".join(map(str, comment)) if isinstance(comment, list) else str(comment)
    replies: dict[str, Reply] = {}
    for address in addresses:
        attendee = invited.get(str(address).strip().lower())
        if attendee is None:
            raise _wrong("ATTENDEE is nobody who is invited")
        said = str(getattr(address, "params", {}).get("PARTSTAT", "NEEDS-ACTION")).upper()
        if said not in _PARTICIPATION:
            raise _wrong(f"PARTSTAT must be one of {', '.join(_PARTICIPATION)}")
        replies[activities.identity(attendee)] = Reply(_PARTICIPATION[said], _text(comment)[:_COMMENT])
    return replies


def _uri(attendee: Any) -> str:
    return str(_address(attendee.email or attendee.user or attendee.contact, "")).lower()


def _wrong(text: str) -> InvalidArgument:
    return InvalidArgument(("reply.data", text))


# Busy times.


def merge(times: Iterable[Busy], start: dt.datetime, end: dt.datetime) -> list[Busy]:
    """Return when somebody is not free between `start` and `end`: in order, without overlaps, none empty.

    Where times overlap, being away counts most, then what is certain, then what may be; what touches and is of the same
    type is one time.
    """
    inside = [Busy(max(one.start, start), min(one.end, end), one.type) for one in times]
    inside = [one for one in inside if one.start < one.end]
    edges = sorted({moment for one in inside for moment in (one.start, one.end)})
    begins: dict[dt.datetime, list[int]] = {}
    ends: dict[dt.datetime, list[int]] = {}
    for one in inside:
        begins.setdefault(one.start, []).append(one.type)
        ends.setdefault(one.end, []).append(one.type)
    running = {BUSY: 0, TENTATIVE: 0, UNAVAILABLE: 0}
    found: list[Busy] = []
    for place, moment in enumerate(edges[:-1]):
        for kind in begins.get(moment, ()):
            running[kind] += 1
        for kind in ends.get(moment, ()):
            running[kind] -= 1
        kind = next((kind for kind in (UNAVAILABLE, BUSY, TENTATIVE) if running[kind]), 0)
        if not kind:
            continue
        if found and found[-1].end == moment and found[-1].type == kind:
            found[-1] = found[-1]._replace(end=edges[place + 1])
        else:
            found.append(Busy(moment, edges[place + 1], kind))
    return found
