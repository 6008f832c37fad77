"""Tickets that many write at once, and those of somebody who leaves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc import StatusCode

from kontor.identity.v1 import user_pb2
from kontor_kit.ids import uuid7
from kontor_kit.testing.telling import teller
from kontor_ticketing.service import service
from kontor_ticketing.ticket_entries.rules import FROM_REQUESTER, PUBLIC
from kontor_ticketing.ticket_states.rules import OPEN, PENDING
from services.ticketing.tests.test_tickets import events, state, ticket

THREADS = 8


def at_once(do, times=THREADS):
    """Do something from as many threads, and return what became of each: an answer or a code."""

    def run(number):
        try:
            return do(number)
        except grpc.RpcError as error:
            return error.code()

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(run, range(times)))


class TestAtOnce:
    def test_numbers_have_no_gap_and_no_double_and_states_are_made_once(self, anna):
        made = at_once(lambda _: ticket(anna))
        assert sorted(each.number for each in made) == [f"T{n:06d}" for n in range(1, THREADS + 1)]
        assert len(anna("ListTicketStates").ticket_states) == 5

    def test_one_of_two_writers_is_aborted(self, anna):
        made = ticket(anna)

        def write(number):
            return anna("UpdateTicket", ticket={"name": made.name, "subject": f"No. {number}", "etag": made.etag})

        assert at_once(write).count(StatusCode.ABORTED) == THREADS - 1

    def test_solved_once(self, anna):
        made = ticket(anna)
        refused = at_once(lambda _: anna("SolveTicket", name=made.name)).count(StatusCode.FAILED_PRECONDITION)
        assert refused == THREADS - 1
        assert events(anna, made.name) == ["created", "solved"]

    def test_a_state_changes_or_is_used_and_never_both(self, anna):
        for round_number in range(4):
            waiting = state(anna, PENDING, f"Waiting {round_number}")
            made = ticket(anna)

            def write(number, waiting=waiting, made=made):
                if number % 2:
                    return anna("UpdateTicketState", ticket_state={"name": waiting.name, "category": OPEN})
                return anna("UpdateTicket", ticket={"name": made.name, "state": waiting.name})

            at_once(write, 2)
            after = anna("GetTicket", name=made.name)
            if after.state == waiting.name:
                assert after.category == anna("GetTicketState", name=waiting.name).category

    def test_all_that_is_said_is_kept_and_opens_once(self, anna):
        made = ticket(anna)
        anna("SolveTicket", name=made.name)

        def say(number):
            entry = {"ticket": made.name, "body": str(number), "visibility": PUBLIC, "direction": FROM_REQUESTER}
            return anna("CreateTicketEntry", ticket_entry=entry)

        at_once(say)
        told = anna("ListTicketEntries", filter=f"ticket = {made.name}").ticket_entries
        assert {entry.body for entry in told} == {str(number) for number in range(THREADS)}
        assert events(anna, made.name) == ["created", "solved", "reopened"]

    def test_merged_into_each_other_one_goes_on(self, anna):
        first, second = ticket(anna), ticket(anna)
        ways = ((first, second), (second, first))
        at_once(lambda number: anna("MergeTicket", name=ways[number][0].name, into=ways[number][1].name), 2)
        merged = [anna("GetTicket", name=each.name).merged_into for each in (first, second)]
        assert min(merged, key=bool) == ""
        assert any(merged)


class TestLeaving:
    @pytest.fixture
    def tell(self, server):
        with teller(server, service()) as telling:
            yield telling

    def test_tickets_go_to_the_team(self, anna, tell):
        user, team = f"users/{uuid7()}", f"teams/{uuid7()}"
        made, closed = ticket(anna, owner=user), ticket(anna, owner=user)
        anna("CloseTicket", name=closed.name)
        gone = user_pb2.User(name=user, state=user_pb2.User.STATE_DEACTIVATED, teams=[team])
        tell(anna.tenant, "kontor.identity.v1.user.deactivated", gone)
        for each in (made, closed):
            after = anna("GetTicket", name=each.name)
            assert (after.owner, after.team) == ("", team)
        assert events(anna, made.name) == ["created", "updated"]
