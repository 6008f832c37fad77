"""What is said about tickets, where it leads them, who sees it, and what happens to tickets that were solved."""

from __future__ import annotations

import datetime as dt

import pytest
from grpc import StatusCode

from kontor.contacts.v1.custom_field_definition_pb2 import CustomFieldDefinition
from kontor_kit import definitions
from kontor_kit.ids import parse_name, uuid7
from kontor_kit.testing.telling import teller
from kontor_ticketing.queues.rules import REOPEN_ALLOWED, REOPEN_FOLLOW_UP, REOPEN_WITHIN_DAYS
from kontor_ticketing.service import service
from kontor_ticketing.ticket_entries.rules import FROM_AGENT, FROM_REQUESTER, INTERNAL, PUBLIC
from kontor_ticketing.ticket_states.rules import CLOSED, NEW, OPEN, PENDING, SOLVED
from services.ticketing.tests.test_tickets import ACCOUNT, events, spans, state, ticket

CONTACT = "contacts/01900000-0000-7000-8000-000000000002"


def say(caller, about, body="It helped", visibility=PUBLIC, direction=FROM_AGENT, **fields):
    entry = {"ticket": about.name, "body": body, "visibility": visibility, "direction": direction}
    return caller("CreateTicketEntry", ticket_entry=entry, **fields)


def hear(caller, about, body="It happened again"):
    return say(caller, about, body, direction=FROM_REQUESTER)


def listed(caller, **arguments) -> list[str]:
    return [entry.body for entry in caller("ListTicketEntries", **arguments).ticket_entries]


@pytest.fixture
def made(anna):
    return ticket(anna, requester=CONTACT)


@pytest.fixture
def queue(anna):
    def create(policy: int, days: int = 0) -> str:
        wanted = {"display_name": f"Queue {uuid7()}", "reopen_policy": policy, "reopen_days": days}
        return anna("CreateQueue", queue=wanted).name

    return create


def days_ago(server, found, days: int) -> None:
    """Let a ticket have been solved so many days ago."""
    moment = dt.datetime.now(dt.UTC) - dt.timedelta(days=days)
    id = parse_name(found.name, "tickets/{ticket}", "ticket")
    with server.database.connect() as connection:
        connection.execute("UPDATE tickets SET solved_time = %s WHERE id = %s", [moment, id])


class TestAnswering:
    def test_first_answer_is_kept_and_work_goes_on(self, anna, made):
        said = say(anna, made)
        assert (said.author, said.contact, said.ticket) == (anna.user, "", made.name)
        after = anna("GetTicket", name=made.name)
        assert (after.category, after.HasField("first_answer_time")) == (OPEN, True)
        say(anna, made, "Once more")
        assert anna("GetTicket", name=made.name) == after
        assert events(anna, made.name) == ["created", "answered"]

    def test_and_waiting_in_one_step(self, anna, made):
        waiting = state(anna, PENDING)
        say(anna, made, state=waiting.name)
        after = anna("GetTicket", name=made.name)
        assert (after.state, spans(after), after.HasField("first_answer_time")) == (waiting.name, [NEW, PENDING], True)

    def test_and_solving_in_one_step(self, anna, made):
        done = state(anna, SOLVED)
        say(anna, made, state=done.name)
        after = anna("GetTicket", name=made.name)
        assert (after.category, after.HasField("solved_time")) == (SOLVED, True)
        assert events(anna, made.name) == ["created", "solved"]

    def test_needs_the_right_to_change_the_ticket_where_it_moves_it(self, anna, made):
        waiting = state(anna, PENDING)
        bert = anna.colleague("ticketing.tickets.read:all", "ticketing.ticketEntries.*:all")
        say(bert, made)
        refused = bert.refusal(
            "CreateTicketEntry",
            ticket_entry={"ticket": made.name, "body": "x", "visibility": PUBLIC},
            state=waiting.name,
        )
        assert refused.code is StatusCode.PERMISSION_DENIED

    def test_internal_is_no_answer(self, anna, made):
        say(anna, made, visibility=INTERNAL)
        after = anna("GetTicket", name=made.name)
        assert (after.category, after.HasField("first_answer_time")) == (NEW, False)

    def test_on_a_closed_ticket_internally_only(self, anna, made):
        anna("CloseTicket", name=made.name)
        say(anna, made, visibility=INTERNAL)
        entry = {"ticket": made.name, "body": "x", "visibility": PUBLIC}
        assert anna.refusal("CreateTicketEntry", ticket_entry=entry).reason == "TICKET_CLOSED"

    def test_a_repeated_request_is_answered_once(self, anna, made):
        twice = [say(anna, made, request_id=str(made.name)) for _ in range(2)]
        assert twice[0] == twice[1]
        assert listed(anna) == ["It helped"]


class TestHearing:
    def test_what_waited_goes_on(self, anna, made):
        anna("UpdateTicket", ticket={"name": made.name, "state": state(anna, PENDING).name})
        assert hear(anna, made).contact == CONTACT
        after = anna("GetTicket", name=made.name)
        assert (spans(after), after.HasField("first_answer_time")) == ([NEW, PENDING, OPEN], False)

    def test_what_is_new_stays_new(self, anna, made):
        hear(anna, made)
        assert anna("GetTicket", name=made.name) == made

    def test_what_was_solved_opens_again(self, anna, made):
        anna("SolveTicket", name=made.name)
        assert hear(anna, made).ticket == made.name
        after = anna("GetTicket", name=made.name)
        assert (spans(after), after.reopen_count, after.HasField("solved_time")) == ([NEW, SOLVED, OPEN], 1, False)
        assert events(anna, made.name) == ["created", "solved", "reopened"]

    def test_what_was_closed_is_followed_up(self, anna, made):
        anna("CloseTicket", name=made.name)
        before = anna("GetTicket", name=made.name)
        entry = hear(anna, made)
        follower = anna("GetTicket", name=entry.ticket)
        assert (follower.previous_ticket, follower.category) == (made.name, NEW)
        assert (follower.subject, follower.account, follower.requester) == (made.subject, ACCOUNT, CONTACT)
        assert follower.number != made.number
        assert anna("GetTicket", name=made.name) == before

    def test_what_was_followed_up_is_heard_there(self, anna, made):
        anna("CloseTicket", name=made.name)
        follower = hear(anna, made).ticket
        assert hear(anna, made).ticket == follower
        anna("CloseTicket", name=follower)
        last = hear(anna, made).ticket
        assert anna("GetTicket", name=last).previous_ticket == follower
        assert hear(anna, made).ticket == last
        anna("DeleteTicket", name=last)
        assert anna("GetTicket", name=hear(anna, made).ticket).previous_ticket == follower

    def test_what_took_its_place_and_was_merged_does_so_no_more(self, anna, made):
        anna("CloseTicket", name=made.name)
        first = hear(anna, made).ticket
        other = ticket(anna)
        anna("MergeTicket", name=first, into=other.name)
        second = hear(anna, made).ticket
        assert anna("GetTicket", name=second).previous_ticket == made.name
        assert second != first

    def test_what_was_merged_is_heard_where_it_went(self, anna, made):
        other = ticket(anna)
        anna("MergeTicket", name=made.name, into=other.name)
        assert hear(anna, made).ticket == other.name


@pytest.mark.parametrize(
    ("policy", "days", "solved", "opens"),
    [
        pytest.param(REOPEN_ALLOWED, 0, 400, True, id="allowed"),
        pytest.param(REOPEN_FOLLOW_UP, 0, 0, False, id="follow-up"),
        pytest.param(REOPEN_WITHIN_DAYS, 7, 6, True, id="in-time"),
        pytest.param(REOPEN_WITHIN_DAYS, 7, 8, False, id="too-late"),
    ],
)
class TestReopening:
    def test_as_the_queue_says(self, server, anna, queue, policy, days, solved, opens):
        made = ticket(anna, queue=queue(policy, days), tags=["door"])
        anna("SolveTicket", name=made.name)
        days_ago(server, made, solved)
        after = anna("ReopenTicket", name=made.name)
        assert (after.name == made.name, after.previous_ticket) == (opens, "" if opens else made.name)
        assert after.category == (OPEN if opens else NEW)
        assert (after.tags, after.queue) == (made.tags, made.queue)

    def test_by_the_requester_too(self, server, anna, queue, policy, days, solved, opens):
        made = ticket(anna, queue=queue(policy, days))
        anna("SolveTicket", name=made.name)
        days_ago(server, made, solved)
        assert (hear(anna, made).ticket == made.name) == opens


class TestReopeningOthers:
    def test_closed_is_followed_up_whatever_who_writes_it_down_may_see(self, anna, queue):
        name = queue(REOPEN_ALLOWED)
        made = ticket(anna, requester=CONTACT, queue=name)
        anna("CloseTicket", name=made.name)
        post = anna.colleague("ticketing.tickets.read:all", "ticketing.ticketEntries.create:all")
        following = anna("GetTicket", name=hear(post, made).ticket)
        assert (following.previous_ticket, following.queue) == (made.name, name)

    def test_closed_is_followed_up_without_its_queue_where_that_is_gone(self, anna, queue):
        name = queue(REOPEN_ALLOWED)
        made = ticket(anna, requester=CONTACT, queue=name, owner=anna.user)
        anna("CloseTicket", name=made.name)
        anna("DeleteQueue", name=name)
        following = anna("GetTicket", name=hear(anna, made).ticket)
        assert (following.previous_ticket, following.queue, following.owner) == (made.name, "", anna.user)

    def test_closed_is_followed_up_with_the_tenants_own_fields_as_they_were(self, server, anna, monkeypatch):
        monkeypatch.setattr(definitions, "_FRESH_SECONDS", 0.0)
        event = "kontor.contacts.v1.custom_field_definition"
        text = {"resource_type": "tickets", "type": CustomFieldDefinition.TYPE_STRING}
        floor, room = (CustomFieldDefinition(name=f"customFieldDefinitions/{uuid7()}", **text) for _ in range(2))
        floor.key, room.key, room.required = "floor", "room", True
        with teller(server, service()) as tell:
            tell(anna.tenant, f"{event}.created", floor, 1)
            made = ticket(anna, requester=CONTACT, custom_fields={"floor": "3"})
            anna("CloseTicket", name=made.name)
            floor.delete_time.GetCurrentTime()
            tell(anna.tenant, f"{event}.deleted", floor, 2)
            tell(anna.tenant, f"{event}.created", room, 1)
        assert anna.refusal("CreateTicket", ticket={"subject": "x"}).violations
        following = anna("GetTicket", name=hear(anna, made).ticket)
        assert (following.previous_ticket, following.custom_fields) == (made.name, made.custom_fields)

    def test_not_solved_is_refused(self, anna, made):
        assert anna.refusal("ReopenTicket", name=made.name).reason == "TICKET_OPEN"

    def test_closed_is_followed_up(self, anna, made):
        anna("CloseTicket", name=made.name)
        after = anna("ReopenTicket", name=made.name)
        assert (after.previous_ticket, after.owner) == (made.name, anna.user)

    def test_merged_is_refused(self, anna, made):
        other = ticket(anna)
        anna("MergeTicket", name=made.name, into=other.name)
        refused = anna.refusal("ReopenTicket", name=made.name)
        assert (refused.reason, refused.metadata["ticket"]) == ("TICKET_MERGED", other.name)


class TestMerging:
    def test_moves_what_was_said(self, anna, made):
        other = ticket(anna)
        first, second = say(anna, made, "First"), say(anna, other, "Second")
        third = say(anna, made, "Third", visibility=INTERNAL)
        anna("MergeTicket", name=made.name, into=other.name)
        merged = anna("GetTicket", name=made.name)
        assert (merged.category, merged.merged_into) == (CLOSED, other.name)
        assert listed(anna, filter=f'ticket="{other.name}"') == ["First", "Second", "Third"]
        assert events(anna, first.name) == events(anna, third.name) == ["created", "moved"]
        assert events(anna, second.name) == ["created"]
        assert events(anna, made.name)[-1] == "merged"

    def test_without_the_right_to_see_all_of_it(self, anna, made):
        other = ticket(anna)
        say(anna, made, "Secret", visibility=INTERNAL)
        bert = anna.colleague("ticketing.tickets.*:all", "ticketing.ticketEntries.read:all")
        bert("MergeTicket", name=made.name, into=other.name)
        assert listed(anna, filter=f'ticket="{other.name}"') == ["Secret"]
        assert listed(bert, filter=f'ticket="{other.name}"') == []

    def test_of_different_accounts_is_refused(self, anna, made):
        other = ticket(anna, account="accounts/01900000-0000-7000-8000-000000000009")
        assert anna.refusal("MergeTicket", name=made.name, into=other.name).reason == "DIFFERENT_ACCOUNTS"

    def test_into_itself_or_what_is_closed_is_refused(self, anna, made):
        assert [*anna.refusal("MergeTicket", name=made.name, into=made.name).violations] == ["into"]
        other = ticket(anna)
        anna("CloseTicket", name=other.name)
        assert anna.refusal("MergeTicket", name=made.name, into=other.name).reason == "TICKET_CLOSED"

    def test_into_what_is_out_of_reach_is_refused(self, anna, made):
        bert = anna.colleague("ticketing.tickets.*:own")
        own = ticket(bert)
        assert bert.refusal("MergeTicket", name=own.name, into=made.name).code is StatusCode.NOT_FOUND


class TestInternal:
    @pytest.fixture
    def bert(self, anna):
        return anna.colleague(
            "ticketing.tickets.*:all", "ticketing.ticketEntries.read:all", "ticketing.changes.read:all"
        )

    @pytest.fixture
    def secret(self, anna, made):
        say(anna, made, "Open")
        return say(anna, made, "Secret", visibility=INTERNAL)

    def test_is_seen_with_the_permission_only(self, anna, bert, secret):
        assert listed(anna) == ["Open", "Secret"]
        assert listed(bert) == ["Open"]
        assert bert("ListTicketEntries", include_total_size=True).total_size == 1
        assert listed(bert, filter="visibility=VISIBILITY_INTERNAL") == []
        assert bert.refusal("GetTicketEntry", name=secret.name).code is StatusCode.NOT_FOUND
        assert bert.refusal("BatchGetTicketEntries", names=[secret.name]).code is StatusCode.NOT_FOUND

    def test_changes_are_told_with_the_permission_only(self, anna, bert, secret):
        assert bert.refusal("ListChanges", parent=secret.name).code is StatusCode.NOT_FOUND

    def test_own_reaches_those_of_own_tickets(self, anna, bert, secret):
        clara = anna.colleague("ticketing.tickets.*:all", "ticketing.ticketEntries.*:all")
        dora = anna.colleague(
            "ticketing.tickets.*:all", "ticketing.ticketEntries.read:all", "ticketing.ticketEntries.readInternal:own"
        )
        anna("UpdateTicket", ticket={"name": secret.ticket, "owner": clara.user})
        assert (listed(clara), listed(dora)) == (["Open", "Secret"], ["Open"])
        anna("UpdateTicket", ticket={"name": secret.ticket, "owner": dora.user})
        assert listed(dora) == ["Open", "Secret"]

    def test_is_written_with_the_permission_only(self, anna, made):
        clara = anna.colleague("ticketing.tickets.*:all", "ticketing.ticketEntries.create:all")
        entry = {"ticket": made.name, "body": "x", "visibility": INTERNAL}
        refused = clara.refusal("CreateTicketEntry", ticket_entry=entry)
        assert refused.metadata["permission"] == "ticketing.ticketEntries.readInternal"


class TestAttachments:
    @pytest.fixture
    def attach(self, anna, made):
        def upload(visibility=PUBLIC, ticket=made.name):
            content = {"data": b"x", "content_type": "text/plain"}
            wanted = {"ticket": ticket, "filename": "x.txt", "content": content, "visibility": visibility}
            return anna("UploadAttachment", **wanted).name

        return upload

    def test_come_along(self, anna, made, attach):
        files = [attach(), attach(INTERNAL)]
        entry = {"ticket": made.name, "body": "x", "visibility": INTERNAL, "attachments": files}
        assert anna("CreateTicketEntry", ticket_entry=entry).attachments == files

    def test_go_where_the_entry_goes(self, anna, made, attach):
        file = attach()
        anna("CloseTicket", name=made.name)
        entry = {"ticket": made.name, "body": "x", "visibility": PUBLIC, "direction": FROM_REQUESTER}
        said = anna("CreateTicketEntry", ticket_entry={**entry, "attachments": [file]})
        assert anna("GetAttachment", name=file).ticket == said.ticket != made.name
        assert events(anna, file) == ["created", "moved"]

    def test_go_where_the_ticket_is_merged(self, anna, made, attach):
        files, other = [attach(), attach(INTERNAL)], ticket(anna)
        anna("MergeTicket", name=made.name, into=other.name)
        assert {anna("GetAttachment", name=file).ticket for file in files} == {other.name}

    def test_of_others_are_refused(self, anna, made, attach):
        gone = attach()
        anna("DeleteAttachment", name=gone)
        files = [attach(), attach(INTERNAL), attach(ticket=ticket(anna).name), gone, f"attachments/{uuid7()}"]
        entry = {"ticket": made.name, "body": "x", "visibility": PUBLIC, "attachments": files}
        refused = anna.refusal("CreateTicketEntry", ticket_entry=entry)
        assert [*refused.violations] == [f"ticket_entry.attachments[{place}]" for place in (1, 2, 3, 4)]

    def test_that_are_not_seen_are_refused(self, anna, made, attach):
        permissions = ("ticketing.tickets.read:all", "ticketing.ticketEntries.create:all")
        bert = anna.colleague(*permissions, "ticketing.attachments.read:all")
        entry = {"ticket": made.name, "body": "x", "visibility": PUBLIC}
        bert("CreateTicketEntry", ticket_entry={**entry, "attachments": [attach()]})
        for caller, file in ((bert, attach(INTERNAL)), (anna.colleague(*permissions), attach())):
            refused = caller.refusal("CreateTicketEntry", ticket_entry={**entry, "attachments": [file]})
            assert [*refused.violations] == ["ticket_entry.attachments[0]"]


class TestStored:
    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            pytest.param({"body": " "}, "ticket_entry.body", id="blank"),
            pytest.param({"visibility": 0}, "ticket_entry.visibility", id="for-whom"),
            pytest.param(
                {"visibility": INTERNAL, "direction": FROM_REQUESTER}, "ticket_entry.visibility", id="internal-word"
            ),
            pytest.param({"contact": CONTACT}, "ticket_entry.contact", id="agents-contact"),
            pytest.param({"ticket": f"tickets/{uuid7()}"}, "ticket_entry.ticket", id="no-ticket"),
        ],
    )
    def test_names_what_is_wrong(self, anna, made, fields, field):
        entry = {"ticket": made.name, "body": "x", "visibility": PUBLIC, **fields}
        assert [*anna.refusal("CreateTicketEntry", ticket_entry=entry).violations] == [field]

    def test_follows_the_ticket(self, anna, made):
        said = say(anna, made)
        bert = anna.colleague("ticketing.tickets.*:own", "ticketing.ticketEntries.*:own")
        assert bert.refusal("GetTicketEntry", name=said.name).code is StatusCode.NOT_FOUND
        entry = {"ticket": made.name, "body": "x", "visibility": PUBLIC}
        assert [*bert.refusal("CreateTicketEntry", ticket_entry=entry).violations] == ["ticket_entry.ticket"]

    def test_to_see_the_ticket_is_not_enough_to_add_to_it(self, anna, made):
        bert = anna.colleague("ticketing.tickets.read:all", "ticketing.ticketEntries.create:own")
        entry = {"ticket": made.name, "body": "x", "visibility": PUBLIC}
        assert bert.refusal("CreateTicketEntry", ticket_entry=entry).code is StatusCode.PERMISSION_DENIED

    def test_redacted_it_stays_in_its_place(self, anna, made):
        said = say(anna, made, "Their card is 4711")
        after = anna("RedactTicketEntry", name=said.name)
        assert (after.body, after.HasField("redact_time")) == ("", True)
        assert anna("RedactTicketEntry", name=said.name) == after
        assert anna("GetTicketEntry", name=said.name) == after
        assert events(anna, said.name) == ["created", "redacted"]
