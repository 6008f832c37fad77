"""Scores and owners of leads, as the service gives them."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode

from kontor.identity.v1 import user_pb2
from kontor_kit.db import Database
from kontor_kit.ids import uuid7
from kontor_kit.operations.runner import Runner
from kontor_kit.testing.telling import teller
from kontor_sales.lead_score_rules.api import RESCORE
from kontor_sales.leads.refreshing import Refreshing
from kontor_sales.service import _records, service

METHOD = {"round robin": 1, "least busy": 2, "weighted": 3, "territory": 4}


@pytest.fixture
def robot(anna):
    """A program of Anna's tenant: what it creates belongs to nobody until it is assigned."""
    return anna.colleague(user=f"serviceAccounts/{uuid7()}")


@pytest.fixture
def system(server):
    database = Database(server.database.url("system"), pool_size=2)
    database.open()
    yield database
    database.close()


def create(caller, **fields):
    return caller("CreateLead", lead={"family_name": "Curie", **fields}, allow_duplicates=True)


def users(number):
    return [f"users/{uuid7()}" for _ in range(number)]


def rule(caller, method, members, **fields):
    wanted = {"display_name": method, "method": METHOD[method], "members": members, **fields}
    return caller("CreateLeadAssignmentRule", lead_assignment_rule=wanted)


def ago(days):
    time = Timestamp()
    time.FromDatetime(dt.datetime.now(dt.UTC) - dt.timedelta(days=days))
    return time


class TestAssignment:
    def test_shares_are_equal_whoever_assigns_at_the_same_time(self, anna, robot):
        members = users(5)
        rule(anna, "round robin", [{"user": user} for user in members])
        with ThreadPoolExecutor(16) as pool:
            made = [*pool.map(lambda n: create(robot, family_name=f"N{n}"), range(160))]
        assert Counter(lead.owner for lead in made) == dict.fromkeys(members, 32)

    def test_weights_are_kept_within_a_batch(self, anna, robot):
        first, second = users(2)
        rule(anna, "weighted", [{"user": first, "capacity": 1}, {"user": second, "capacity": 3}])
        rows = [{"lead": {"family_name": f"N{n}"}} for n in range(16)]
        made = robot("BatchCreateLeads", requests=rows).leads
        assert Counter(lead.owner for lead in made) == {first: 4, second: 12}

    def test_least_busy_counts_open_leads(self, anna, robot):
        first, second = users(2)
        for _ in range(3):
            create(anna, owner=first)
        lost = create(anna, owner=second)
        anna("DisqualifyLead", name=lost.name, reason="x")
        rule(anna, "least busy", [{"user": first}, {"user": second}])
        assert [create(robot).owner for _ in range(4)] == [second, second, second, first]

    def test_says_why(self, anna, robot):
        away, full, there = users(3)
        members = [{"user": away}, {"user": full, "daily_quota": 1}, {"user": there}]
        made = rule(anna, "round robin", members, team=f"teams/{uuid7()}")
        anna("CreateAbsence", absence={"user": away, "start_time": ago(1), "reason": "Holiday"})
        assert [create(robot).owner for _ in range(3)] == [full, there, there]
        lead = create(robot)
        said = lead.assignment
        assert (lead.owner, lead.team) == (there, made.team)
        assert (said.rule, said.assignee, said.reason) == (made.name, there, "is next in turn (round robin)")
        skipped = {each.user: each.skipped_reason for each in said.candidates}
        assert skipped == {away: "is away", full: "has had 1 today, which is all", there: ""}
        assert anna("GetLead", name=lead.name).assignment == said

    def test_goes_on_with_the_next_rule_where_nobody_can(self, anna, robot):
        away, there = users(2)
        rule(anna, "round robin", [{"user": away}], priority=1)
        rule(anna, "round robin", [{"user": there}], priority=2)
        anna("CreateAbsence", absence={"user": away, "start_time": ago(1)})
        assert create(robot).owner == there

    def test_takes_the_first_rule_whose_conditions_hold(self, anna, robot):
        fair, rest = users(2)
        conditions = [{"field": "source", "values": ["fair"]}]
        rule(anna, "round robin", [{"user": fair}], priority=1, conditions=conditions)
        rule(anna, "round robin", [{"user": rest}], priority=2)
        assert (create(robot, source="Fair").owner, create(robot, source="web").owner) == (fair, rest)

    def test_leaves_a_lead_alone_where_no_rule_fits(self, robot):
        lead = create(robot)
        assert (lead.owner, lead.assignment.reason) == ("", "no rule fits")

    def test_can_be_asked_for(self, anna):
        lead, somebody = create(anna), users(1)[0]
        rule(anna, "round robin", [{"user": somebody}])
        assert lead.owner == anna.user
        assert anna("AssignLead", name=lead.name).owner == somebody

    def test_ended_absences_do_not_count(self, anna, robot):
        [back] = users(1)
        rule(anna, "round robin", [{"user": back}])
        anna("CreateAbsence", absence={"user": back, "start_time": ago(9), "end_time": ago(2)})
        anna("CreateAbsence", absence={"user": back, "start_time": ago(-2), "end_time": ago(-4)})
        assert create(robot).owner == back

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"members": [{"user": ""}]}, "members[0].user"),
            ({"members": [{"user": "teams/x"}]}, "members[0].user"),
            ({"conditions": [{"field": "owner", "values": ["a"]}]}, "conditions[0].field"),
            ({"time_zone": "Mars"}, "time_zone"),
            ({"members": [{"user": f"users/{'1' * 8}-0000-7000-8000-000000000000"}] * 2}, "members[1].user"),
        ],
    )
    def test_names_the_field_that_is_wrong(self, anna, fields, path):
        wanted = {"display_name": "R", "members": [{"user": users(1)[0]}], **fields}
        refusal = anna.refusal("CreateLeadAssignmentRule", lead_assignment_rule=wanted)
        assert (refusal.code, [*refusal.violations]) == (
            StatusCode.INVALID_ARGUMENT,
            [f"lead_assignment_rule.{path}"],
        )


class TestLeavers:
    def test_get_no_more_leads(self, server, anna, robot):
        leaver, stays = users(2)
        fixed = rule(anna, "round robin", [{"user": leaver}, {"user": stays}], priority=2)
        area = {"areas": [{"region_code": "DE"}], "members": [leaver, stays]}
        territory = anna("CreateTerritory", territory={"display_name": "DE", **area})
        inputs = [{"input": "n", "field": "family_name"}]
        form = anna("CreateLeadForm", lead_form={"display_name": "F", "inputs": inputs, "lead_owner": leaver})
        told = user_pb2.User(name=leaver, state=user_pb2.User.STATE_DEACTIVATED)
        with teller(server, service()) as tell:
            tell(anna.tenant, "kontor.identity.v1.user.deactivated", told)
        assert {create(robot).owner for _ in range(3)} == {stays}
        left = anna("GetLeadAssignmentRule", name=fixed.name)
        assert ([member.user for member in left.members], left.etag) == ([stays], "v2")
        assert [*anna("GetTerritory", name=territory.name).members] == [stays]
        assert not anna("GetLeadForm", name=form.name).lead_owner


class TestTerritory:
    def test_most_specific_one_with_somebody_there_gets_the_lead(self, anna, robot):
        north, south = users(2)
        area = [{"region_code": "de"}]
        germany = anna("CreateTerritory", territory={"display_name": "DE", "areas": area, "members": [north]})
        munich = anna(
            "CreateTerritory",
            territory={
                "display_name": "M",
                "parent": germany.name,
                "areas": [{"region_code": "DE", "postal_prefixes": ["80"]}],
                "members": [south],
            },
        )
        rule(anna, "territory", [{"user": south, "daily_quota": 1}])
        first, second = (create(robot, region_code="DE", postal_code="80331") for _ in range(2))
        assert (first.owner, first.assignment.territory) == (south, munich.name)
        assert [*first.territories] == [munich.name, germany.name]
        assert (second.owner, second.assignment.territory) == (north, germany.name)
        assert create(robot, region_code="FR").owner == ""
        listed = anna("ListLeads", filter=f"territories:{munich.name}").leads
        assert {lead.name for lead in listed} == {first.name, second.name}

    def test_follows_the_address(self, anna):
        france = anna("CreateTerritory", territory={"display_name": "FR", "areas": [{"region_code": "FR"}]})
        lead = create(anna)
        assert anna("UpdateLead", lead={"name": lead.name, "region_code": "FR"}).territories == [france.name]

    def test_refuses_a_circle(self, anna):
        top = anna("CreateTerritory", territory={"display_name": "A"})
        below = anna("CreateTerritory", territory={"display_name": "B", "parent": top.name})
        refusal = anna.refusal("UpdateTerritory", territory={"name": top.name, "parent": below.name})
        assert [*refusal.violations] == ["territory.parent"]

    def test_refuses_a_circle_that_would_close_when_one_comes_back(self, anna):
        top = anna("CreateTerritory", territory={"display_name": "A"})
        middle = anna("CreateTerritory", territory={"display_name": "B", "parent": top.name})
        below = anna("CreateTerritory", territory={"display_name": "C", "parent": middle.name})
        anna("DeleteTerritory", name=middle.name)
        anna("UpdateTerritory", territory={"name": top.name, "parent": below.name})
        assert anna.refusal("UndeleteTerritory", name=middle.name).reason == "WRONG_PARENT"
        anna("UpdateTerritory", territory={"name": top.name, "parent": ""}, update_mask={"paths": ["parent"]})
        assert anna("UndeleteTerritory", name=middle.name).parent == top.name


class TestAbsence:
    def test_is_ones_own_unless_the_right_says_more(self, anna):
        ben = anna.colleague("sales.absences.*:own")
        own = ben("CreateAbsence", absence={"user": ben.user, "start_time": ago(1)})
        refusal = ben.refusal("CreateAbsence", absence={"user": anna.user, "start_time": ago(1)})
        assert refusal.code is StatusCode.PERMISSION_DENIED
        hers = anna("CreateAbsence", absence={"user": anna.user, "start_time": ago(1)})
        assert [each.name for each in ben("ListAbsences").absences] == [own.name]
        assert ben.refusal("DeleteAbsence", name=hers.name).code is StatusCode.NOT_FOUND

    def test_must_not_end_before_it_begins(self, anna):
        refusal = anna.refusal("CreateAbsence", absence={"user": anna.user, "start_time": ago(1), "end_time": ago(2)})
        assert [*refusal.violations] == ["absence.end_time"]


class TestScore:
    def test_is_explained(self, anna):
        fit = {"display_name": "Fit", "conditions": [{"field": "source", "values": ["fair"]}], "points": 10}
        anna("CreateLeadScoreRule", lead_score_rule={**fit, "group": "fit"})
        seen = {"display_name": "Seen", "event_type": "webinar", "points": 40, "half_life_days": 10}
        anna("CreateLeadScoreRule", lead_score_rule={**seen, "repeatable": True, "group": "interest"})
        lead = create(anna, source="fair")
        assert lead.score == 10
        for days in (10, 20):
            lead = anna("RecordLeadEvent", name=lead.name, event_type="webinar", event_time=ago(days))
        assert lead.score == 40
        assert {each.group: each.score for each in lead.group_scores} == {"fit": 10, "interest": 30}
        said = anna("ExplainLeadScore", name=lead.name)
        assert said.score == lead.score == sum(part.decayed_points for part in said.parts)
        assert sorted((part.display_name, part.points, part.decayed_points) for part in said.parts) == [
            ("Fit", 10, 10),
            ("Seen", 40, 10),
            ("Seen", 40, 20),
        ]
        later = anna("ExplainLeadScore", name=lead.name, evaluation_time=ago(-10))
        assert later.score == 10 + 10 + 5

    def test_lists_are_ordered_by_it(self, anna):
        condition = {"field": "employee_count", "operator": 4}
        for size in (10, 100):
            wanted = {"display_name": "S", "conditions": [{**condition, "values": [f"{size}"]}], "points": size}
            anna("CreateLeadScoreRule", lead_score_rule=wanted)
        made = [create(anna, employee_count=size) for size in (5, 500, 50)]
        listed = anna("ListLeads", order_by="score desc").leads
        assert [lead.name for lead in listed] == [made[1].name, made[2].name, made[0].name]
        assert [lead.score for lead in anna("ListLeads", filter="score >= 10", order_by="score").leads] == [10, 110]

    def test_is_brought_up_to_new_rules(self, server, anna, system):
        made = [create(anna, source="fair") for _ in range(3)]
        condition = {"field": "source", "values": ["fair"]}
        anna("CreateLeadScoreRule", lead_score_rule={"display_name": "F", "conditions": [condition], "points": 7})
        records = _records(server.runtime)
        runner = Runner("sales.kontor", [RESCORE], system=system, database=server.runtime.database, service=records)
        while runner.work_once():
            pass
        assert [anna("GetLead", name=lead.name).score for lead in made] == [7, 7, 7]

    def test_decays_by_itself_in_any_number_of_processes(self, server, anna, system):
        seen = {"display_name": "Seen", "event_type": "webinar", "points": 40, "half_life_days": 10}
        anna("CreateLeadScoreRule", lead_score_rule=seen)
        made = [create(anna) for _ in range(8)]
        for lead in made:
            assert anna("RecordLeadEvent", name=lead.name, event_type="webinar").score == 40
        with server.database.connect() as connection:
            connection.execute("UPDATE lead_events SET event_time = event_time - interval '10 days'")
            connection.execute("UPDATE lead_score_refreshes SET due_time = now() WHERE tenant_id = %s", [anna.tenant])
        jobs = [Refreshing(_records(server.runtime)["leads"], system) for _ in range(3)]
        with ThreadPoolExecutor(3) as pool:
            assert sum(pool.map(lambda job: job.work_once(), jobs)) == len(made)
        for lead in made:
            after = anna("GetLead", name=lead.name)
            assert (after.score, after.etag) == (20, "v3")
        assert jobs[0].work_once() == 0

    def test_of_a_lead_that_comes_back_goes_on(self, server, anna, system):
        seen = {"display_name": "Seen", "event_type": "webinar", "points": 40, "half_life_days": 10}
        anna("CreateLeadScoreRule", lead_score_rule=seen)
        lead, job = create(anna), Refreshing(_records(server.runtime)["leads"], system)
        anna("RecordLeadEvent", name=lead.name, event_type="webinar")

        def pass_time():
            with server.database.connect() as connection:
                connection.execute("UPDATE lead_events SET event_time = event_time - interval '10 days'")
                connection.execute(
                    "UPDATE lead_score_refreshes SET due_time = now() WHERE tenant_id = %s", [anna.tenant]
                )
            return job.work_once()

        anna("DeleteLead", name=lead.name)
        assert [pass_time(), pass_time()] == [1, 0]
        assert anna("UndeleteLead", name=lead.name).score == 10
        assert anna("GetLead", name=lead.name).score == 10
        assert pass_time() == 1
        assert anna("GetLead", name=lead.name).score == 5

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"event_type": "a", "points": 10_001}, "points"),
            ({"repeatable": True, "conditions": [{"field": "source", "operator": 6}]}, "repeatable"),
            ({"conditions": [{"field": "score", "values": ["1"], "operator": 4}]}, "conditions[0].field"),
            ({"event_type": "a", "start_time": ago(1), "end_time": ago(2)}, "end_time"),
        ],
        ids=range(4),
    )
    def test_names_the_field_that_is_wrong(self, anna, fields, path):
        wanted = {"display_name": "R", "points": 5, **fields}
        refusal = anna.refusal("CreateLeadScoreRule", lead_score_rule=wanted)
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, [f"lead_score_rule.{path}"])

    def test_takes_no_event_of_the_future(self, anna):
        refusal = anna.refusal("RecordLeadEvent", name=create(anna).name, event_type="a", event_time=ago(-1))
        assert [*refusal.violations] == ["event_time"]
