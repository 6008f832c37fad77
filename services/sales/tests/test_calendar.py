"""Activities as calendars: feeds, invitations and answers, free and busy times."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import zoneinfo

import icalendar
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from kontor.identity.v1 import user_pb2
from kontor.sales.v1 import activity_pb2
from kontor_kit.errors import InvalidArgument
from kontor_kit.ids import uuid7
from kontor_kit.testing.telling import teller
from kontor_sales.activities import rules as activity_rules
from kontor_sales.calendars import rules
from kontor_sales.calendars.rules import BUSY, TENTATIVE, UNAVAILABLE, Busy
from kontor_sales.service import service
from tests.real_data import DATA, needs_data

TASK, MEETING = 1, 3
ACCEPTED, DECLINED = 2, 3
ICS = DATA / "contacts" / "ics"
NOON = dt.datetime(2027, 6, 1, 12, tzinfo=dt.UTC)


def stamp(moment):
    found = Timestamp()
    found.FromDatetime(moment)
    return found


def hours(*numbers):
    return [stamp(NOON + dt.timedelta(hours=number)) for number in numbers]


def meet(caller, begin=0, end=1, **fields):
    start_time, end_time = hours(begin, end)
    times = {"start_time": start_time, "end_time": end_time}
    return caller("CreateActivity", activity={"type": MEETING, "subject": "Secret plans", **times, **fields})


def invite(caller, *attendees):
    return meet(caller, organizer={"email": "anna@example.com", "display_name": "Anna"}, attendees=attendees)


def parsed(body):
    assert body.content_type == "text/calendar; charset=utf-8"
    assert all(len(line) <= 75 for line in body.data.split(b"\r\n"))
    [calendar] = icalendar.Calendar.from_ical(body.data, multiple=True)
    assert calendar["version"] == "2.0"
    assert not any(component.errors for component in calendar.walk())
    return calendar


def reply(activity, address, status="ACCEPTED", **changes):
    lines = {
        "METHOD": "METHOD:REPLY",
        "UID": f"UID:{activity.name.rpartition('/')[2]}",
        "SEQUENCE": f"SEQUENCE:{activity.sequence}",
        "ATTENDEE": f"ATTENDEE;PARTSTAT={status}:mailto:{address}",
        "COMMENT": "COMMENT:With pleasure",
        **changes,
    }
    event = [lines[name] for name in ("UID", "SEQUENCE", "ATTENDEE", "COMMENT") if lines[name]]
    text = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:x", lines["METHOD"], "BEGIN:VEVENT", "DTSTAMP:20260101T000000Z"]
    return "\r\n".join([*text, *event, "END:VEVENT", "END:VCALENDAR", ""]).encode()


def answer(caller, activity, data):
    return caller("ProcessReply", name=activity.name, reply={"content_type": "text/calendar", "data": data})


@pytest.fixture
def tell(server):
    with teller(server, service()) as telling:
        yield telling


class TestFeed:
    def make(self, caller, **fields):
        feed = caller("CreateCalendarFeed", calendar_feed={"user": caller.user, "display_name": "Mine", **fields})
        return feed, caller("RotateCalendarFeedKey", name=feed.name)

    def test_shows_what_its_user_owns_and_is_invited_to(self, anna, server):
        _, made = self.make(anna)
        ben = anna.colleague()
        own = meet(anna, location="Room 1", description="Long " * 4000, time_zone="Europe/Zurich")
        invited = meet(ben, attendees=[{"user": anna.user}])
        task = anna("CreateActivity", activity={"type": TASK, "subject": "Write", "due_date": day(2026, 12, 1)})
        meet(ben)
        meet(ben, attendees=[{"user": anna.user, "participation": DECLINED}])
        anna("CancelActivity", name=meet(anna).name)
        anna("DeleteActivity", name=meet(anna).name)
        calendar = parsed(server.caller()("ReadCalendarFeed", key=made.key))
        shown = {str(found["uid"]): found for found in calendar.subcomponents}
        assert shown.keys() == {activity.name.rpartition("/")[2] for activity in (own, invited, task)}
        event = shown[own.name.rpartition("/")[2]]
        assert (str(event["summary"]), str(event["location"])) == ("Secret plans", "Room 1")
        assert str(event["description"]) == "Long " * 400
        assert (event.decoded("dtstart"), event.decoded("dtend")) == (NOON, NOON + dt.timedelta(hours=1))
        assert shown[task.name.rpartition("/")[2]].name == "VTODO"

    def test_says_only_that_its_user_is_busy_where_that_is_wanted(self, anna):
        _, made = self.make(anna, busy_only=True)
        meet(anna, location="Room 1", attendees=[{"email": "ben@example.com"}])
        body = anna("ReadCalendarFeed", key=made.key)
        assert [str(event["summary"]) for event in parsed(body).events] == ["Busy"]
        for secret in (b"Secret", b"Room", b"ben@"):
            assert secret not in body.data

    def test_takes_whole_days_as_days(self, anna):
        _, made = self.make(anna)
        zone = zoneinfo.ZoneInfo("Europe/Zurich")
        # Of 23 hours: clocks go forward.
        start, end = (stamp(activity_rules.midnight(dt.date(2027, 3, day), zone)) for day in (28, 29))
        fields = {"type": MEETING, "subject": "Fair", "start_time": start, "end_time": end, "all_day": True}
        anna("CreateActivity", activity={**fields, "time_zone": "Europe/Zurich"})
        [event] = parsed(anna("ReadCalendarFeed", key=made.key)).events
        assert (event.decoded("dtstart"), event.decoded("dtend")) == (dt.date(2027, 3, 28), dt.date(2027, 3, 29))

    def test_sequence_rises_and_uid_stays(self, anna):
        _, made = self.make(anna)
        activity = meet(anna)
        seen = []
        for subject in ("A", "B"):
            anna("UpdateActivity", activity={"name": activity.name, "subject": subject})
            [event] = parsed(anna("ReadCalendarFeed", key=made.key)).events
            seen.append((str(event["uid"]), event["sequence"]))
        uid = activity.name.rpartition("/")[2]
        assert seen == [(uid, 1), (uid, 2)]

    def test_a_key_ends_with_the_next_one_when_it_is_revoked_and_with_the_feed(self, anna):
        feed, first = self.make(anna)
        second = anna("RotateCalendarFeedKey", name=feed.name)
        assert anna.refusal("ReadCalendarFeed", key=first.key).code is StatusCode.NOT_FOUND
        assert second.calendar_feed.key_prefix == second.key[:17]
        assert second.path == f"/v1/calendarFeeds/{second.key}:read"
        revoked = anna("RevokeCalendarFeedKey", name=feed.name)
        assert revoked.key_prefix == ""
        assert anna.refusal("ReadCalendarFeed", key=second.key).code is StatusCode.NOT_FOUND
        third = anna("RotateCalendarFeedKey", name=feed.name)
        anna("DeleteCalendarFeed", name=feed.name)
        assert anna.refusal("ReadCalendarFeed", key=third.key).code is StatusCode.NOT_FOUND

    def test_is_its_users_own(self, anna):
        feed, _ = self.make(anna)
        ben = anna.colleague("sales.calendarFeeds.*:own")
        assert ben.refusal("RotateCalendarFeedKey", name=feed.name).code is StatusCode.NOT_FOUND
        refusal = ben.refusal("CreateCalendarFeed", calendar_feed={"display_name": "Hers", "user": anna.user})
        assert refusal.reason == "OUT_OF_SCOPE"

    def test_ends_when_its_user_is_shut_out(self, anna, tell):
        _, made = self.make(anna)
        ben = anna.colleague()
        _, other = self.make(ben)
        tell(
            anna.tenant,
            "kontor.identity.v1.user.deactivated",
            user_pb2.User(name=anna.user, state=user_pb2.User.STATE_DEACTIVATED),
        )
        assert anna.refusal("ReadCalendarFeed", key=made.key).code is StatusCode.NOT_FOUND
        assert ben("ReadCalendarFeed", key=other.key)

    def test_ends_too_where_what_was_told_of_its_user_is_redacted(self, anna, tell):
        _, made = self.make(anna)
        tell(anna.tenant, "kontor.identity.v1.user.deactivated", user_pb2.User(name=anna.user), data=b"")
        assert anna.refusal("ReadCalendarFeed", key=made.key).code is StatusCode.NOT_FOUND

    def test_key_is_kept_nowhere(self, anna, server):
        _, made = self.make(anna)
        with server.database.connect() as connection:
            for table in ("calendar_feeds", "calendar_feed_keys", "change_pending", "requests"):
                rows = connection.execute(f"SELECT t::text FROM {table} t").fetchall()
                assert not [row for row in rows if made.key in row[0] or made.key.encode().hex() in row[0]]


class TestInvitation:
    def test_says_who_is_asked_to_what(self, anna):
        activity = invite(
            anna,
            {"email": "ben@example.com", "display_name": 'Ben "B", Co; KG', "participation": ACCEPTED},
            {"user": f"users/{uuid7()}", "optional": True},
        )
        calendar = parsed(anna("ExportInvitation", name=activity.name))
        [event] = calendar.events
        assert calendar["method"] == "REQUEST"
        assert (str(event["organizer"]), event["sequence"]) == ("mailto:anna@example.com", 0)
        ben, user = event["attendee"]
        assert (str(ben), ben.params["PARTSTAT"], ben.params["CN"]) == (
            "mailto:ben@example.com",
            "ACCEPTED",
            "Ben 'B', Co; KG",
        )
        assert (str(user), user.params["ROLE"]) == (
            f"urn:uuid:{activity.attendees[1].user.rpartition('/')[2]}",
            "OPT-PARTICIPANT",
        )

    def test_is_called_off_with_a_higher_sequence(self, anna):
        activity = invite(anna, {"email": "ben@example.com"})
        anna("CancelActivity", name=activity.name)
        calendar = parsed(anna("ExportInvitation", name=activity.name))
        [event] = calendar.events
        assert (calendar["method"], event["sequence"], str(event["status"])) == ("CANCEL", 1, "CANCELLED")

    @pytest.mark.parametrize("fields", [{}, {"organizer": {"email": "a@b.example"}}], ids=["nobody", "alone"])
    def test_needs_somebody_who_invites_and_is_invited(self, anna, fields):
        assert anna.refusal("ExportInvitation", name=meet(anna, **fields).name).reason == "NOBODY_INVITED"


class TestReply:
    @pytest.mark.parametrize(("status", "number"), [("ACCEPTED", 2), ("DECLINED", 3), ("tentative", 4)])
    def test_says_whether_somebody_takes_part(self, anna, status, number):
        activity = invite(anna, {"email": "Ben@example.com"}, {"email": "cora@example.com"})
        answered = answer(anna, activity, reply(activity, "ben@EXAMPLE.com", status))
        assert [attendee.participation for attendee in answered.attendees] == [number, 1]
        assert answered.attendees[0].comment == "With pleasure"
        # The answer of one makes that of the other no older.
        assert answer(anna, activity, reply(activity, "cora@example.com")).attendees[1].participation == ACCEPTED

    @pytest.mark.parametrize(
        ("changes", "word"),
        [
            ({"UID": f"UID:{uuid7()}"}, "UID"),
            ({"UID": ""}, "UID"),
            ({"SEQUENCE": "SEQUENCE:0"}, "SEQUENCE"),
            ({"SEQUENCE": "SEQUENCE:7"}, "SEQUENCE"),
            ({"SEQUENCE": "SEQUENCE:x"}, "SEQUENCE"),
            ({"ATTENDEE": "ATTENDEE;PARTSTAT=ACCEPTED:mailto:eve@example.com"}, "ATTENDEE"),
            ({"ATTENDEE": ""}, "ATTENDEE"),
            ({"ATTENDEE": "ATTENDEE;PARTSTAT=DELEGATED:mailto:ben@example.com"}, "PARTSTAT"),
            ({"METHOD": "METHOD:REQUEST"}, "METHOD"),
            ({"METHOD": "X-A:b"}, "METHOD"),
        ],
        ids=[
            *("another uid", "no uid", "old", "of the future", "no number"),
            *("a stranger", "nobody", "delegated", "a request", "no method"),
        ],
    )
    def test_is_refused_with_what_is_wrong(self, anna, changes, word):
        activity = invite(anna, {"email": "ben@example.com"})
        activity = anna("UpdateActivity", activity={"name": activity.name, "subject": "Moved"})
        sent = {"content_type": "text/calendar", "data": reply(activity, "ben@example.com", **changes)}
        refusal = anna.refusal("ProcessReply", name=activity.name, reply=sent)
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, ["reply.data"])
        assert word in refusal.violations["reply.data"]

    @pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"BEGIN:VCALENDAR", b"END:VEVENT", b"x" * (128 * 1024 + 1)])
    def test_what_is_no_calendar_is_refused(self, anna, data):
        activity = invite(anna, {"email": "ben@example.com"})
        refusal = anna.refusal("ProcessReply", name=activity.name, reply={"data": data})
        assert refusal.code is StatusCode.INVALID_ARGUMENT

    @given(st.binary(max_size=300), st.integers(0, 400), st.integers(0, 20))
    def test_never_fails_otherwise_whatever_is_sent(self, noise, place, cut):
        activity = activity_pb2.Activity(name=f"activities/{uuid7()}", attendees=[{"email": "ben@example.com"}])
        sent = reply(activity, "ben@example.com")
        with contextlib.suppress(InvalidArgument):
            rules.read_reply(sent[:place] + noise + sent[place + cut :], activity)

    @needs_data
    def test_real_calendars_are_refused_or_taken(self):
        activity = activity_pb2.Activity(name=f"activities/{uuid7()}", attendees=[{"email": "ben@example.com"}])
        files = sorted(ICS.rglob("*.ics"))
        assert files
        for path in files:
            for old, new in ((b"", b""), (b"METHOD:REQUEST", b"METHOD:REPLY"), (b"VERSION:2.0", b"METHOD:REPLY")):
                with pytest.raises(InvalidArgument) as refusal:
                    rules.read_reply(path.read_bytes().replace(old, new) if old else path.read_bytes(), activity)
                assert [field for field, _ in refusal.value.violations] == ["reply.data"]


moments = st.integers(0, 200).map(lambda quarter: NOON + dt.timedelta(minutes=15 * quarter))
busy_times = st.builds(
    lambda one, two, kind: Busy(min(one, two), max(one, two), kind),
    moments,
    moments,
    st.sampled_from([BUSY, TENTATIVE, UNAVAILABLE]),
)


def kind_at(times, moment):
    kinds = {one.type for one in times if one.start <= moment < one.end}
    return next((kind for kind in (UNAVAILABLE, BUSY, TENTATIVE) if kind in kinds), 0)


class TestMerge:
    @given(st.lists(busy_times, max_size=12), moments, moments)
    def test_says_at_every_moment_what_the_times_say(self, times, one, two):
        start, end = min(one, two), max(one, two)
        merged = rules.merge(times, start, end)
        for quarter in range(200):
            moment = NOON + dt.timedelta(minutes=15 * quarter)
            assert kind_at(merged, moment) == (kind_at(times, moment) if start <= moment < end else 0)

    @given(st.lists(busy_times, max_size=12))
    def test_is_in_order_apart_and_as_short_as_it_can_be(self, times):
        merged = rules.merge(times, NOON, NOON + dt.timedelta(days=3))
        assert all(one.start < one.end for one in merged)
        for one, two in itertools.pairwise(merged):
            assert one.end < two.start or (one.end == two.start and one.type != two.type)
        assert rules.merge(merged, NOON, NOON + dt.timedelta(days=3)) == merged

    @given(st.dates(dt.date(1950, 1, 1), dt.date(2090, 1, 1)), st.sampled_from(sorted(zoneinfo.available_timezones())))
    def test_days_follow_one_another_whatever_the_clocks_do(self, day, name):
        zone = zoneinfo.ZoneInfo(name)
        first, second, third = (activity_rules.midnight(day + dt.timedelta(days=n), zone) for n in range(3))
        # A zone that changes its side of the date line leaves a day out.
        assert first <= second <= third
        days = [Busy(first, second, BUSY), Busy(second, third, BUSY)]
        assert rules.merge(days, first, third) == ([Busy(first, third, BUSY)] if first < third else [])


def day(year, month, number):
    return {"year": year, "month": month, "day": number}


class TestFreeBusy:
    def ask(self, caller, *users, begin=-24, end=48):
        start_time, end_time = hours(begin, end)
        response = caller("QueryFreeBusy", users=users, start_time=start_time, end_time=end_time)
        assert [calendar.user for calendar in response.calendars] == [*users]
        return [[(one.start_time, one.end_time, one.type) for one in found.busy] for found in response.calendars]

    def test_tells_when_and_nothing_else(self, anna):
        ben, cora = anna.colleague(), anna.colleague("sales.activities.readFreeBusy:own")
        meet(anna, 0, 2)
        meet(anna, 2, 3, attendees=[{"user": ben.user}])
        meet(ben, 1, 4, transparent=True)
        anna("CancelActivity", name=meet(anna, 5, 6).name)
        accepted = meet(anna, 8, 9, attendees=[{"user": ben.user, "participation": ACCEPTED}])
        start, end = hours(20, 30)
        ben("CreateAbsence", absence={"user": ben.user, "start_time": start, "end_time": end, "reason": "Ill"})
        assert self.ask(cora, anna.user, ben.user) == [
            [(*hours(0, 3), BUSY), (*hours(8, 9), BUSY)],
            [(*hours(2, 3), TENTATIVE), (*hours(8, 9), BUSY), (*hours(20, 30), UNAVAILABLE)],
        ]
        ben("RespondToActivity", name=accepted.name, participation=DECLINED)
        anna("DeleteActivity", name=accepted.name)
        assert self.ask(cora, ben.user) == [[(*hours(2, 3), TENTATIVE), (*hours(20, 30), UNAVAILABLE)]]
        anna("UndeleteActivity", name=accepted.name)
        assert self.ask(cora, anna.user, begin=7) == [[(*hours(8, 9), BUSY)]]
        assert cora.refusal("ListActivities").code is StatusCode.PERMISSION_DENIED

    def test_is_cut_to_the_time_that_was_asked_for(self, anna):
        meet(anna, -100, 100)
        assert self.ask(anna, anna.user, begin=0, end=2) == [[(*hours(0, 2), BUSY)]]

    def test_is_of_the_tenant(self, anna, server):
        meet(anna)
        assert self.ask(server.caller(), anna.user) == [[]]

    def test_is_told_as_a_calendar_too(self, anna):
        meet(anna)
        start_time, end_time = hours(0, 24)
        body = anna("ExportFreeBusy", users=[anna.user], start_time=start_time, end_time=end_time)
        [found] = [component for component in parsed(body).subcomponents if component.name == "VFREEBUSY"]
        assert b"FREEBUSY;FBTYPE=BUSY;VALUE=PERIOD:20270601T120000Z/20270601T130000Z" in body.data
        assert found.decoded("dtstart") == NOON
        assert b"Secret" not in body.data

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"end_time": stamp(NOON)}, "end_time"),
            ({"end_time": stamp(NOON + dt.timedelta(days=101))}, "end_time"),
            ({"start_time": Timestamp(seconds=-62135596800)}, "start_time"),
            ({"users": ["users/x"]}, "users[0]"),
            ({"users": []}, "users"),
        ],
        ids=["nothing", "too long", "too early", "no user", "nobody"],
    )
    def test_names_the_field_that_is_wrong(self, anna, fields, path):
        sent = {"users": [anna.user], "start_time": stamp(NOON), "end_time": hours(1)[0], **fields}
        assert [*anna.refusal("QueryFreeBusy", **sent).violations] == [path]
