"""The timeline of accounts and contacts: what every service tells, shown to who may read what it is about."""

import datetime as dt
import uuid
from types import SimpleNamespace

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kontor.contacts.v1 import affiliation_pb2
from kontor.sales.v1 import activity_pb2, lead_pb2, opportunity_pb2, quote_pb2
from kontor.ticketing.v1 import ticket_entry_pb2, ticket_pb2
from kontor_contacts.service import service
from kontor_contacts.timeline.sources import sources
from kontor_kit.ids import uuid7
from kontor_kit.testing.plans import plans
from kontor_kit.testing.telling import teller

SALES, TICKETING = "kontor.sales.v1", "kontor.ticketing.v1"
READS = ("contacts.accounts.read:all", "contacts.contacts.read:all")


@pytest.fixture(scope="module")
def contacts(serve):
    return serve(service())


@pytest.fixture
def tell(contacts):
    """Tell contacts of an event: `tell(caller, "opportunity.won", record, version)`; of sales where it does not say."""
    with teller(contacts, service()) as telling:

        def told(caller, kind, record, version=1, **more):
            record.etag = f"v{version}"
            full = kind if kind.startswith("kontor.") else f"{SALES}.{kind}"
            telling(caller.tenant, full, record, version, **more)

        yield told


@pytest.fixture
def home(contacts):
    """A tenant with an account and a contact, and who may do everything in it."""
    anna = contacts.caller()
    account = anna("CreateAccount", account={"display_name": "Muster"}, allow_duplicates=True).name
    contact = anna("CreateContact", contact={"family_name": "Kunz"}, allow_duplicates=True).name
    return SimpleNamespace(anna=anna, account=account, contact=contact)


def a_name(collection):
    return f"{collection}/{uuid7()}"


def deal(home, **fields):
    given = {"name": a_name("opportunities"), "display_name": "Fleet", "account": home.account, **fields}
    return opportunity_pb2.Opportunity(**given)


def changed(record, **fields):
    after = type(record)()
    after.CopyFrom(record)
    after.MergeFrom(type(record)(**fields))
    return after


def deleted(record):
    after = changed(record)
    after.delete_time.GetCurrentTime()
    return after


def timeline(caller, parent, **more):
    method = "ListAccountTimeline" if parent.startswith("accounts/") else "ListContactTimeline"
    return caller(method, parent=parent, **more)


def seen(caller, parent, **more):
    """The events on a timeline, the newest first, without their services."""
    return [entry.type.partition(".v1.")[2] for entry in timeline(caller, parent, **more).entries]


class TestWhatHappened:
    def test_events_of_all_that_name_an_account_are_listed_the_newest_first(self, home, tell):
        anna, opportunity = home.anna, deal(home)
        tell(anna, "opportunity.created", opportunity, subject="users/a")
        activity = activity_pb2.Activity(name=a_name("activities"), subject="Visit", account=home.account)
        tell(anna, "activity.held", activity)
        quote = quote_pb2.Quote(name=a_name("quotes"), display_name="Offer", account=home.account)
        tell(anna, "quote.sent", quote)
        tell(anna, "opportunity.won", changed(opportunity, display_name="Big fleet"), 2)
        tell(anna, "opportunity.created", deal(home, account=a_name("accounts")))
        page = timeline(anna, home.account)
        assert [(entry.type, entry.title) for entry in page.entries] == [
            (f"{SALES}.opportunity.won", "Big fleet"),
            (f"{SALES}.quote.sent", "Offer"),
            (f"{SALES}.activity.held", "Visit"),
            (f"{SALES}.opportunity.created", "Big fleet"),
        ]
        first = page.entries[-1]
        assert (first.resource_type, first.resource_name) == ("sales.kontor/Opportunity", opportunity.name)
        assert (first.version, first.subject) == (1, "users/a")
        assert abs(first.event_time.seconds - dt.datetime.now(dt.UTC).timestamp()) < 60
        assert page.next_page_token == ""

    def test_a_contact_has_a_timeline_of_its_own(self, home, tell):
        activity = activity_pb2.Activity(name=a_name("activities"), account=home.account, contacts=[home.contact])
        tell(home.anna, "activity.created", activity)
        assert seen(home.anna, home.account) == seen(home.anna, home.contact) == ["activity.created"]

    def test_repeats_and_late_events_change_nothing_that_is_newer(self, home, tell):
        anna, opportunity = home.anna, deal(home)
        tell(anna, "opportunity.won", changed(opportunity, display_name="New"), 3)
        tell(anna, "opportunity.won", changed(opportunity, display_name="New"), 3)
        tell(anna, "opportunity.updated", deleted(opportunity), 2)
        page = timeline(anna, home.account)
        assert [(entry.version, entry.title) for entry in page.entries] == [(2, "New"), (3, "New")]

    def test_who_is_named_later_gets_what_happened_before(self, home, tell):
        lead = lead_pb2.Lead(name=a_name("leads"), display_name="Kunz")
        tell(home.anna, "lead.created", lead)
        tell(home.anna, "lead.converted", changed(lead, contact=home.contact, account=home.account), 2)
        assert seen(home.anna, home.account) == seen(home.anna, home.contact) == ["lead.converted", "lead.created"]

    def test_who_is_named_no_more_keeps_what_happened_until_then(self, home, tell):
        anna, opportunity = home.anna, deal(home)
        other = anna("CreateAccount", account={"display_name": "Other"}).name
        tell(anna, "opportunity.created", opportunity)
        tell(anna, "opportunity.updated", changed(opportunity, account=other), 2)
        tell(anna, "opportunity.won", changed(opportunity, account=other), 3)
        assert seen(anna, home.account) == ["opportunity.updated", "opportunity.created"]
        assert seen(anna, other) == ["opportunity.won", "opportunity.updated", "opportunity.created"]

    def test_a_record_as_it_is_tells_of_its_beginning_and_of_its_last_change(self, home, tell):
        times = [Timestamp(seconds=number) for number in (1000, 5000)]
        old = deal(home, create_time=times[0], update_time=times[1])
        tell(home.anna, "opportunity.snapshot", old, 4, time=times[1].ToDatetime(dt.UTC))
        tell(home.anna, "opportunity.snapshot", old, 4, time=times[1].ToDatetime(dt.UTC))
        entries = timeline(home.anna, home.account).entries
        assert [(entry.type.rpartition(".")[2], entry.version, entry.event_time) for entry in entries] == [
            ("updated", 4, times[1]),
            ("created", 1, times[0]),
        ]
        # What really happened takes the place of what was concluded.
        tell(home.anna, "opportunity.won", old, 4, subject="users/a")
        tell(home.anna, "opportunity.snapshot", old, 4)
        assert seen(home.anna, home.account) == ["opportunity.won", "opportunity.created"]

    def test_deleted_records_are_hidden_and_come_back(self, home, tell):
        anna, opportunity = home.anna, deal(home)
        tell(anna, "opportunity.created", opportunity)
        tell(anna, "opportunity.deleted", deleted(opportunity), 2)
        assert seen(anna, home.account) == []
        tell(anna, "opportunity.undeleted", opportunity, 3)
        assert seen(anna, home.account) == [f"opportunity.{verb}" for verb in ("undeleted", "deleted", "created")]

    def test_what_is_redacted_has_no_title_any_more(self, home, tell):
        opportunity = deal(home)
        tell(home.anna, "opportunity.created", opportunity, subject="users/a")
        tell(home.anna, "opportunity.updated", opportunity, 2, data=b"")
        assert [(entry.version, entry.title) for entry in timeline(home.anna, home.account).entries] == [(1, "")]


class TestChildren:
    """An affiliation has the rights of its contact."""

    def affiliation(self, home):
        names = {"name": a_name("affiliations"), "account": home.account, "contact": home.contact}
        return affiliation_pb2.Affiliation(**names, title="Buyer")

    def test_who_comes_before_the_parent_waits_for_it(self, home, tell):
        anna = home.anna
        tell(anna, "kontor.contacts.v1.affiliation.created", self.affiliation(home))
        assert seen(anna, home.account) == []
        tell(anna, "kontor.contacts.v1.contact.created", anna("GetContact", name=home.contact))
        assert seen(anna, home.account) == ["affiliation.created"]

    def test_whoever_reaches_the_parent_reaches_the_child(self, home, tell):
        bert = home.anna.colleague("contacts.accounts.read:all", "contacts.affiliations.read:own")
        contact = home.anna("GetContact", name=home.contact)
        tell(home.anna, "kontor.contacts.v1.contact.created", contact)
        tell(home.anna, "kontor.contacts.v1.affiliation.created", self.affiliation(home))
        assert seen(bert, home.account) == []
        tell(home.anna, "kontor.contacts.v1.contact.updated", changed(contact, owner=bert.user), 2)
        assert seen(bert, home.account) == ["affiliation.created"]
        tell(home.anna, "kontor.contacts.v1.contact.deleted", deleted(changed(contact, owner=bert.user)), 3)
        assert seen(bert, home.account) == []


class TestTickets:
    """What is said about a ticket appears with the ticket, and has its rights; what is internal needs one more."""

    @pytest.fixture
    def ticket(self, home):
        return ticket_pb2.Ticket(name=a_name("tickets"), subject="It is broken", account=home.account)

    def entry(self, ticket, visibility="VISIBILITY_PUBLIC"):
        return ticket_entry_pb2.TicketEntry(name=a_name("ticketEntries"), ticket=ticket.name, visibility=visibility)

    def test_it_appears_with_the_ticket_whichever_comes_first(self, home, tell, ticket):
        tell(home.anna, f"{TICKETING}.ticket_entry.created", self.entry(ticket))
        assert seen(home.anna, home.account) == []
        tell(home.anna, f"{TICKETING}.ticket.created", ticket)
        tell(home.anna, f"{TICKETING}.ticket_entry.created", self.entry(ticket))
        assert seen(home.anna, home.account) == ["ticket_entry.created", "ticket.created", "ticket_entry.created"]
        tell(home.anna, f"{TICKETING}.ticket.updated", changed(ticket, requester=home.contact), 2)
        assert len(seen(home.anna, home.contact)) == 4
        assert [entry.title for entry in timeline(home.anna, home.contact).entries][-2:] == ["It is broken", ""]

    def test_what_goes_to_another_ticket_has_the_rights_of_that(self, home, tell, ticket):
        bert = home.anna.colleague(*READS, "ticketing.*:own")
        other, entry = (
            ticket_pb2.Ticket(name=a_name("tickets"), account=home.account, owner=bert.user),
            self.entry(ticket),
        )
        for each in (ticket, other):
            tell(home.anna, f"{TICKETING}.ticket.created", each)
        tell(home.anna, f"{TICKETING}.ticket_entry.created", entry)
        assert seen(bert, home.account) == ["ticket.created"]
        tell(home.anna, f"{TICKETING}.ticket_entry.moved", changed(entry, ticket=other.name), 2)
        assert seen(bert, home.account) == ["ticket_entry.moved", "ticket_entry.created", "ticket.created"]

    def test_what_is_internal_needs_a_further_permission(self, home, tell, ticket):
        reads = (*READS, "ticketing.tickets.read:all", "ticketing.ticketEntries.read:all")
        internal = "ticketing.ticketEntries.readInternal"
        anna, bert = (home.anna.colleague(*READS, *reads) for _ in range(2))
        entry = self.entry(ticket, "VISIBILITY_INTERNAL")
        tell(home.anna, f"{TICKETING}.ticket.created", changed(ticket, owner=bert.user))
        tell(home.anna, f"{TICKETING}.ticket_entry.created", entry)
        for user, grants, expected in (
            (anna.user, reads, 1),
            (anna.user, (*reads, f"{internal}:all"), 2),
            (anna.user, (*reads, f"{internal}:own"), 1),
            (bert.user, (*reads, f"{internal}:own"), 2),
            (anna.user, (*READS, f"{internal}:all"), 0),
        ):
            reader = home.anna.colleague(*grants, user=user)
            assert len(seen(reader, home.account)) == expected
        tell(home.anna, f"{TICKETING}.ticket_entry.updated", changed(entry, visibility="VISIBILITY_PUBLIC"), 2)
        assert len(seen(anna, home.account)) == 3


class TestRights:
    def test_without_the_right_to_read_the_record_nothing_is_told_of_it(self, home, tell):
        tell(home.anna, "opportunity.created", deal(home))
        tell(home.anna, "lead.created", lead_pb2.Lead(name=a_name("leads"), account=home.account))
        for grants, expected in (
            (READS, []),
            ((*READS, "sales.leads.read:all"), ["lead.created"]),
            ((*READS, "sales.*:all"), ["lead.created", "opportunity.created"]),
        ):
            assert seen(home.anna.colleague(*grants), home.account) == expected

    def test_the_account_itself_must_be_seen(self, home, tell):
        tell(home.anna, "opportunity.created", deal(home))
        owns = home.anna.colleague("contacts.accounts.read:own", "sales.*:all")
        assert owns.refusal("ListAccountTimeline", parent=home.account).code is grpc.StatusCode.NOT_FOUND
        lacks = home.anna.colleague("sales.*:all")
        assert lacks.refusal("ListAccountTimeline", parent=home.account).code is grpc.StatusCode.PERMISSION_DENIED
        assert lacks.refusal("ListContactTimeline", parent=home.contact).code is grpc.StatusCode.PERMISSION_DENIED

    def test_another_tenant_is_told_nothing(self, contacts, home, tell):
        tell(home.anna, "opportunity.created", deal(home))
        stranger = contacts.caller()
        assert stranger.refusal("ListAccountTimeline", parent=home.account).code is grpc.StatusCode.NOT_FOUND
        tell(stranger, "opportunity.created", deal(home))
        assert len(seen(home.anna, home.account)) == 1

    def test_the_right_is_that_of_the_record_as_it_is_now(self, home, tell):
        bert = home.anna.colleague(*READS, "sales.opportunities.read:own")
        opportunity = deal(home, owner=bert.user)
        tell(home.anna, "opportunity.created", opportunity)
        assert seen(bert, home.account) == ["opportunity.created"]
        tell(home.anna, "opportunity.updated", changed(opportunity, owner=home.anna.user), 2)
        assert seen(bert, home.account) == []
        tell(home.anna, "opportunity.updated", changed(opportunity, owner=bert.user), 3)
        assert len(seen(bert, home.account)) == 3

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def test_pages_are_what_a_reader_would_find_one_by_one(self, contacts, tell, data):
        """Whatever belongs to whomever: the pages have exactly what the rule of the records gives, in order."""
        anna = contacts.caller()
        account = anna("CreateAccount", account={"display_name": "Muster"}).name
        teams = [uuid7() for _ in range(3)]
        scope = data.draw(st.sampled_from(["own", "team", "all"]))
        mine = data.draw(st.sets(st.sampled_from(teams)))
        bert = anna.colleague(*READS, f"sales.opportunities.read:{scope}", "sales.leads.read:own", teams=mine)
        people = ["", bert.user, anna.user]
        rows = data.draw(
            st.lists(st.tuples(st.booleans(), st.sampled_from(people), st.none() | st.sampled_from(teams)), max_size=12)
        )
        expected = []
        for is_lead, owner, team in rows:
            belongs = {"owner": owner, "team": f"teams/{team}" if team else "", "account": account}
            kind = lead_pb2.Lead if is_lead else opportunity_pb2.Opportunity
            record = kind(name=a_name("leads" if is_lead else "opportunities"), **belongs)
            tell(anna, f"{'lead' if is_lead else 'opportunity'}.created", record)
            reach = "own" if is_lead else scope
            if reach == "all" or owner == bert.user or (reach == "team" and team in mine):
                expected.insert(0, record.name)
        size = data.draw(st.integers(1, 5))
        found, token = [], ""
        while True:
            page = timeline(bert, account, page_size=size, page_token=token)
            found += [entry.resource_name for entry in page.entries]
            token = page.next_page_token
            assert len(page.entries) == size or not token
            if not token:
                break
        assert found == expected


class TestPagesAndFilters:
    @pytest.fixture
    def full(self, home, tell):
        opportunity = deal(home)
        for number in range(1, 6):
            tell(home.anna, "opportunity.updated", opportunity, number)
        tell(home.anna, "lead.created", lead_pb2.Lead(name=a_name("leads"), account=home.account))
        return home

    @pytest.mark.parametrize(
        ("text", "count"),
        [
            ('resource_type = "sales.kontor/Lead"', 1),
            ('resourceType = "sales.kontor/*"', 6),
            ('resource_type = "ticketing.kontor/*"', 0),
            ('type = "kontor.sales.v1.opportunity.*"', 5),
            ('type = "kontor.sales.v1.lead.created"', 1),
            ('type = "kontor.sales.v1.lead.created" OR resource_type = "sales.kontor/Opportunity"', 6),
            ('event_time > "2020-01-01T00:00:00Z"', 6),
            ('event_time < "2020-01-01T00:00:00Z" AND resource_type = "sales.kontor/Lead"', 0),
        ],
    )
    def test_a_filter_narrows(self, full, text, count):
        assert len(timeline(full.anna, full.account, filter=text).entries) == count

    def test_what_comes_in_between_neither_repeats_nor_hides_anything(self, full, tell):
        page = timeline(full.anna, full.account, page_size=2)
        tell(full.anna, "opportunity.created", deal(full))
        more = timeline(full.anna, full.account, page_size=100, page_token=page.next_page_token)
        versions = [entry.version for entry in (*page.entries, *more.entries)]
        assert versions == [1, 5, 4, 3, 2, 1]

    @pytest.mark.parametrize(
        ("field", "given"),
        [
            ("parent", {"parent": "accounts/x"}),
            ("page_size", {"page_size": -1}),
            ("page_token", {"page_token": "nonsense"}),
            ("filter", {"filter": "title = x"}),
            ("filter", {"filter": "NOT type = x"}),
        ],
    )
    def test_bad_input_is_named(self, home, field, given):
        refusal = home.anna.refusal("ListAccountTimeline", **{"parent": home.account, **given})
        assert (refusal.code, [*refusal.violations]) == (grpc.StatusCode.INVALID_ARGUMENT, [field])

    def test_a_token_is_good_for_its_own_timeline_only(self, full):
        token = timeline(full.anna, full.account, page_size=1).next_page_token
        other = full.anna("CreateAccount", account={"display_name": "Other"}).name
        refusal = full.anna.refusal("ListAccountTimeline", parent=other, page_token=token)
        assert [*refusal.violations] == ["page_token"]


MANY = 50_000


@pytest.fixture(scope="module")
def crowded(serve_explained):
    """An account with 50,000 things that happened to deals of somebody else, and ten of the reader's own among them."""
    running = serve_explained(service())
    anna = running.caller()
    account = anna("CreateAccount", account={"display_name": "Muster"}).name
    bert = anna.colleague(*READS, "sales.opportunities.read:team", teams=[uuid7()])
    (team,) = bert.teams
    with running.database.connect() as connection:
        connection.execute(
            "WITH made AS (SELECT n, gen_random_uuid() AS id, CASE WHEN n %% 5000 = 7 THEN %(mine)s ELSE %(other)s END"
            " AS owner, CASE WHEN n %% 10000 = 9 THEN %(team)s END AS team FROM generate_series(1, %(many)s) n), kept AS"
            " (INSERT INTO timeline_sources SELECT %(tenant)s, id, 1, false, id, owner, team, false, 'Deal', '{}' FROM made)"
            " INSERT INTO timeline_entries (tenant_id, place, source, version, id, event_time, type, resource_type,"
            " resource_name, subject, guarded, holder, owner, team, hidden) SELECT %(tenant)s, %(place)s, id, 1, id,"
            " now() - n * interval '1 minute', 'kontor.sales.v1.opportunity.won', 'sales.kontor/Opportunity',"
            " 'opportunities/' || id, 'users/a', false, id, owner, team, false FROM made",
            {
                "mine": uuid.UUID(bert.user.partition("/")[2]),
                "other": uuid7(),
                "team": team,
                "many": MANY,
                "tenant": anna.tenant,
                "place": uuid.UUID(account.partition("/")[2]),
            },
        )
        connection.execute(
            "INSERT INTO timeline_entries (tenant_id, place, source, version, id, event_time, type, resource_type,"
            " resource_name, subject, guarded, holder, hidden) SELECT tenant_id, gen_random_uuid(), source, n, id, event_time,"
            " type, resource_type, resource_name, subject, guarded, holder, hidden FROM timeline_entries,"
            " generate_series(2, 3) n"
        )
        connection.execute("ANALYZE timeline_sources, timeline_entries")
    return SimpleNamespace(running=running, anna=anna, bert=bert, account=account)


class TestPlans:
    """A page costs what it shows."""

    def looked_at(self, crowded, caller, **more):
        answers = []
        found = plans(crowded.running, lambda: answers.append(timeline(caller, crowded.account, **more)))
        assert [plan.whole() for plan in found if plan.whole()] == []
        return sum(plan.rows() for plan in found), len(answers[0].entries)

    def test_a_page_of_all(self, crowded):
        rows, shown = self.looked_at(crowded, crowded.anna)
        assert (rows < 250, shown) == (True, 50)

    def test_a_reader_of_few_does_not_walk_past_what_others_see(self, crowded):
        rows, shown = self.looked_at(crowded, crowded.bert)
        assert (rows < 100, shown) == (True, 15)

    def test_a_filter_on_what_there_is_none_of_ends_at_once(self, crowded):
        rows, shown = self.looked_at(crowded, crowded.anna, filter='resource_type = "sales.kontor/Lead"')
        assert (rows < 30, shown) == (True, 0)

    def test_a_time_is_found_by_the_index(self, crowded):
        rows, shown = self.looked_at(crowded, crowded.anna, filter='event_time < "2020-01-01T00:00:00Z"')
        assert (rows < 30, shown) == (True, 0)


def test_every_service_says_itself_what_appears():
    kinds = {source.kind for source in sources().values()}
    assert {"contacts.kontor/Account", "sales.kontor/Opportunity", "sales.kontor/Quote"} <= kinds
