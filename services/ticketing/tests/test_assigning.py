"""Tickets that get somebody who works on them: by the rule of their queue, or by hand."""

from __future__ import annotations

import collections
import datetime as dt
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc import StatusCode

from kontor.identity.v1 import user_pb2
from kontor.sales.v1 import absence_pb2
from kontor_kit.ids import uuid7
from kontor_kit.testing.telling import teller
from kontor_ticketing.queues import rules
from kontor_ticketing.service import service
from kontor_ticketing.tickets.assigning import ASSIGN_WAITING
from services.ticketing.tests.test_tickets import events, ticket

THREADS = 16


def users(count):
    """Return users in the order in which ties are broken."""
    return sorted(f"users/{uuid7()}" for _ in range(count))


def queue(caller, *members, assignment=rules.LEAST_LOADED, **fields):
    members = [{"user": member} if isinstance(member, str) else member for member in members]
    wanted = {"display_name": f"Queue {uuid7()}", "members": members, "assignment": assignment, **fields}
    return caller("CreateQueue", queue=wanted).name


@pytest.fixture
def work(server):
    """Gives what waits to who is free now, as the job does."""

    def run():
        runtime = server.runtime
        periodic = ASSIGN_WAITING.periodic(runtime.database, service().use(runtime))
        with server.database.connect() as connection:
            connection.execute("DELETE FROM leases")
        assert periodic.run_once(runtime.system)

    return run


@pytest.fixture
def tell(server):
    with teller(server, service()) as telling:
        yield telling


def insist(do):
    """Do something again for as long as others are in the way, who wait for each other on a busy machine."""
    for _ in range(10):
        try:
            return do()
        except grpc.RpcError as error:
            if error.code() not in (StatusCode.ABORTED, StatusCode.UNAVAILABLE):
                raise
    raise AssertionError("others were in the way ten times")


class TestByTheRule:
    def test_goes_to_who_has_least_and_says_why(self, anna):
        busy, away, free = users(3)
        name = queue(anna, busy, {"user": away, "capacity": 1}, {"user": free, "skills": ["x"]})
        for user in (busy, busy, away):
            ticket(anna, queue=name, owner=user)
        made = ticket(anna, queue=name)
        said = made.assignment
        assert (made.owner, said.assignee, said.queue, said.assigner) == (free, free, name, "services/ticketing")
        assert said.reason == "has the smallest load for their weight"
        assert [(each.user, each.passed_over) for each in said.candidates] == [
            (free, ""),
            (busy, ""),
            (away, "has 1 of the queue, which is all they can take"),
        ]
        assert said.candidates[1].standing == "2 open, 2 of the queue, weight 1, turn 0"
        assert anna("GetTicket", name=made.name) == made
        assert events(anna, made.name) == ["created", "assigned"]

    def test_goes_round_whatever_they_have(self, anna):
        members = users(3)
        name = queue(anna, *members, assignment=rules.ROUND_ROBIN)
        ticket(anna, queue=name, owner=members[0])
        assert [ticket(anna, queue=name).owner for _ in range(6)] == members * 2

    def test_follows_weights_and_the_load_in_all_queues(self, anna):
        strong, weak = users(2)
        name = queue(anna, {"user": strong, "weight": 2}, weak)
        counts = collections.Counter(ticket(anna, queue=name).owner for _ in range(9))
        assert counts == {strong: 6, weak: 3}
        other = queue(anna, strong, weak)
        assert ticket(anna, queue=other).owner == weak

    def test_goes_to_who_is_able_to(self, anna):
        plain, german = users(2)
        name = queue(anna, plain, {"user": german, "skills": ["Deutsch"]}, skill_rules=[
            {"skill": "deutsch", "language_code": "de"}
        ])  # fmt: skip
        assert [ticket(anna, queue=name, language_code="de-CH").owner for _ in range(3)] == [german] * 3
        assert ticket(anna, queue=name, language_code="en").owner == plain

    def test_is_left_to_people_in_a_manual_queue_and_to_who_was_named(self, anna):
        one, other = users(2)
        manual, automatic = queue(anna, one, assignment=rules.MANUAL), queue(anna, one)
        assert ticket(anna, queue=manual).owner == ""
        named = ticket(anna, queue=automatic, owner=other)
        assert (named.owner, named.HasField("assignment")) == (other, False)

    def test_happens_where_a_ticket_comes_into_the_queue_later(self, anna):
        (one,) = users(1)
        manual, automatic = queue(anna, assignment=rules.MANUAL), queue(anna, one)
        made = ticket(anna, queue=manual)
        moved = anna("UpdateTicket", ticket={"name": made.name, "queue": automatic})
        assert (moved.owner, moved.assignment.queue) == (one, automatic)
        assert moved.etag == anna("GetTicket", name=made.name).etag

    def test_of_a_batch_sees_what_came_before(self, anna):
        members = users(2)
        name = queue(anna, *({"user": member, "capacity": 2} for member in members))
        rows = [{"ticket": {"subject": f"No. {number}", "queue": name}} for number in range(6)]
        made = anna("BatchCreateTickets", requests=rows).tickets
        assert [each.owner for each in made] == [*members, *members, "", ""]

    def test_forgets_its_reason_when_somebody_else_is_written_in(self, anna):
        one, other = users(2)
        made = ticket(anna, queue=queue(anna, one))
        changed = anna("UpdateTicket", ticket={"name": made.name, "owner": other})
        assert (changed.owner, changed.HasField("assignment")) == (other, False)

    def test_is_the_queues_doing_and_needs_no_right_of_who_asks(self, anna):
        (one,) = users(1)
        name, team = queue(anna, one), uuid7()
        portal = anna.colleague("ticketing.tickets.*:team", "ticketing.queues.read:all", teams=[team])
        assert ticket(portal, queue=name, team=f"teams/{team}").owner == one


class TestAtOnce:
    """Many threads, and nobody above what they can take."""

    def test_new_tickets_fill_everybody_and_the_rest_waits(self, anna):
        members = users(4)
        name = queue(anna, *({"user": member, "capacity": 5} for member in members))
        with ThreadPoolExecutor(THREADS) as pool:
            made = list(pool.map(lambda _: insist(lambda: ticket(anna, queue=name)).owner, range(32)))
        assert collections.Counter(made) == {**dict.fromkeys(members, 5), "": 12}

    def test_tickets_that_are_moved_assigned_and_solved_do_too(self, anna, work):
        members = users(3)
        name = queue(anna, *({"user": member, "capacity": 4} for member in members))
        waiting = [ticket(anna, queue=queue(anna, assignment=rules.MANUAL)).name for _ in range(24)]

        def move(number):
            made = insist(lambda: anna("UpdateTicket", ticket={"name": waiting[number], "queue": name}))
            if made.owner and number % 3 == 0:
                insist(lambda: anna("SolveTicket", name=made.name))

        with ThreadPoolExecutor(THREADS) as pool:
            running = [pool.submit(move, number) for number in range(24)]
            work()
            for each in running:
                each.result()
            # Nobody ever has more than four, however often anybody looked.
            work()
        held = collections.Counter(each.owner for each in self.live(anna, name))
        assert {held[member] for member in members} == {4}

    @staticmethod
    def live(caller, name):
        found = caller("ListTickets", filter=f'queue = "{name}" AND category != TICKET_CATEGORY_SOLVED', page_size=100)
        return found.tickets


class TestWaiting:
    def test_tickets_go_to_who_is_free_again_the_most_urgent_first(self, anna, work):
        (one,) = users(1)
        name = queue(anna, {"user": one, "capacity": 1})
        first = ticket(anna, queue=name)
        low = ticket(anna, queue=name, impact=1, urgency=1)
        urgent = ticket(anna, queue=name, impact=3, urgency=3)
        assert (first.owner, low.owner, urgent.owner) == (one, "", "")
        work()
        assert anna("GetTicket", name=urgent.name).owner == ""
        anna("SolveTicket", name=first.name)
        work()
        assert anna("GetTicket", name=urgent.name).owner == one
        assert anna("GetTicket", name=low.name).owner == ""

    def test_tickets_that_nobody_can_do_keep_the_others_from_nothing(self, anna, work):
        (one,) = users(1)
        name = queue(anna, skill_rules=[{"skill": "rare", "tag": "odd"}])
        odd, usual = ticket(anna, queue=name, tags=["odd"], impact=3, urgency=3), ticket(anna, queue=name)
        found = anna("GetQueue", name=name)
        anna("UpdateQueue", queue={"name": name, "members": [{"user": one}], "etag": found.etag})
        work()
        assert [anna("GetTicket", name=each.name).owner for each in (odd, usual)] == ["", one]

    def test_tickets_that_nobody_can_do_keep_others_from_nothing_however_many_they_are(self, anna, work):
        (one,) = users(1)
        name = queue(anna, {"user": one, "capacity": 1}, skill_rules=[{"skill": "wiring", "tag": "wiring"}])
        first = ticket(anna, queue=name)
        for_nobody = {"subject": "No light", "queue": name, "tags": ["wiring"]}
        anna("BatchCreateTickets", requests=[{"ticket": for_nobody}] * 500)
        last = ticket(anna, queue=name)
        anna("SolveTicket", name=first.name)
        work()
        assert (last.owner, anna("GetTicket", name=last.name).owner) == ("", one)

    def test_tickets_of_manual_and_deleted_queues_and_deleted_ones_stay(self, anna, work):
        (one,) = users(1)
        manual, automatic = queue(anna, one, assignment=rules.MANUAL), queue(anna, {"user": one, "capacity": 1})
        held, gone, left = (ticket(anna, queue=automatic) for _ in range(3))
        waits = ticket(anna, queue=manual)
        anna("DeleteTicket", name=gone.name)
        anna("SolveTicket", name=held.name)
        anna("DeleteQueue", name=automatic)
        work()
        assert {anna("GetTicket", name=each.name).owner for each in (gone, left, waits)} == {""}


class TestAbsence:
    def absence(self, user, days=0, **fields):
        now = dt.datetime.now(dt.UTC)
        found = absence_pb2.Absence(name=f"absences/{uuid7()}", user=user, **fields)
        found.start_time.FromDatetime(now + dt.timedelta(days=days - 1))
        found.end_time.FromDatetime(now + dt.timedelta(days=days + 1))
        return found

    def test_of_who_is_away_or_deactivated_is_respected(self, anna, tell):
        away, gone, later, here = users(4)
        name = queue(anna, away, gone, later, here)
        tell(anna.tenant, "kontor.sales.v1.absence.created", self.absence(away))
        tell(anna.tenant, "kontor.sales.v1.absence.created", self.absence(later, days=3))
        left = user_pb2.User(name=gone, state=user_pb2.User.STATE_DEACTIVATED)
        tell(anna.tenant, "kontor.identity.v1.user.deactivated", left)
        said = ticket(anna, queue=name).assignment
        assert {each.user: each.passed_over for each in said.candidates} == {
            away: "is away", gone: "is deactivated", later: "", here: "",
        }  # fmt: skip

    def test_is_not_forgotten_when_what_was_told_is_redacted(self, anna, tell):
        (gone,) = users(1)
        name, left = queue(anna, gone), user_pb2.User(name=gone, state=user_pb2.User.STATE_DEACTIVATED)
        tell(anna.tenant, "kontor.identity.v1.user.deactivated", left, version=1)
        tell(anna.tenant, "kontor.identity.v1.user.updated", left, version=2, data=b"")
        assert ticket(anna, queue=name).owner == ""

    def test_ends_with_the_newest_that_is_known(self, anna, tell):
        (one,) = users(1)
        name, away = queue(anna, one), self.absence(one)
        tell(anna.tenant, "kontor.sales.v1.absence.created", away, version=1)
        assert ticket(anna, queue=name).owner == ""
        over = absence_pb2.Absence()
        over.CopyFrom(away)
        over.delete_time.GetCurrentTime()
        tell(anna.tenant, "kontor.sales.v1.absence.deleted", over, version=3)
        tell(anna.tenant, "kontor.sales.v1.absence.snapshot", away, version=2)
        assert ticket(anna, queue=name).owner == one

    def test_gives_the_tickets_of_who_leaves_to_others(self, anna, tell, work):
        leaver, other = users(2)
        name = queue(anna, leaver, {"user": other, "weight": 1})
        made = ticket(anna, queue=name)
        assert made.owner == leaver
        left = user_pb2.User(name=leaver, state=user_pb2.User.STATE_DEACTIVATED)
        tell(anna.tenant, "kontor.identity.v1.user.deactivated", left)
        assert anna("GetTicket", name=made.name).owner == ""
        work()
        assert anna("GetTicket", name=made.name).owner == other


class TestByHand:
    def test_goes_to_whom_a_person_chooses_above_all_they_can_take(self, anna):
        one, other = users(2)
        name = queue(anna, {"user": one, "capacity": 1})
        ticket(anna, queue=name)
        waits = ticket(anna, queue=name)
        given = anna("AssignTicket", name=waits.name, assignee=one)
        assert (given.owner, given.assignment.assigner, given.assignment.assignee) == (one, anna.user, one)
        assert anna("AssignTicket", name=waits.name, assignee=other).owner == other
        assert events(anna, waits.name) == ["created", "assigned", "assigned"]

    def test_asks_the_rule_of_any_queue_where_nobody_is_named(self, anna):
        (one,) = users(1)
        name = queue(anna, one, assignment=rules.MANUAL)
        made = ticket(anna, queue=name)
        assert anna("AssignTicket", name=made.name).owner == one

    def test_says_why_nobody_was_found(self, anna):
        (one,) = users(1)
        made = ticket(anna, queue=queue(anna, one, skill_rules=[{"skill": "rare"}]))
        said = anna("AssignTicket", name=made.name).assignment
        assert (said.assignee, said.reason) == ("", "nobody can get one now")
        assert [(each.user, each.passed_over) for each in said.candidates] == [(one, "has no skill rare")]

    def test_tries_without_a_trace_where_only_asked_for(self, anna):
        (one,) = users(1)
        made = ticket(anna, queue=queue(anna, one, assignment=rules.MANUAL))
        assert anna("AssignTicket", name=made.name, validate_only=True).owner == one
        assert anna("GetTicket", name=made.name) == made

    def test_refuses_what_cannot_be(self, anna, tell, peer):
        one, gone, absent = users(3)
        alone, queued = ticket(anna), ticket(anna, queue=queue(anna, one))
        assert anna.refusal("AssignTicket", name=alone.name).reason == "TICKET_ASSIGNED"
        assert anna.refusal("AssignTicket", name=queued.name).reason == "TICKET_ASSIGNED"
        assert anna.refusal("ReleaseTicket", name=alone.name).reason == "NO_QUEUE"
        tell(anna.tenant, "kontor.identity.v1.user.deactivated", user_pb2.User(name=gone, state=2))
        peer.absent.add(absent)
        for user in (gone, absent):
            refusal = anna.refusal("AssignTicket", name=alone.name, assignee=user)
            assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, ["assignee"])
        anna("SolveTicket", name=queued.name)
        assert anna.refusal("AssignTicket", name=queued.name, assignee=one).reason == "TICKET_NOT_OPEN"
        assert anna.refusal("AssignTicket", name=alone.name, assignee=one, etag="v9").code is StatusCode.ABORTED

    def test_takes_the_right_to_assign_as_far_as_it_reaches(self, anna):
        (one,) = users(1)
        made, read = ticket(anna, queue=queue(anna, one)), "ticketing.tickets.read:all"
        ben = anna.colleague(read, "ticketing.tickets.assign:own")
        assert ben.refusal("AssignTicket", name=made.name, assignee=one).code is StatusCode.PERMISSION_DENIED
        assert anna.colleague(read).refusal("ReleaseTicket", name=made.name).code is StatusCode.PERMISSION_DENIED


class TestReleased:
    def test_goes_back_to_the_queue_and_never_to_the_same(self, anna, work):
        one, other = users(2)
        name = queue(anna, one, {"user": other, "capacity": 1})
        made = ticket(anna, queue=name)
        busy = ticket(anna, queue=name, owner=other)
        agent = anna.colleague("ticketing.tickets.*:own", user=made.owner)
        released = agent("ReleaseTicket", name=made.name)
        assert (released.owner, [*released.assignment.released_by]) == ("", [one])
        work()
        assert anna("GetTicket", name=made.name).owner == ""
        anna("SolveTicket", name=busy.name)
        work()
        given = anna("GetTicket", name=made.name)
        assert (given.owner, [*given.assignment.released_by]) == (other, [one])
        assert given.assignment.candidates[1].passed_over == "gave it back"
        assert events(anna, made.name) == ["created", "assigned", "released", "assigned"]

    def test_counts_in_that_queue_only(self, anna):
        (one,) = users(1)
        made = ticket(anna, queue=queue(anna, one))
        anna("ReleaseTicket", name=made.name)
        assert anna.refusal("ReleaseTicket", name=made.name).reason == "TICKET_NOT_ASSIGNED"
        moved = anna("UpdateTicket", ticket={"name": made.name, "queue": queue(anna, one)})
        assert (moved.owner, [*moved.assignment.released_by]) == (one, [])
