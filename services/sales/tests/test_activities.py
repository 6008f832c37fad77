"""Activities: what is theirs alone; what they share with all resources is tested in the kit."""

from __future__ import annotations

import datetime as dt

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode

from kontor.identity.v1 import user_pb2
from kontor_kit.ids import uuid7
from kontor_kit.testing.telling import teller
from kontor_kit.tracing import start_span
from kontor_sales.service import _records, service

TASK, CALL, MEETING, VISIT, EMAIL, LETTER, MESSAGE, CONFERENCE = range(1, 9)
PLANNED, HELD, NOT_HELD, CANCELLED = range(1, 5)
NEEDS_ACTION, ACCEPTED, DECLINED, TENTATIVE = range(1, 5)
OWN = ("sales.activities.read:own", "sales.activities.update:own", "sales.activities.respond:own")


def at(*moment):
    stamp = Timestamp()
    stamp.FromDatetime(dt.datetime(*moment, tzinfo=dt.UTC))
    return stamp


@pytest.fixture
def tell(server):
    with teller(server, service()) as telling:
        yield telling


def create(caller, **fields):
    return caller("CreateActivity", activity={"type": TASK, "subject": "Call back", **fields})


def meeting(caller, **fields):
    times = {"start_time": at(2026, 12, 1, 9), "end_time": at(2026, 12, 1, 10)}
    return create(caller, type=MEETING, subject="Review", **{**times, **fields})


class TestStored:
    def test_comes_back_in_every_field(self, anna):
        first = create(anna)
        lead = anna("CreateLead", lead={"family_name": "Curie"}, allow_duplicates=True)
        opportunity = anna("CreateOpportunity", opportunity={"display_name": "Radium"})
        sent = {
            "type": CONFERENCE,
            "subject": "Demo",
            "description": "Shows it.",
            "start_time": at(2026, 12, 1, 9),
            "end_time": at(2026, 12, 1, 10),
            "time_zone": "Europe/Zurich",
            "due_date": {"year": 2026, "month": 12, "day": 2},
            "priority": 3,
            "location": "Room 1",
            "transparent": True,
            "conference_uri": "https://meet.example.com/x",
            "organizer": {"email": "anna@example.com", "display_name": "Anna"},
            "attendees": [
                {"user": f"users/{uuid7()}", "email": "ben@example.com", "participation": ACCEPTED},
                {"contact": f"contacts/{uuid7()}", "participation": NEEDS_ACTION, "optional": True},
                {"email": "cora@example.com", "display_name": "Cora", "participation": DECLINED, "comment": "Away"},
            ],
            "account": f"accounts/{uuid7()}",
            "contacts": [f"contacts/{uuid7()}", f"contacts/{uuid7()}"],
            "opportunity": opportunity.name,
            "lead": lead.name,
            "follows": first.name,
            "tags": ["demo"],
            "external_ids": [{"system": "crm", "key": f"{uuid7()}"}],
        }
        created = anna("CreateActivity", activity=sent)
        assert anna("GetActivity", name=created.name) == created
        expected = type(created)(**sent)
        for name in sent:
            assert getattr(created, name) == getattr(expected, name), name
        assert (created.state, created.owner, created.agenda_time) == (PLANNED, anna.user, created.start_time)

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"subject": " "}, "subject"),
            ({"type": MEETING}, "start_time"),
            ({"end_time": at(2026, 1, 1)}, "end_time"),
            ({"start_time": at(2026, 1, 2), "end_time": at(2026, 1, 1)}, "end_time"),
            ({"time_zone": "Mars/Olympus"}, "time_zone"),
            ({"all_day": True}, "all_day"),
            ({"start_time": at(2026, 1, 1, 3), "end_time": at(2026, 1, 2), "all_day": True}, "start_time"),
            ({"phone_number": "+41446681800"}, "phone_number"),
            ({"channel": "Signal"}, "channel"),
            ({"direction": 1}, "direction"),
            ({"conference_uri": "https://a.example"}, "conference_uri"),
            ({"attendees": [{}]}, "attendees[0]"),
            ({"attendees": [{"email": "nobody"}]}, "attendees[0].email"),
            ({"attendees": [{"email": "a@b.example"}, {"email": "A@b.example"}]}, "attendees[1]"),
            ({"organizer": {"email": "nobody"}}, "organizer.email"),
            ({"opportunity": f"opportunities/{uuid7()}"}, "opportunity"),
            ({"lead": f"leads/{uuid7()}"}, "lead"),
            ({"follows": f"activities/{uuid7()}"}, "follows"),
            ({"held_time": at(2100, 1, 1)}, "held_time"),
            ({"due_date": {"year": 2027, "month": 2}}, "due_date"),
        ],
    )
    def test_names_the_field_that_is_wrong(self, anna, fields, path):
        refusal = anna.refusal("CreateActivity", activity={"type": TASK, "subject": "S", **fields})
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, [f"activity.{path}"])

    def test_unknown_people_are_refused(self, anna, peer):
        user, contact = f"users/{uuid7()}", f"contacts/{uuid7()}"
        peer.absent |= {user, contact}
        refusal = anna.refusal(
            "CreateActivity",
            activity={"type": TASK, "subject": "S", "attendees": [{"user": user}, {"contact": contact}]},
        )
        assert [*refusal.violations] == ["activity.attendees[0].user", "activity.attendees[1].contact"]

    def test_what_was_done_already_is_noted_down_as_held(self, anna):
        call = create(anna, type=CALL, direction=2, phone_number="+41 44 668 18 00", held_time=at(2026, 1, 5, 9))
        assert (call.state, call.phone_number, call.agenda_time) == (HELD, "+41446681800", at(2026, 1, 5, 9))

    def test_is_found_by_what_it_is_linked_to(self, anna):
        contact, user, account = f"contacts/{uuid7()}", f"users/{uuid7()}", f"accounts/{uuid7()}"
        create(anna)
        linked = create(
            anna, subject="Überraschung", contacts=[contact], account=account, attendees=[{"user": user}], tags=["x"]
        )
        for condition in (
            f"contacts:{contact}",
            f"account = {account}",
            f"attendees.user:{user}",
            "tags:x",
            "subject = uberrasch*",
        ):
            found = anna("ListActivities", filter=condition).activities
            assert [activity.name for activity in found] == [linked.name], condition
        [result] = anna("SearchActivities", query="Überraschung").results
        assert result.activity.name == linked.name

    def test_is_listed_by_when_it_stands_in_the_agenda(self, anna):
        due = create(anna, due_date={"year": 2026, "month": 3, "day": 1}, time_zone="Europe/Zurich")
        early = meeting(anna, start_time=at(2026, 2, 28, 9), end_time=at(2026, 2, 28, 10))
        late = meeting(anna, start_time=at(2026, 3, 1, 23, 30), end_time=at(2026, 3, 2))
        listed = anna("ListActivities", order_by="agenda_time").activities
        assert [activity.name for activity in listed] == [early.name, due.name, late.name]
        assert due.agenda_time == at(2026, 3, 1, 23)


class TestSteps:
    @pytest.mark.parametrize(
        ("verbs", "state"),
        [
            (["CompleteActivity"], HELD),
            (["MissActivity"], NOT_HELD),
            (["CancelActivity"], CANCELLED),
            (["MissActivity", "CompleteActivity"], HELD),
            (["CancelActivity", "ReopenActivity"], PLANNED),
            (["CompleteActivity", "ReopenActivity"], PLANNED),
        ],
    )
    def test_lead_from_one_state_to_the_other(self, anna, verbs, state):
        activity = create(anna)
        for verb in verbs:
            activity = anna(verb, name=activity.name, etag=activity.etag)
        assert (activity.state, activity.HasField("held_time")) == (state, state == HELD)

    @pytest.mark.parametrize(
        "verbs",
        [
            ["ReopenActivity"],
            ["CompleteActivity", "CompleteActivity"],
            ["CancelActivity", "CompleteActivity"],
            ["CancelActivity", "MissActivity"],
        ],
    )
    def test_are_refused_where_they_lead_nowhere(self, anna, verbs):
        name = create(anna).name
        for verb in verbs[:-1]:
            anna(verb, name=name)
        assert anna.refusal(verbs[-1], name=name).reason == "WRONG_STATE"

    def test_a_time_that_changes_is_asked_again_and_told(self, anna):
        sent = [{"email": "a@b.example", "participation": ACCEPTED}, {"email": "c@d.example"}]
        activity = meeting(anna, attendees=sent)
        moved = anna("UpdateActivity", activity={"name": activity.name, "end_time": at(2026, 12, 1, 11)})
        assert [attendee.participation for attendee in moved.attendees] == [NEEDS_ACTION, NEEDS_ACTION]
        tagged = anna("UpdateActivity", activity={"name": activity.name, "tags": ["a"]})
        told = anna("CancelActivity", name=activity.name, outcome="Snow")
        assert [one.sequence for one in (activity, moved, tagged, told)] == [0, 1, 1, 2]


class TestHandOver:
    def test_offers_nothing_to_programs(self, anna):
        program = anna.colleague(*OWN, user=anna.user.replace("users/", "serviceAccounts/"))
        assert program("ListOfferedActivities").activities == []

    def test_changes_the_owner_on_acceptance_only(self, anna):
        activity, ben = create(anna), anna.colleague(*OWN)
        assert ben("ListOfferedActivities").activities == []
        offered = anna("HandOverActivity", name=activity.name, user=ben.user, note="Please")
        assert (offered.owner, offered.offered_to, offered.hand_over.note) == (anna.user, ben.user, "Please")
        assert ben("ListOfferedActivities").activities == [offered]
        accepted = ben("AcceptHandOver", name=activity.name, etag=offered.etag)
        assert (accepted.owner, accepted.offered_to, accepted.hand_over.state) == (ben.user, "", 2)
        assert ben("CompleteActivity", name=activity.name).state == HELD

    def test_leaves_it_with_its_owner_when_it_is_declined(self, anna):
        activity, ben = create(anna), anna.colleague(*OWN)
        anna("HandOverActivity", name=activity.name, user=ben.user)
        assert [*ben.refusal("DeclineHandOver", name=activity.name).violations] == ["reason"]
        declined = ben("DeclineHandOver", name=activity.name, reason="No time")
        assert (declined.owner, declined.offered_to, declined.hand_over.reason) == (anna.user, "", "No time")
        assert ben("ListOfferedActivities").activities == []

    def test_who_is_asked_can_answer_and_nothing_else(self, anna):
        activity, ben = create(anna), anna.colleague(*OWN)
        anna("HandOverActivity", name=activity.name, user=ben.user)
        for method, fields in (
            ("UpdateActivity", {"activity": {"name": activity.name, "subject": "Mine"}}),
            ("CompleteActivity", {"name": activity.name}),
            ("GetActivity", {"name": activity.name}),
        ):
            assert ben.refusal(method, **fields).code is StatusCode.NOT_FOUND

    def test_nobody_else_can_answer(self, anna):
        activity, ben = create(anna), anna.colleague(*OWN)
        assert ben.refusal("AcceptHandOver", name=activity.name).code is StatusCode.NOT_FOUND
        anna("HandOverActivity", name=activity.name, user=ben.user)
        for other in (anna, anna.colleague(*OWN), anna.running.caller()):
            assert other.refusal("AcceptHandOver", name=activity.name).code is StatusCode.NOT_FOUND
        anna("CancelActivity", name=activity.name)
        assert ben.refusal("AcceptHandOver", name=activity.name).code is StatusCode.NOT_FOUND

    def test_is_offered_to_somebody_else_who_is_there(self, anna, peer):
        activity, nobody = create(anna), f"users/{uuid7()}"
        peer.absent.add(nobody)
        for user in (nobody, anna.user):
            assert [*anna.refusal("HandOverActivity", name=activity.name, user=user).violations] == ["user"]
        anna("CompleteActivity", name=activity.name)
        assert anna.refusal("HandOverActivity", name=activity.name, user=f"users/{uuid7()}").reason == "WRONG_STATE"


class TestAttendance:
    def test_who_is_invited_answers_whatever_they_may_see(self, anna):
        ben = anna.colleague("sales.activities.respond:own")
        activity = meeting(anna, attendees=[{"user": ben.user}])
        answered = ben("RespondToActivity", name=activity.name, participation=ACCEPTED, comment="Gladly")
        assert (answered.attendees[0].participation, answered.attendees[0].comment) == (ACCEPTED, "Gladly")
        assert answered.sequence == activity.sequence

    def test_who_is_not_does_not_learn_that_it_is_there(self, anna):
        activity = meeting(anna)
        ben = anna.colleague("sales.activities.respond:all")
        refusal = ben.refusal("RespondToActivity", name=activity.name, participation=ACCEPTED)
        assert refusal.code is StatusCode.NOT_FOUND


class TestReport:
    def test_stores_everything_at_once(self, anna):
        product = anna("CreateProduct", product={"sku": f"P{uuid7()}", "display_name": "P"})
        account = f"accounts/{uuid7()}"
        visit = create(anna, type=VISIT, start_time=at(2026, 2, 2, 9), end_time=at(2026, 2, 2, 10), account=account)
        sent = {
            "outcome": "They want more.",
            "needs": [{"text": "A faster one", "product": product.name, "category": "speed"}],
            "competitor_sightings": [{"display_name": "Acme", "account": f"accounts/{uuid7()}", "note": "Cheap"}],
            "follow_ups": [
                {"subject": "Send an offer", "due_date": {"year": 2026, "month": 12, "day": 5}, "priority": 3},
                {"subject": "Call"},
            ],
        }
        reported = anna("ReportActivity", name=visit.name, **sent)
        activity, tasks = reported.activity, reported.follow_ups
        assert (activity.state, activity.outcome, activity.held_time) == (HELD, sent["outcome"], at(2026, 2, 2, 10))
        assert [(task.subject, task.account, task.follows, task.owner) for task in tasks] == [
            ("Send an offer", account, visit.name, anna.user),
            ("Call", account, visit.name, anna.user),
        ]
        for condition in ("competitor_sightings.display_name:acme", f"needs.product:{product.name}"):
            assert [one.name for one in anna("ListActivities", filter=condition).activities] == [visit.name]
        again = anna("ReportActivity", name=visit.name, **sent)
        assert (again.activity, {one.name for one in again.follow_ups}) == (activity, {one.name for one in tasks})
        assert len(anna("ListActivities").activities) == 3

    def test_another_report_is_refused(self, anna):
        task = create(anna)
        anna("ReportActivity", name=task.name, outcome="Done")
        assert anna.refusal("ReportActivity", name=task.name, outcome="Not done").reason == "ALREADY_REPORTED"
        assert anna.refusal("ReopenActivity", name=task.name).reason == "ALREADY_REPORTED"

    def test_stores_nothing_where_a_part_is_wrong(self, anna, peer):
        task, nobody = create(anna), f"users/{uuid7()}"
        peer.absent.add(nobody)
        wrong = {
            "needs[0].product": {"needs": [{"text": "x", "product": f"products/{uuid7()}"}]},
            "follow_ups[1].owner": {"follow_ups": [{"subject": "a"}, {"subject": "b", "owner": nobody}]},
            "needs[0].text": {"needs": [{"category": "x"}]},
            "follow_ups[0].due_date": {"follow_ups": [{"subject": "a", "due_date": {"year": 2027}}]},
        }
        for path, fields in wrong.items():
            refusal = anna.refusal("ReportActivity", name=task.name, outcome="Done", **fields)
            assert [*refusal.violations] == [path]
        assert [one.state for one in anna("ListActivities").activities] == [PLANNED]


class TestConversion:
    def test_what_is_open_goes_to_who_owns_what_was_made_and_the_rest_stays(self, anna, server):
        ben, cora = anna.colleague(), anna.colleague()
        lead = anna("CreateLead", lead={"family_name": "Curie"}, allow_duplicates=True)
        opportunity = cora("CreateOpportunity", opportunity={"display_name": "Radium"})
        account, elsewhere, contact = f"accounts/{uuid7()}", f"accounts/{uuid7()}", f"contacts/{uuid7()}"
        task = create(anna, lead=lead.name, due_date={"year": 2027, "month": 1, "day": 1})
        done = create(ben, lead=lead.name, held_time=at(2026, 1, 1))
        bound = create(ben, lead=lead.name, account=elsewhere)
        other = create(ben)
        leads, made = _records(server.runtime)["leads"], {"account": account, "contact": contact}
        with server.runtime.database.write(anna.tenant) as tx:
            leads.finish_conversion(tx, start_span(), lead.name, {**made, "opportunity": opportunity.name})
        found = {one.name: one for one in anna("ListActivities").activities}
        linked = (opportunity.name, [contact])
        assert {name: (one.owner, one.account) for name, one in found.items()} == {
            task.name: (cora.user, account),
            done.name: (ben.user, account),
            bound.name: (cora.user, elsewhere),
            other.name: (ben.user, ""),
        }
        assert all((found[one.name].opportunity, found[one.name].contacts) == linked for one in (task, done, bound))


class TestLeavers:
    def test_their_activities_go_to_the_team(self, anna, tell):
        ben, team = anna.colleague(), f"teams/{uuid7()}"
        kept, left = create(anna), create(ben)
        leaver = user_pb2.User(name=ben.user, state=user_pb2.User.STATE_DEACTIVATED, teams=[team])
        tell(anna.tenant, "kontor.identity.v1.user.deactivated", leaver)
        found = anna("GetActivity", name=left.name)
        assert (found.owner, found.team) == ("", team)
        assert anna("GetActivity", name=kept.name) == kept
