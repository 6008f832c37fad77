"""Deadlines of tickets: promised, kept, explained, and told of once."""

from __future__ import annotations

import datetime as dt
import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
from grpc import StatusCode

from kontor.ticketing.v1.sla_policy_service_pb2 import ReapplySlaPolicyResponse
from kontor_kit.ids import parse_name, uuid7
from kontor_kit.operations.runner import Runner
from kontor_ticketing.service import service
from kontor_ticketing.sla_policies.api import REAPPLY
from kontor_ticketing.sla_policies.rules import (
    BREACHED,
    CANCELLED,
    FIRST_RESPONSE,
    MET,
    PAUSED,
    RESOLUTION,
    RUNNING,
)
from kontor_ticketing.ticket_states.rules import PENDING
from kontor_ticketing.tickets.api import TELL_DEADLINES
from services.ticketing.tests.test_conversation import CONTACT, hear, say
from services.ticketing.tests.test_sla_policies import calendar
from services.ticketing.tests.test_tickets import ACCOUNT, events, state, ticket

HOUR = 3600
URGENT = 4


@pytest.fixture
def gold(anna):
    """A policy for everything, around the clock."""
    targets = [
        {"first_response": {"seconds": HOUR}, "resolution": {"seconds": 8 * HOUR}},
        {"priority": URGENT, "first_response": {"seconds": HOUR // 2}, "resolution": {"seconds": 2 * HOUR}},
    ]
    given = {"display_name": "Gold", "targets": targets, "warning_lead": {"seconds": HOUR // 4}}
    return anna("CreateSlaPolicy", sla_policy=given)


@pytest.fixture
def later(server):
    """Run the job as if it were so many hours later, in as many processes."""

    def run(hours: float, processes: int = 1) -> None:
        runtime, now = server.runtime, dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)
        job = TELL_DEADLINES.periodic(runtime.database, service().use(runtime), lambda: now)
        with ThreadPoolExecutor(processes) as pool:
            with server.database.connect() as connection:
                connection.execute("UPDATE leases SET expire_time = 'epoch' WHERE name = %s", [job.name])
            list(pool.map(lambda _: job.run_once(server.runtime.system), range(processes)))

    return run


def clocks(found) -> dict[int, int]:
    return {clock.metric: clock.state for clock in found.clocks}


def clock(found, metric):
    return next(clock for clock in found.clocks if clock.metric == metric)


def hours(start, end) -> float:
    return round((end.ToDatetime() - start.ToDatetime()) / dt.timedelta(hours=1), 3)


def begin_earlier(server, found, by: float) -> None:
    """Let a ticket have come so many hours earlier."""
    id, past = parse_name(found.name, "tickets/{ticket}", "ticket"), int(by * HOUR)
    with server.database.connect() as connection:
        connection.execute(
            "UPDATE tickets SET category_spans = jsonb_set(category_spans, '{0,start_time,seconds}', to_jsonb("
            "(category_spans->0->'start_time'->>'seconds')::bigint - %s)) WHERE id = %s",
            [past, id],
        )


class TestPromise:
    def test_is_written_into_the_ticket(self, anna, gold):
        made = ticket(anna)
        assert clocks(made) == {FIRST_RESPONSE: RUNNING, RESOLUTION: RUNNING}
        (terms,) = made.sla_terms
        assert (terms.policy, terms.policy_version, terms.priority) == (gold.name, 1, made.priority)
        first = clock(made, FIRST_RESPONSE)
        assert first.start_time == made.category_spans[0].start_time == terms.since_time
        assert hours(first.start_time, first.due_time) == 1
        assert hours(first.start_time, first.due_soon_time) == 0.75
        assert hours(first.start_time, clock(made, RESOLUTION).due_time) == 8
        assert made.next_due_time == first.due_soon_time
        assert anna("GetTicket", name=made.name) == made

    def test_is_none_where_no_policy_fits(self, anna):
        made = ticket(anna)
        assert (len(made.clocks), made.HasField("next_due_time"), made.sla_terms[0].policy) == (0, False, "")

    def test_is_that_of_the_first_policy_that_fits(self, anna, gold):
        given = {"targets": [{"resolution": {"seconds": HOUR}}], "order": 1}
        queue = anna("CreateQueue", queue={"display_name": f"Queue {uuid7()}"}).name
        for name, conditions in (
            ("Account", {"accounts": [ACCOUNT]}),
            ("Queue", {"queues": [queue]}),
            ("Complaint", {"ticket_types": [5], "tags": ["vip"]}),
        ):
            anna("CreateSlaPolicy", sla_policy={**given, "display_name": name, **conditions})
        named = {policy.name: policy.display_name for policy in anna("ListSlaPolicies").sla_policies}

        def chosen(**fields):
            return named[ticket(anna, **{"account": "", **fields}).sla_terms[0].policy]

        assert chosen(account=ACCOUNT) == "Account"
        assert chosen(queue=queue) == "Queue"
        assert chosen(type=5, tags=["vip"]) == "Complaint"
        assert chosen(type=5) == "Gold"

    def test_stays_as_it_was_when_the_policy_changes(self, anna, gold):
        made = ticket(anna)
        tight = [{"first_response": {"seconds": 60}}]
        anna("UpdateSlaPolicy", sla_policy={"name": gold.name, "targets": tight})
        after = anna("UpdateTicket", ticket={"name": made.name, "subject": "Still the same"})
        assert (after.sla_terms, clock(after, FIRST_RESPONSE).due_time) == (
            made.sla_terms,
            clock(made, FIRST_RESPONSE).due_time,
        )
        new = ticket(anna)
        assert (new.sla_terms[0].policy_version, len(new.clocks)) == (2, 1)

    def test_stays_as_it_was_when_the_calendar_changes(self, anna):
        used = calendar(anna)
        given = {"targets": [{"resolution": {"seconds": HOUR}}], "working_calendar": used.name}
        anna("CreateSlaPolicy", sla_policy={"display_name": "Silver", **given})
        made = ticket(anna)
        whole = [{"day": day, "start": {}, "end": {"hours": 24}} for day in range(1, 8)]
        anna("UpdateWorkingCalendar", working_calendar={"name": used.name, "slots": whole})
        after = anna("UpdateTicket", ticket={"name": made.name, "subject": "Still the same"})
        assert after.clocks[0].due_time == made.clocks[0].due_time
        new = ticket(anna).clocks[0]
        assert hours(new.start_time, new.due_time) == 1

    def test_is_another_one_from_when_the_priority_changes(self, anna, gold):
        made = ticket(anna)
        after = anna("OverrideTicketPriority", name=made.name, priority=URGENT, reason="The line stands still")
        assert [terms.priority for terms in after.sla_terms] == [made.priority, URGENT]
        assert [terms.policy for terms in after.sla_terms] == [gold.name] * 2
        resolution = clock(after, RESOLUTION)
        assert hours(resolution.start_time, resolution.due_time) == 2

    def test_is_not_written_anew_where_nothing_changes(self, anna, gold):
        made = ticket(anna)
        assert anna("UpdateTicket", ticket={"name": made.name, "subject": made.subject}) == made

    def test_holds_for_all_rows_of_a_batch(self, anna, gold):
        rows = [{"ticket": {"subject": f"Matter {number}"}} for number in range(3)]
        created = anna("BatchCreateTickets", requests=rows).tickets
        assert [len(each.clocks) for each in created] == [2, 2, 2]

    def test_is_not_for_callers_to_write(self, anna, gold):
        made = ticket(anna, clocks=[{"metric": 1, "state": MET}], next_due_time={"seconds": 1})
        assert clocks(made) == {FIRST_RESPONSE: RUNNING, RESOLUTION: RUNNING}


class TestClocks:
    def test_first_response_is_met_by_an_answer_and_the_next_deadline_is_looked_at(self, anna, gold):
        made = ticket(anna)
        say(anna, made)
        after = anna("GetTicket", name=made.name)
        assert clocks(after) == {FIRST_RESPONSE: MET, RESOLUTION: RUNNING}
        assert after.next_due_time == clock(after, RESOLUTION).due_soon_time

    def test_answer_that_sets_the_ticket_to_pending_meets_the_first_and_pauses_the_other(self, anna, gold):
        made = ticket(anna, requester=CONTACT)
        say(anna, made, state=state(anna, PENDING).name)
        after = anna("GetTicket", name=made.name)
        assert clocks(after) == {FIRST_RESPONSE: MET, RESOLUTION: PAUSED}
        assert not after.HasField("next_due_time")
        hear(anna, made)
        assert clocks(anna("GetTicket", name=made.name)) == {FIRST_RESPONSE: MET, RESOLUTION: RUNNING}

    def test_are_met_by_the_solution_and_go_on_when_opened_again(self, anna, gold):
        made = ticket(anna)
        solved = anna("SolveTicket", name=made.name, solution="Switched it on")
        assert (clocks(solved), solved.HasField("next_due_time")) == ({FIRST_RESPONSE: MET, RESOLUTION: MET}, False)
        again = anna("ReopenTicket", name=made.name)
        assert clocks(again) == {FIRST_RESPONSE: MET, RESOLUTION: RUNNING}
        assert clock(again, RESOLUTION).due_time.ToDatetime() >= clock(made, RESOLUTION).due_time.ToDatetime()

    def test_count_no_more_when_the_ticket_is_merged(self, anna, gold):
        one, other = (ticket(anna, account=ACCOUNT) for _ in range(2))
        merged = anna("MergeTicket", name=one.name, into=other.name)
        assert clocks(merged) == {FIRST_RESPONSE: CANCELLED, RESOLUTION: CANCELLED}
        assert not merged.HasField("next_due_time")

    def test_what_was_missed_stays_missed(self, server, anna, gold):
        made = ticket(anna)
        begin_earlier(server, made, 3)
        solved = anna("SolveTicket", name=made.name)
        assert clocks(solved) == {FIRST_RESPONSE: BREACHED, RESOLUTION: MET}
        again = anna("ReopenTicket", name=made.name)
        assert clocks(again) == {FIRST_RESPONSE: BREACHED, RESOLUTION: RUNNING}
        assert hours(clock(again, FIRST_RESPONSE).start_time, clock(again, FIRST_RESPONSE).breached_time) == 1


class TestTelling:
    def test_is_done_once_by_however_many_processes(self, anna, gold, later):
        made = ticket(anna)
        later(0.5, processes=8)
        assert events(anna, made.name) == ["created"]
        later(0.8, processes=8)
        later(0.9)
        warned = anna("GetTicket", name=made.name)
        assert events(anna, made.name) == ["created", "due_soon"]
        assert clock(warned, FIRST_RESPONSE).HasField("warned_time")
        later(1.1, processes=8)
        later(2)
        missed = anna("GetTicket", name=made.name)
        assert events(anna, made.name) == ["created", "due_soon", "breached"]
        assert clocks(missed) == {FIRST_RESPONSE: BREACHED, RESOLUTION: RUNNING}
        assert missed.next_due_time == clock(missed, RESOLUTION).due_soon_time

    def test_tells_of_each_promise(self, anna, gold, later):
        made = ticket(anna)
        later(9, processes=8)
        after = anna("GetTicket", name=made.name)
        assert events(anna, made.name) == ["created", "breached", "breached"]
        assert all(each.HasField("escalated_time") for each in after.clocks)
        assert not after.HasField("next_due_time")

    def test_does_not_tell_of_what_was_done_in_time_or_waits(self, anna, gold, later):
        done, waits, deleted, merged = (ticket(anna, account=ACCOUNT, requester=CONTACT) for _ in range(4))
        anna("SolveTicket", name=done.name)
        say(anna, waits, state=state(anna, PENDING).name)
        anna("DeleteTicket", name=deleted.name)
        anna("MergeTicket", name=merged.name, into=done.name)
        later(100)
        assert events(anna, done.name) == ["created", "solved"]
        assert events(anna, waits.name) == ["created", "answered"]
        assert events(anna, deleted.name) == ["created", "deleted"]
        assert events(anna, merged.name) == ["created", "merged"]

    def test_tells_of_what_was_missed_before_it_was_solved_but_not_of_what_is_closed(self, server, anna, gold, later):
        solved, closed = ticket(anna), ticket(anna)
        for made, method in ((solved, "SolveTicket"), (closed, "CloseTicket")):
            begin_earlier(server, made, 3)
            anna(method, name=made.name)
        later(0)
        assert events(anna, solved.name) == ["created", "solved", "breached"]
        assert events(anna, closed.name) == ["created", "closed"]
        assert clocks(anna("GetTicket", name=closed.name))[FIRST_RESPONSE] == BREACHED

    def test_goes_on_when_a_deleted_ticket_comes_back(self, anna, gold, later):
        made = ticket(anna)
        anna("DeleteTicket", name=made.name)
        later(1.5)
        anna("UndeleteTicket", name=made.name)
        later(1.5)
        assert events(anna, made.name) == ["created", "deleted", "undeleted", "breached"]

    def test_is_found_by_an_index(self, server):
        with server.database.connect("system") as connection:
            connection.execute("SET enable_seqscan = off")
            plan = connection.execute(
                "EXPLAIN SELECT tenant_id, id FROM tickets WHERE delete_time IS NULL AND (next_due_time <= now())"
            ).fetchall()
        assert "tickets_due" in str(plan)


class TestExplanation:
    def test_counts_to_the_deadline_without_gap(self, anna):
        used = calendar(anna, country_code="DE", subdivision="BY")
        targets = [{"resolution": {"seconds": 40 * HOUR}}]
        given = {"display_name": "Silver", "targets": targets, "working_calendar": used.name}
        anna("CreateSlaPolicy", sla_policy=given)
        made = ticket(anna)
        told = anna("ExplainDeadline", name=made.name, metric=RESOLUTION)
        assert (told.clock, list(told.terms)) == (made.clocks[0], list(made.sla_terms))
        edges = [made.clocks[0].start_time, *(each.end_time for each in told.intervals)]
        assert [each.start_time for each in told.intervals] == edges[:-1]
        assert edges[-1] == made.clocks[0].due_time
        assert told.intervals[-1].elapsed.seconds == 40 * HOUR
        assert {each.rule for each in told.intervals if each.counted} == {"Munich"}

    def test_names_the_pause(self, server, anna, gold):
        made = ticket(anna)
        begin_earlier(server, made, 1)
        anna("UpdateTicket", ticket={"name": made.name, "state": state(anna, PENDING).name})
        told = anna("ExplainDeadline", name=made.name, metric=RESOLUTION)
        assert [(each.counted, each.reason) for each in told.intervals] == [(True, 1), (False, 6)]
        assert told.intervals[1].rule == "PENDING pauses by Gold, version 1"
        assert told.clock.state == PAUSED

    def test_comes_in_pages_where_it_is_long(self, server, anna):
        used = calendar(anna)
        given = {"targets": [{"resolution": {"seconds": 8000 * HOUR}}], "working_calendar": used.name}
        anna("CreateSlaPolicy", sla_policy={"display_name": "Slow", **given})
        made = ticket(anna)
        first = anna("ExplainDeadline", name=made.name, metric=RESOLUTION)
        found, pages, start = list(first.intervals), 1, first.next_start_time
        while start.seconds:
            page = anna("ExplainDeadline", name=made.name, metric=RESOLUTION, start_time=start)
            found, pages, start = [*found, *page.intervals], pages + 1, page.next_start_time
        assert pages > 2
        assert found[-1].end_time == made.clocks[0].due_time
        assert all(one.end_time == other.start_time for one, other in itertools.pairwise(found))

    def test_says_nothing_where_nothing_is_promised(self, anna):
        told = anna("ExplainDeadline", name=ticket(anna).name, metric=FIRST_RESPONSE)
        assert (told.HasField("clock"), len(told.intervals)) == (False, 0)

    def test_is_for_those_who_may_read_the_ticket(self, anna, gold):
        made = ticket(anna)
        bert = anna.colleague("ticketing.tickets.read:own")
        assert bert.refusal("ExplainDeadline", name=made.name, metric=1).code is StatusCode.NOT_FOUND
        refusal = anna.refusal("ExplainDeadline", name=made.name)
        assert [*refusal.violations] == ["metric"]


class TestReapplying:
    def reapply(self, server, caller, policy, **fields):
        begun = caller("ReapplySlaPolicy", name=policy.name, **fields)
        runner = Runner(
            "ticketing.kontor", [REAPPLY], system=server.runtime.system, database=server.runtime.database,
            service=service().use(server.runtime),
        )  # fmt: skip
        while runner.work_once():
            pass
        done = caller("GetOperation", name=begun.name)
        answer = ReapplySlaPolicyResponse()
        assert done.response.Unpack(answer), done
        return answer.ticket_count, answer.changed_count

    def tighten(self, anna, gold):
        return anna("UpdateSlaPolicy", sla_policy={"name": gold.name, "targets": [{"resolution": {"seconds": HOUR}}]})

    def test_promises_open_tickets_what_the_policy_says_now(self, server, anna, gold):
        open_one, solved, closed = (ticket(anna) for _ in range(3))
        anna("SolveTicket", name=solved.name)
        anna("CloseTicket", name=closed.name)
        self.tighten(anna, gold)
        assert self.reapply(server, anna, gold, preview=True) == (1, 1)
        assert anna("GetTicket", name=open_one.name) == open_one
        assert self.reapply(server, anna, gold) == (1, 1)
        after = anna("GetTicket", name=open_one.name)
        assert [terms.policy_version for terms in after.sla_terms] == [1, 2]
        assert clocks(after) == {RESOLUTION: RUNNING}
        assert hours(clock(after, RESOLUTION).start_time, clock(after, RESOLUTION).due_time) == 1
        assert events(anna, open_one.name) == ["created", "promised_anew"]
        assert self.reapply(server, anna, gold) == (1, 0)

    def test_changes_what_was_solved_only_where_that_is_asked_for(self, server, anna, gold):
        solved = anna("SolveTicket", name=ticket(anna).name)
        self.tighten(anna, gold)
        assert self.reapply(server, anna, gold, tickets=2) == (1, 1)
        after = anna("GetTicket", name=solved.name)
        assert (clocks(after), after.clocks[1].target) == (clocks(solved), solved.clocks[1].target)
        again = anna("ReopenTicket", name=solved.name)
        assert clock(again, RESOLUTION).target.seconds == HOUR

    def test_reaches_tickets_that_a_new_policy_fits_and_leaves_others(self, server, anna, gold):
        complaint, question = ticket(anna, type=5), ticket(anna)
        given = {"display_name": "Complaints", "ticket_types": [5], "targets": [{"resolution": {"seconds": 60}}]}
        policy = anna("CreateSlaPolicy", sla_policy=given)
        assert self.reapply(server, anna, policy) == (2, 1)
        assert anna("GetTicket", name=complaint.name).sla_terms[-1].policy == policy.name
        assert anna("GetTicket", name=question.name) == question
        anna("DeleteSlaPolicy", name=policy.name)
        assert self.reapply(server, anna, policy) == (2, 1)
        assert anna("GetTicket", name=complaint.name).sla_terms[-1].policy == gold.name

    def test_needs_a_right_of_its_own(self, anna, gold):
        bert = anna.colleague("ticketing.slaPolicies.update:all", "ticketing.slaPolicies.read:all")
        assert bert.refusal("ReapplySlaPolicy", name=gold.name).code is StatusCode.PERMISSION_DENIED
