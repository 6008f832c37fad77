"""Tickets: created, moved, solved and closed, with a priority that follows."""

from __future__ import annotations

import pytest
from grpc import StatusCode

from kontor_ticketing.ticket_states.rules import CLOSED, NEW, OPEN, PENDING, SOLVED

ACCOUNT = "accounts/01900000-0000-7000-8000-000000000001"
LOW, NORMAL, HIGH, URGENT = 1, 2, 3, 4


def ticket(caller, **fields):
    return caller("CreateTicket", ticket={"subject": "The door does not close", "account": ACCOUNT, **fields})


def state(caller, category, display_name="Parts on their way", **fields):
    wanted = {"display_name": display_name, "category": category, **fields}
    return caller("CreateTicketState", ticket_state=wanted)


def events(caller, name) -> list[str]:
    with caller.running.database.connect() as connection:
        rows = connection.execute(
            "SELECT event_type FROM change_pending WHERE resource_name = %s ORDER BY sequence", [name]
        ).fetchall()
    return [row[0].rpartition(".")[2] for row in rows]


def spans(found) -> list[int]:
    return [span.category for span in found.category_spans]


class TestCreated:
    def test_begins_as_new_with_a_number_and_a_priority(self, anna):
        first, second = ticket(anna), ticket(anna)
        assert (first.number, second.number) == ("T000001", "T000002")
        assert (first.category, first.priority, first.owner) == (NEW, NORMAL, anna.user)
        assert spans(first) == [NEW]
        assert anna("GetTicket", name=first.name) == first
        named = {s.category: s.display_name for s in anna("ListTicketStates").ticket_states}
        assert named == {NEW: "New", OPEN: "Open", PENDING: "Pending", SOLVED: "Solved", CLOSED: "Closed"}

    def test_goes_into_the_tenants_own_state(self, anna):
        mine = state(anna, NEW, "Unread", standard=True)
        assert ticket(anna).state == mine.name

    def test_cannot_begin_solved(self, anna):
        done = state(anna, SOLVED)
        refused = anna.refusal("CreateTicket", ticket={"subject": "x", "state": done.name})
        assert [*refused.violations] == ["ticket.state"]

    def test_names_what_is_wrong(self, anna):
        refused = anna.refusal("CreateTicket", ticket={"subject": " ", "language_code": "zz-zz-zz"})
        assert [*refused.violations] == ["ticket.subject", "ticket.language_code"]

    def test_is_found_by_subject_and_number(self, anna):
        made = ticket(anna)
        for query in ("door close", "t000001", "dor close"):
            assert [r.ticket.name for r in anna("SearchTickets", query=query).results] == [made.name]

    def test_own_scope_sees_own_tickets_only(self, anna):
        made = ticket(anna)
        bert = anna.colleague("ticketing.tickets.*:own")
        assert len(bert("ListTickets").tickets) == 0
        assert bert.refusal("SolveTicket", name=made.name).code is StatusCode.NOT_FOUND


class TestMoving:
    def test_among_what_is_still_to_be_dealt_with(self, anna):
        made, waiting = ticket(anna), state(anna, PENDING)
        moved = anna("UpdateTicket", ticket={"name": made.name, "state": waiting.name})
        assert (moved.category, spans(moved)) == (PENDING, [NEW, PENDING])
        other = state(anna, PENDING, "Waits for the weather")
        assert spans(anna("UpdateTicket", ticket={"name": made.name, "state": other.name})) == [NEW, PENDING]

    @pytest.mark.parametrize("category", [SOLVED, CLOSED])
    def test_to_the_end_only_by_its_own_method(self, anna, category):
        made, end = ticket(anna), state(anna, category)
        refused = anna.refusal("UpdateTicket", ticket={"name": made.name, "state": end.name})
        assert [*refused.violations] == ["ticket.state"]

    def test_solved_it_does_not_open_by_an_update(self, anna):
        made, going = ticket(anna), state(anna, OPEN)
        anna("SolveTicket", name=made.name)
        refused = anna.refusal("UpdateTicket", ticket={"name": made.name, "state": going.name})
        assert [*refused.violations] == ["ticket.state"]

    def test_solved_says_when_and_how(self, anna):
        made = ticket(anna)
        done = anna("SolveTicket", name=made.name, solution="Oiled the hinge")
        assert (done.category, done.solution, spans(done)) == (SOLVED, "Oiled the hinge", [NEW, SOLVED])
        assert done.solved_time == done.category_spans[1].start_time
        assert anna.refusal("SolveTicket", name=made.name).reason == "TICKET_NOT_OPEN"
        assert events(anna, made.name) == ["created", "solved"]

    def test_closed_it_stays_as_it_is(self, anna):
        made = ticket(anna)
        done = anna("CloseTicket", name=made.name)
        assert (done.category, done.HasField("closed_time")) == (CLOSED, True)
        refused = anna.refusal("UpdateTicket", ticket={"name": made.name, "subject": "Another matter"})
        assert refused.reason == "TICKET_CLOSED"
        anna("DeleteTicket", name=made.name)
        assert anna("UndeleteTicket", name=made.name).category == CLOSED

    def test_into_a_state_of_the_category_only(self, anna):
        made, waiting = ticket(anna), state(anna, PENDING)
        assert [*anna.refusal("SolveTicket", name=made.name, state=waiting.name).violations] == ["state"]

    def test_stale_etag_is_aborted(self, anna):
        made = ticket(anna)
        anna("UpdateTicket", ticket={"name": made.name, "subject": "The gate"})
        assert anna.refusal("SolveTicket", name=made.name, etag=made.etag).code is StatusCode.ABORTED

    def test_assigned_is_told(self, anna):
        made, bert = ticket(anna), anna.colleague()
        anna("UpdateTicket", ticket={"name": made.name, "owner": bert.user})
        assert events(anna, made.name) == ["created", "assigned"]


class TestPriority:
    def test_follows_from_impact_and_urgency(self, anna):
        made = ticket(anna, impact=3, urgency=3)
        assert made.priority == URGENT
        assert anna("UpdateTicket", ticket={"name": made.name, "impact": 1}).priority == NORMAL
        assert events(anna, made.name) == ["created", "priority_changed"]

    def test_by_the_tenants_own_matrix(self, anna):
        cells = [{"impact": 2, "urgency": 2, "priority": HIGH}]
        anna("CreatePriorityMatrix", priority_matrix={"display_name": "Ours", "cells": cells, "standard": True})
        assert (ticket(anna).priority, ticket(anna, urgency=1).priority) == (HIGH, LOW)

    def test_one_matrix_holds(self, anna):
        def create(display_name, priority, standard=True):
            cells = [{"impact": 2, "urgency": 2, "priority": priority}]
            wanted = {"display_name": display_name, "cells": cells, "standard": standard}
            return anna("CreatePriorityMatrix", priority_matrix=wanted)

        first, second = create("First", HIGH), create("Second", URGENT)
        create("Third", LOW, standard=False)
        assert not anna("GetPriorityMatrix", name=first.name).standard
        assert ticket(anna).priority == URGENT
        anna("DeletePriorityMatrix", name=second.name)
        assert ticket(anna).priority == NORMAL

    def test_a_matrix_says_everything_once(self, anna):
        cells = [{"impact": 2, "urgency": 2, "priority": HIGH}] * 2
        refused = anna.refusal("CreatePriorityMatrix", priority_matrix={"display_name": "Ours", "cells": cells})
        assert [*refused.violations] == ["priority_matrix.cells[1]"]

    def test_overridden_it_stays_until_it_is_cleared(self, anna):
        made = ticket(anna)
        over = anna("OverrideTicketPriority", name=made.name, priority=URGENT, reason="The minister waits")
        assert (over.priority, over.priority_override_reason) == (URGENT, "The minister waits")
        assert anna("UpdateTicket", ticket={"name": made.name, "urgency": 1}).priority == URGENT
        assert anna("ClearTicketPriority", name=made.name).priority == LOW
        assert events(anna, made.name) == ["created", "priority_overridden", "updated", "priority_changed"]


class TestStates:
    def test_in_use_it_keeps_its_category_and_stays(self, anna):
        waiting = state(anna, PENDING)
        made = ticket(anna, state=waiting.name)
        refused = anna.refusal("UpdateTicketState", ticket_state={"name": waiting.name, "category": OPEN})
        assert refused.reason == "STATE_IN_USE"
        anna("DeleteTicket", name=made.name)
        assert anna.refusal("DeleteTicketState", name=waiting.name).reason == "STATE_IN_USE"
        free = state(anna, PENDING, "Free")
        anna("UpdateTicketState", ticket_state={"name": free.name, "category": OPEN})
        anna("DeleteTicketState", name=free.name)

    def test_one_of_a_category_is_standard(self, anna):
        first, second = state(anna, NEW, "First", standard=True), state(anna, NEW, "Second", standard=True)
        assert not anna("GetTicketState", name=first.name).standard
        anna("UpdateTicketState", ticket_state={"name": first.name, "standard": True})
        assert not anna("GetTicketState", name=second.name).standard
        assert ticket(anna).state == first.name

    def test_is_called_like_no_other(self, anna):
        state(anna, NEW, "Unread")
        refused = anna.refusal("CreateTicketState", ticket_state={"display_name": "UNREAD", "category": OPEN})
        assert refused.code is StatusCode.ALREADY_EXISTS

    def test_a_taken_name_does_not_keep_the_usual_states_away(self, anna):
        state(anna, PENDING, "Open")
        ticket(anna)
        assert "Open 2" in {s.display_name for s in anna("ListTicketStates").ticket_states}
