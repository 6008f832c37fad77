"""Whom to visit, when and why: cadences, what is known of accounts, overdue ones, plans."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from kontor.contacts.v1.account_pb2 import Account
from kontor.sales.v1.care_cadence_pb2 import CareCadence
from kontor_kit.ids import uuid7
from kontor_kit.testing.telling import teller
from kontor_sales.service import service
from kontor_sales.visits import rules
from kontor_sales.visits.rules import Candidate

TASK, CALL, VISIT, EMAIL = 1, 2, 4, 5
KEY, STANDARD = 2, 3
CUSTOMER, SUPPLIER = 1, 3
MONDAY = dt.date(2027, 6, 7)
CADENCE, OPPORTUNITY, OVERDUE_TASKS, TERRITORY = range(1, 5)


def ago(days):
    stamp = Timestamp()
    stamp.FromDatetime(dt.datetime.now(dt.UTC) - dt.timedelta(days=days))
    return stamp


def date(day):
    return {"year": day.year, "month": day.month, "day": day.day}


def in_days(number):
    return dt.datetime.now(dt.UTC).date() + dt.timedelta(days=number)


@pytest.fixture
def tell(server):
    with teller(server, service()) as telling:
        yield telling


@pytest.fixture
def know(anna, tell):
    """Tell of an account of Anna's."""

    def know(name="Acme", version=1, days=100, **fields):
        fields = {"name": f"accounts/{uuid7()}", "owner": anna.user, "tier": KEY, **fields}
        account = Account(display_name=name, create_time=ago(days), **fields)
        verb = "deleted" if "delete_time" in fields else "updated"
        tell(anna.tenant, f"kontor.contacts.v1.account.{verb}", account, version)
        return account

    return know


def cadence(caller, *channels, **fields):
    wanted = [{"type": kind, "every_days": days} for kind, days in channels]
    return caller("CreateCareCadence", care_cadence={"display_name": "C", "channels": wanted, **fields})


def hold(caller, account, kind, days):
    activity = {"type": kind, "subject": "Held", "account": account.name, "held_time": ago(days)}
    return caller("CreateActivity", activity=activity)


def overdue(caller, **fields):
    return [(one.display_name, one.type) for one in caller("ListOverdueCare", **fields).overdue]


class TestCadences:
    cadences = (
        CareCadence(name=f"careCadences/{uuid7()}", channels=[{"type": 0, "every_days": 90}]),
        CareCadence(name=f"careCadences/{uuid7()}", tier=KEY, channels=[{"type": VISIT, "every_days": 30}]),
        CareCadence(name=f"careCadences/{uuid7()}", role=SUPPLIER, channels=[{"type": CALL, "every_days": 60}]),
        CareCadence(
            name=f"careCadences/{uuid7()}", tier=KEY, role=SUPPLIER, channels=[{"type": CALL, "every_days": 7}]
        ),
        CareCadence(name=f"careCadences/{uuid7()}", tier=KEY, channels=[{"type": VISIT, "every_days": 14}]),
    )

    @pytest.mark.parametrize(
        ("tier", "role", "place"),
        [(0, 0, 0), (STANDARD, CUSTOMER, 0), (KEY, CUSTOMER, 4), (STANDARD, SUPPLIER, 2), (KEY, SUPPLIER, 3)],
    )
    def test_the_closest_one_counts(self, tier, role, place):
        assert rules.fitting(self.cadences, tier, role) is self.cadences[place]
        assert rules.fitting(reversed(self.cadences), tier, role) is self.cadences[place]
        assert rules.fitting((), tier, role) is None

    def test_every_kind_of_account_has_the_classes_of_its_cadence(self):
        classes = rules.care_classes(self.cadences)
        assert len({(one.channel, one.tier, one.role) for one in classes}) == len(classes)
        for tier in rules.TIERS:
            for role in rules.ROLES:
                wanted = rules.fitting(self.cadences, tier, role)
                given = [one for one in classes if (one.tier, one.role) == (tier, role)]
                assert [(one.channel, one.days, one.cadence) for one in given] == [
                    (channel.type, channel.every_days, wanted.name) for channel in wanted.channels
                ]

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"display_name": " "}, "display_name"),
            ({"channels": []}, "channels"),
            ({"channels": [{"type": TASK}]}, "channels[0].type"),
            ({"channels": [{"type": CALL}, {"type": CALL}]}, "channels[1].type"),
            ({"channels": [{"every_days": -1}]}, "channels[0].every_days"),
        ],
        ids=["no name", "nothing", "tasks", "twice", "negative"],
    )
    def test_names_the_field_that_is_wrong(self, anna, fields, path):
        sent = {"display_name": "C", "channels": [{"type": CALL}], **fields}
        assert [*anna.refusal("CreateCareCadence", care_cadence=sent).violations] == [f"care_cadence.{path}"]


class TestOverdue:
    def test_what_was_held_last_counts(self, anna, know):
        cadence(anna, (VISIT, 30), (CALL, 10))
        acme = know()
        assert sorted(overdue(anna)) == [("Acme", CALL), ("Acme", VISIT)]
        hold(anna, acme, VISIT, 20)
        assert overdue(anna) == [("Acme", CALL)]
        call = hold(anna, acme, CALL, 1)
        hold(anna, acme, CALL, 15)
        assert overdue(anna) == []
        anna("ReopenActivity", name=call.name)
        assert overdue(anna) == [("Acme", CALL)]
        anna("CompleteActivity", name=call.name)
        assert overdue(anna) == []
        anna("DeleteActivity", name=call.name)
        assert overdue(anna, type=CALL) == [("Acme", CALL)]

    def test_anything_but_a_task_is_a_sign_of_life(self, anna, know):
        cadence(anna, (0, 30))
        acme = know()
        hold(anna, acme, TASK, 1)
        [one] = anna("ListOverdueCare").overdue
        assert (one.last_time, one.due_time.seconds - one.last_time.seconds) == (acme.create_time, 30 * 86400)
        hold(anna, acme, EMAIL, 1)
        assert overdue(anna) == []

    def test_an_activity_that_moves_to_another_account_moves_both_clocks(self, anna, know):
        cadence(anna, (CALL, 10))
        acme, best = know("Acme"), know("Best")
        call = hold(anna, acme, CALL, 1)
        assert overdue(anna) == [("Best", CALL)]
        anna("UpdateActivity", activity={"name": call.name, "account": best.name})
        assert overdue(anna) == [("Acme", CALL)]

    def test_is_kept_by_version(self, anna, tell, know):
        cadence(anna, (CALL, 10), tier=KEY)
        acme = know(version=5)

        def say(version, kind="updated", **fields):
            account = Account()
            account.CopyFrom(acme)
            account.MergeFrom(Account(**fields))
            tell(anna.tenant, f"kontor.contacts.v1.account.{kind}", account, version)

        say(4, display_name="Older")
        assert overdue(anna) == [("Acme", CALL)]
        say(6, display_name="Newer")
        assert overdue(anna) == [("Newer", CALL)]
        say(7, tier=STANDARD)
        assert overdue(anna) == []
        say(8)
        hold(anna, acme, CALL, 90)
        say(9, kind="deleted", delete_time=ago(0))
        assert overdue(anna) == []
        # Who comes back was last heard of when they were.
        say(10, kind="snapshot", display_name="Back")
        [one] = anna("ListOverdueCare").overdue
        assert (one.display_name, one.last_time.seconds) == ("Back", pytest.approx(ago(90).seconds, abs=60))

    def test_is_told_as_far_as_the_permission_reaches(self, anna, know):
        cadence(anna, (CALL, 10))
        team, ben = uuid7(), f"users/{uuid7()}"
        know("Mine")
        know("Theirs", owner=ben)
        know("Ours", owner=ben, team=f"teams/{team}")
        reach = "sales.careCadences.readOverdue"
        own, of_team = (anna.colleague(f"{reach}:{scope}", user=anna.user, teams=[team]) for scope in ("own", "team"))
        names = [{name for name, _ in overdue(caller)} for caller in (own, of_team, anna)]
        assert names == [{"Mine"}, {"Mine", "Ours"}, {"Mine", "Ours", "Theirs"}]
        names = [{name for name, _ in overdue(caller, owner=ben)} for caller in (own, of_team, anna)]
        assert names == [set(), {"Ours"}, {"Ours", "Theirs"}]

    def test_pages_come_to_the_whole(self, anna, know):
        cadence(anna, (CALL, 10), (VISIT, 20), (0, 30))
        cadence(anna, (CALL, 5), tier=STANDARD)
        for number in range(5):
            know(f"A{number}", days=50 + number % 2, tier=(KEY, STANDARD)[number % 2])
        whole = anna("ListOverdueCare").overdue
        assert len(whole) == 11
        assert [one.due_time.seconds for one in whole] == sorted(one.due_time.seconds for one in whole)
        pages, token = [], ""
        while not pages or token:
            page = anna("ListOverdueCare", page_size=2, page_token=token)
            pages += page.overdue
            token = page.next_page_token
        assert pages == [*whole]
        refusal = anna.refusal(
            "ListOverdueCare", page_token=anna("ListOverdueCare", page_size=2).next_page_token, type=CALL
        )
        assert [*refusal.violations] == ["page_token"]


days = st.integers(-60, 90).map(lambda number: MONDAY + dt.timedelta(days=number))
candidates = st.lists(
    st.builds(
        Candidate,
        account=st.integers(0, 50).map("accounts/{}".format),
        display_name=st.just("A"),
        due=st.none() | days,
        days=st.integers(1, 100),
        closing=st.lists(days, max_size=3).map(tuple),
        overdue_tasks=st.integers(0, 6),
        territory=st.sampled_from(["", "North"]),
        area=st.sampled_from(["", "CH-80", "CH-30"]),
    ),
    max_size=25,
    unique_by=lambda candidate: candidate.account,
)
rooms = st.dictionaries(days, st.integers(0, 3), max_size=10)
FRIDAY = MONDAY + dt.timedelta(days=18)


class TestPlanning:
    @given(candidates, rooms, st.randoms(use_true_random=False))
    def test_is_the_same_for_the_same_accounts_in_any_order(self, given_ones, room, random):
        first = rules.plan(given_ones, MONDAY, FRIDAY, room)
        random.shuffle(given_ones)
        assert rules.plan(given_ones, MONDAY, FRIDAY, room) == first

    @given(candidates, rooms)
    def test_keeps_to_the_days_and_their_room_and_visits_nobody_twice(self, given_ones, room):
        visits, left_out = rules.plan(given_ones, MONDAY, FRIDAY, room)
        taken = Counter(visit.date for visit in visits)
        assert all(MONDAY <= day <= FRIDAY and number <= room[day] for day, number in taken.items())
        assert len({visit.account for visit in visits}) == len(visits)
        worth = {one.account for one in given_ones if rules.reasons(one, MONDAY, FRIDAY)}
        assert {visit.account for visit in visits} <= worth
        assert len(visits) + left_out == len(worth)
        # Nobody is left out while there is room.
        assert not left_out or sum(n for day, n in room.items() if MONDAY <= day <= FRIDAY) == len(visits)

    @given(candidates, rooms)
    def test_who_is_left_out_has_no_more_speaking_for_them(self, given_ones, room):
        visits, _ = rules.plan(given_ones, MONDAY, FRIDAY, room)
        scores = {one.account: sum(r.points for r in rules.reasons(one, MONDAY, FRIDAY)) for one in given_ones}
        planned = {visit.account for visit in visits}
        assert all(visit.score == scores[visit.account] and visit.day_reason for visit in visits)
        lowest = min((visit.score for visit in visits), default=0)
        if visits:
            assert all(score <= lowest for account, score in scores.items() if account not in planned)

    @given(candidates, st.integers(1, 100))
    def test_waiting_never_counts_less(self, given_ones, more):
        for one in given_ones:
            if one.due is not None:
                later = one._replace(due=one.due - dt.timedelta(days=more))
                points = [sum(r.points for r in rules.reasons(each, MONDAY, FRIDAY)) for each in (one, later)]
                assert points[0] <= points[1]

    def test_comes_in_time_and_near_to_others(self):
        room = rules.room(MONDAY, FRIDAY, rules.WORKDAYS, 2, {})
        wednesday, thursday = MONDAY + dt.timedelta(days=2), MONDAY + dt.timedelta(days=3)
        ones = [
            Candidate("accounts/a", "A", due=wednesday, days=10, area="CH-80", overdue_tasks=1),
            Candidate("accounts/b", "B", due=thursday, days=10, area="CH-80"),
            Candidate("accounts/c", "C", due=thursday, days=10, area="CH-30"),
            Candidate("accounts/d", "D", due=thursday + dt.timedelta(days=90), days=10),
        ]
        visits, left_out = rules.plan(ones, MONDAY, FRIDAY, room)
        assert [(visit.account[-1], visit.date) for visit in visits] == [
            ("a", wednesday),
            ("b", wednesday),
            ("c", thursday),
        ]
        assert left_out == 0

    def test_has_no_room_on_weekends_and_where_there_is_none(self):
        room = rules.room(MONDAY, MONDAY + dt.timedelta(days=6), rules.WORKDAYS, 2, {MONDAY: 5})
        assert [*room.values()] == [0, 2, 2, 2, 2]


class TestPlans:
    every_day = (1, 2, 3, 4, 5, 6, 7)

    def plan(self, caller, days=7, **fields):
        period = {"start_date": date(in_days(1)), "end_date": date(in_days(days)), "weekdays": self.every_day}
        return caller("PlanVisits", **{**period, **fields})

    def test_says_whom_when_and_why(self, anna, know):
        cadence(anna, (VISIT, 30), tier=KEY)
        late, deal, fine = know("Late"), know("Deal", tier=STANDARD), know("Fine")
        know("Not mine", owner=f"users/{uuid7()}")
        hold(anna, fine, VISIT, 1)
        anna(
            "CreateOpportunity", opportunity={"display_name": "D", "account": deal.name, "close_date": date(in_days(5))}
        )
        task = {"type": TASK, "subject": "T", "account": deal.name, "due_date": date(in_days(-1))}
        anna("CreateActivity", activity=task)
        plan = self.plan(anna)
        assert [(one.account, one.score, [reason.code for reason in one.reasons]) for one in plan.visits] == [
            (late.name, 80, [CADENCE]),
            (deal.name, 25, [OPPORTUNITY, OVERDUE_TASKS]),
        ]
        assert [one.date for one in plan.visits] == [plan.start_date, type(plan.start_date)(**date(in_days(4)))]
        assert all(one.day_reason and all(reason.message for reason in one.reasons) for one in plan.visits)
        assert anna("GetVisitPlan", name=plan.name) == plan
        assert (plan.owner, plan.state, plan.left_out) == (anna.user, 1, 0)

    def test_knows_territories(self, anna, know):
        cadence(anna, (0, 30))
        ben = anna.colleague()
        zurich = know("Zurich", addresses=[{"region_code": "CH", "postal_code": "8001"}])
        know("Bern", addresses=[{"region_code": "CH", "postal_code": "3001"}])
        territory = {
            "display_name": "East",
            "areas": [{"region_code": "CH", "postal_prefixes": ["8"]}],
            "members": [ben.user],
        }
        anna("CreateTerritory", territory=territory)
        [visit] = self.plan(ben).visits
        assert (visit.account, [reason.code for reason in visit.reasons]) == (zurich.name, [CADENCE, TERRITORY])

    def test_respects_absences_planned_visits_and_room(self, anna, know):
        cadence(anna, (VISIT, 30))
        known = {know(f"A{number}").name for number in range(5)}
        begin, end = Timestamp(), Timestamp()
        begin.FromDatetime(dt.datetime.combine(in_days(1), dt.time(12), dt.UTC))
        end.FromDatetime(dt.datetime.combine(in_days(3), dt.time(), dt.UTC))
        anna("CreateAbsence", absence={"user": anna.user, "start_time": begin, "end_time": end})
        begin.FromDatetime(dt.datetime.combine(in_days(3), dt.time(12), dt.UTC))
        there = {"type": VISIT, "subject": "V", "account": min(known), "start_time": begin, "end_time": begin}
        anna("CreateActivity", activity=there)
        plan = self.plan(anna, days=4, visits_per_day=2)
        assert Counter(visit.date.day for visit in plan.visits) == {in_days(3).day: 1, in_days(4).day: 2}
        assert {visit.account for visit in plan.visits} < known - {there["account"]}
        assert plan.left_out == 1

    def test_is_confirmed_once_however_often(self, anna, know):
        cadence(anna, (VISIT, 30))
        for number in range(4):
            know(f"A{number}")
        plan = self.plan(anna)
        with ThreadPoolExecutor(4) as pool:
            confirmed = list(pool.map(lambda _: anna("ConfirmVisitPlan", name=plan.name), range(4)))
        assert all(one == confirmed[0] for one in confirmed)
        found = anna("ListActivities", filter="type = TYPE_VISIT").activities
        assert {one.name for one in found} == {visit.activity for visit in confirmed[0].visits}
        assert len(found) == 4
        assert {one.account for one in found} == {visit.account for visit in plan.visits}
        assert {one.owner for one in found} == {anna.user}
        assert self.plan(anna).visits == []

    def test_takes_what_is_chosen(self, anna, know):
        cadence(anna, (VISIT, 30))
        know("A0"), know("A1")
        plan = self.plan(anna)
        stranger = f"accounts/{uuid7()}"
        refusal = anna.refusal("ConfirmVisitPlan", name=plan.name, accounts=[plan.visits[0].account, stranger])
        assert [*refusal.violations] == ["accounts[1]"]
        confirmed = anna("ConfirmVisitPlan", name=plan.name, accounts=[plan.visits[1].account])
        assert [bool(visit.activity) for visit in confirmed.visits] == [False, True]

    def test_is_made_for_whom_the_permission_reaches(self, anna, know):
        ben = anna.colleague("sales.visitPlans.create:own", "sales.visitPlans.read:own", "sales.visitPlans.update:own")
        assert ben.refusal("PlanVisits", user=anna.user).reason == "OUT_OF_SCOPE"
        assert ben.refusal("GetVisitPlan", name=self.plan(anna).name).code is StatusCode.NOT_FOUND
        plan = ben("PlanVisits")
        assert ben.refusal("ConfirmVisitPlan", name=plan.name).code is StatusCode.PERMISSION_DENIED

    def test_for_somebody_else_knows_what_its_maker_may_read(self, anna, know):
        cadence(anna, (VISIT, 30))
        team = uuid7()
        ours = {"team": f"teams/{team}"}
        deal, task = know("Deal", owner=f"users/{uuid7()}", days=1), know("Task", owner=f"users/{uuid7()}", days=1)
        known = {"Hers": know("Hers"), "Ours": know("Ours", **ours), "Deal": deal, "Task": task}
        for fields in ({}, ours):
            closing = {"display_name": "D", "account": deal.name, "close_date": date(in_days(5)), **fields}
            anna("CreateOpportunity", opportunity=closing)
            overdue_task = {"type": TASK, "subject": "T", "account": task.name, "due_date": date(in_days(-1)), **fields}
            anna("CreateActivity", activity=overdue_task)

        def told(*permissions):
            maker = anna.colleague("sales.visitPlans.create:team", *permissions, teams=[team])
            names = {account.name: name for name, account in known.items()}
            return {names[one.account]: one.score for one in self.plan(maker, user=anna.user, **ours).visits}

        reads = ("contacts.accounts.read", "sales.opportunities.read", "sales.activities.read")
        assert told() == told(*(f"{read}:own" for read in reads)) == {}
        assert told(*(f"{read}:team" for read in reads)) == {"Ours": 80, "Deal": 20, "Task": 5}
        everything = {"Hers": 80, "Ours": 80, "Deal": 40, "Task": 10}
        assert told(*(f"{read}:all" for read in reads)) == everything
        assert {one.display_name: one.score for one in self.plan(anna).visits} == everything

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"time_zone": "Mars/Olympus"}, "time_zone"),
            ({"start_date": {"year": 2027}}, "start_date"),
            ({"start_date": date(MONDAY), "end_date": date(MONDAY - dt.timedelta(days=1))}, "end_date"),
            ({"start_date": date(MONDAY), "end_date": date(MONDAY + dt.timedelta(days=61))}, "end_date"),
            ({"weekdays": [8]}, "weekdays[0]"),
            ({"visits_per_day": 21}, "visits_per_day"),
            ({"user": "users/x"}, "user"),
        ],
        ids=["zone", "no date", "backwards", "too long", "no weekday", "too many", "nobody"],
    )
    def test_names_the_field_that_is_wrong(self, anna, fields, path):
        assert [*anna.refusal("PlanVisits", **fields).violations] == [path]
