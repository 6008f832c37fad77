"""Rules of tickets: the way through categories, priorities, and what follows from an entry."""

from __future__ import annotations

import datetime as dt
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kontor.ticketing.v1 import priority_matrix_pb2, ticket_category_pb2, ticket_level_pb2, ticket_priority_pb2
from kontor.ticketing.v1.ticket_entry_pb2 import TicketEntry
from kontor.ticketing.v1.ticket_pb2 import Ticket
from kontor_ticketing.priority_matrices import rules as matrices
from kontor_ticketing.ticket_entries import rules as entries
from kontor_ticketing.ticket_states import rules as states
from kontor_ticketing.ticket_states.rules import CLOSED, LIVE, NEW, OPEN, PENDING, SOLVED
from kontor_ticketing.tickets import rules

Cell = priority_matrix_pb2.PriorityMatrix.Cell
START = dt.datetime(2026, 3, 29, tzinfo=dt.UTC)
LEVELS = st.integers(1, 3)
MOVES = st.lists(st.tuples(st.sampled_from([NEW, OPEN, PENDING, SOLVED, CLOSED]), st.integers(-5, 1000)), max_size=20)


class TestEntering:
    @settings(max_examples=100)
    @given(MOVES)
    def test_spans_follow_each_other_and_the_times_say_where_it_stands(self, moves):
        ticket, now = Ticket(), START
        for category, seconds in moves:
            now += dt.timedelta(seconds=seconds)
            rules.enter(ticket, category, now)
        spans = ticket.category_spans
        begun = [span.start_time.ToDatetime() for span in spans]
        assert begun == sorted(begun)
        assert all(one.category != two.category for one, two in itertools.pairwise(spans))
        assert ticket.category == (moves[-1][0] if moves else 0)
        if moves and moves[-1][0] in LIVE:
            assert not ticket.HasField("solved_time")
            assert not ticket.HasField("closed_time")
        assert ticket.HasField("closed_time") == (ticket.category == CLOSED)
        opened = sum(one.category not in LIVE and two.category in LIVE for one, two in itertools.pairwise(spans))
        assert ticket.reopen_count == opened

    def test_solved_and_then_closed_keeps_both_times(self):
        ticket = Ticket()
        for hours, category in enumerate((NEW, SOLVED, CLOSED)):
            rules.enter(ticket, category, START + dt.timedelta(hours=hours))
        assert ticket.solved_time.ToDatetime(dt.UTC) == START + dt.timedelta(hours=1)
        assert ticket.closed_time.ToDatetime(dt.UTC) == START + dt.timedelta(hours=2)


class TestPriority:
    @given(LEVELS, LEVELS)
    def test_built_in_rises_with_both(self, impact, urgency):
        found = rules.priority([], impact, urgency)
        assert found == rules.priority([], urgency, impact)
        assert impact == 3 or found <= rules.priority([], impact + 1, urgency)

    @given(LEVELS, LEVELS, st.integers(1, 4))
    def test_what_the_tenant_says_goes_first(self, impact, urgency, priority):
        cells = [Cell(impact=impact, urgency=urgency, priority=priority)]
        for pair in itertools.product((1, 2, 3), repeat=2):
            expected = priority if pair == (impact, urgency) else rules.BUILT_IN[pair]
            assert rules.priority(cells, *pair) == expected

    def test_a_matrix_says_nothing_twice(self):
        matrix = priority_matrix_pb2.PriorityMatrix(display_name="x", cells=[Cell(impact=1, urgency=1)] * 2)
        assert [violation.field for violation in matrices.check(matrix)] == ["cells[1]"]


class TestEntries:
    @pytest.mark.parametrize("category", [NEW, OPEN, PENDING, SOLVED, CLOSED])
    def test_requesters_open_what_does_not_move(self, category):
        led = rules.after_entry(category, from_requester=True, public=True)
        assert led == (category if category in (NEW, OPEN) else OPEN)

    @pytest.mark.parametrize("category", [NEW, OPEN, PENDING, SOLVED, CLOSED])
    @pytest.mark.parametrize("public", [True, False])
    def test_agents_begin_by_answering_and_move_nothing_else(self, category, public):
        led = rules.after_entry(category, from_requester=False, public=public)
        assert led == (OPEN if public and category == NEW else category)


class TestFollowUp:
    def test_takes_over_what_it_is_about_and_nothing_of_what_happened(self):
        ticket = Ticket(name="tickets/1", subject="x", queue="queues/1", owner="users/1", tags=["a"], solution="s")
        rules.enter(ticket, CLOSED, START)
        ticket.clocks.add()
        assert rules.follow_up(ticket) == Ticket(subject="x", queue="queues/1", tags=["a"], previous_ticket="tickets/1")

    def test_stays_with_the_owner_without_a_queue(self):
        assert rules.follow_up(Ticket(name="tickets/1", owner="users/1")).owner == "users/1"


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        pytest.param({"account": "a"}, {"account": "a"}, True, id="account"),
        pytest.param({"account": "a"}, {"account": "b"}, False, id="other-account"),
        pytest.param({"account": "a", "requester": "c"}, {"requester": "c"}, False, id="one-account"),
        pytest.param({"requester": "c"}, {"requester": "c"}, True, id="requester"),
        pytest.param({}, {}, False, id="nothing-known"),
    ],
)
def test_tickets_belong_together_by_account_or_else_requester(one, other, together):
    assert rules.belong_together(Ticket(**one), Ticket(**other)) == together


def test_free_name_counts_up():
    assert states.free_name("Open", lambda text: text not in {"Open", "Open 2"}) == "Open 3"


def test_numbers_are_those_of_the_contract():
    category = ticket_category_pb2.TicketCategory.Value
    for name in ("NEW", "OPEN", "PENDING", "SOLVED", "CLOSED"):
        assert getattr(states, name) == category(f"TICKET_CATEGORY_{name}")
    assert ticket_level_pb2.TICKET_LEVEL_MEDIUM == rules.MEDIUM
    assert Ticket.TYPE_QUESTION == rules.TYPE_QUESTION
    assert set(rules.BUILT_IN.values()) == set(ticket_priority_pb2.TicketPriority.values()[1:])
    for name in ("PUBLIC", "INTERNAL"):
        assert getattr(entries, name) == TicketEntry.Visibility.Value(f"VISIBILITY_{name}")
    for name in ("FROM_REQUESTER", "FROM_AGENT"):
        assert getattr(entries, name) == TicketEntry.Direction.Value(f"DIRECTION_{name}")
