"""Parties: as contacts tells of them, in whatever order, and what the gate asks of them."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from grpc import StatusCode

from kontor.contacts.v1.account_pb2 import Account
from kontor.ticketing.v1.ticket_category_pb2 import TICKET_CATEGORY_OPEN, TICKET_CATEGORY_SOLVED
from kontor.ticketing.v1.ticket_pb2 import Ticket
from kontor_kit.inbox.events import Event
from kontor_kit.inbox.handling import Work
from kontor_kit.tracing import start_span
from kontor_marketing.parties.events import (
    END_AFFILIATIONS,
    follow_account,
    follow_affiliation,
    follow_contact,
    follow_ticket,
)
from kontor_marketing.service import service
from services.marketing.tests.marketing import (
    ACCOUNT,
    AFFILIATION,
    CONTACT,
    STATUS,
    TICKET,
    account,
    affiliation,
    complaint,
    contact,
    party_of,
    status,
)


@pytest.fixture
def rosa(anna, tell):
    """A contact that marketing was told of."""
    rosa = contact("Rosa", "rosa@example.com", "r.example@example.org", tags=["vip"], language_code="de-CH")
    tell(anna.tenant, f"{CONTACT}.created", rosa, 1)
    return rosa


@pytest.fixture
def pass_days(server):
    """Look for what has ended, as if it were so many days later."""
    runtime = server.runtime

    def run(days):
        now = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
        with server.database.connect() as connection:
            connection.execute("DELETE FROM leases WHERE name = %s", [END_AFFILIATIONS.name])
        END_AFFILIATIONS.periodic(runtime.database, service().use(runtime), lambda: now).run_once(runtime.system)

    return run


class TestFollowing:
    def test_party_is_what_the_contact_says(self, anna, rosa):
        party = anna("GetParty", name=party_of(rosa))
        assert (party.contact, party.contact_version, party.given_name) == (rosa.name, 1, "Rosa")
        assert [email.address for email in party.emails] == ["rosa@example.com", "r.example@example.org"]
        for wanted in ("tags:vip", "emails.address:rosa@example.com", "language_code = de-CH"):
            assert [found.name for found in anna("ListParties", filter=wanted).parties] == [party.name]
        assert [found.party.name for found in anna("SearchParties", query="rosa ex").results] == [party.name]

    def test_older_versions_change_nothing(self, anna, tell, rosa):
        rosa.given_name = "Rosina"
        tell(anna.tenant, f"{CONTACT}.updated", rosa, 3)
        rosa.given_name = "Rosalie"
        tell(anna.tenant, f"{CONTACT}.snapshot", rosa, 2)
        assert anna("GetParty", name=party_of(rosa)).given_name == "Rosina"

    def test_told_anew_it_is_made_anew(self, anna, server, tell, rosa):
        with server.database.connect() as connection:
            connection.execute("UPDATE parties SET given_name = 'Nobody', account = NULL")
            connection.execute("DELETE FROM party_addresses")
        tell(anna.tenant, f"{CONTACT}.snapshot", rosa, 1)
        assert anna("GetParty", name=party_of(rosa)).given_name == "Rosa"
        with server.database.connect() as connection:
            assert connection.execute("SELECT count(*) FROM party_addresses").fetchall() == [(2,)]

    def test_deletion_and_its_end_are_followed(self, anna, tell, rosa):
        rosa.delete_time.GetCurrentTime()
        tell(anna.tenant, f"{CONTACT}.deleted", rosa, 2)
        assert anna("GetParty", name=party_of(rosa)).HasField("delete_time")
        assert not anna("ListParties").parties
        rosa.ClearField("delete_time")
        tell(anna.tenant, f"{CONTACT}.undeleted", rosa, 3)
        assert [party.name for party in anna("ListParties").parties] == [party_of(rosa)]

    def test_first_told_of_when_it_is_deleted_it_is_no_party_to_write_to(self, anna, tell):
        gone = contact("Gone", "gone@example.com")
        gone.delete_time.GetCurrentTime()
        tell(anna.tenant, f"{CONTACT}.deleted", gone, 4)
        assert not anna("ListParties").parties

    def test_what_was_erased_is_forgotten(self, anna, tell, rosa):
        erased = contact("", name=rosa.name, display_name="")
        erased.delete_time.GetCurrentTime()
        tell(anna.tenant, f"{CONTACT}.erased", erased, 2)
        party = anna("GetParty", name=party_of(rosa))
        assert (party.given_name, len(party.emails), len(party.tags)) == ("", 0, 0)
        assert not anna("ListParties", filter="emails.address:rosa@example.com", show_deleted=True).parties

    @pytest.mark.parametrize("order", [*itertools.permutations(range(3))], ids=lambda order: "".join(map(str, order)))
    def test_whatever_is_told_first_the_account_is_known(self, anna, tell, order):
        rosa = contact("Rosa")
        firm = account(industry="Optics", tier=Account.TIER_KEY, roles=[Account.ROLE_CUSTOMER])
        told = [(CONTACT, rosa), (ACCOUNT, firm), (AFFILIATION, affiliation(rosa, firm))]
        for kind, record in (told[place] for place in order):
            tell(anna.tenant, f"{kind}.created", record, 1)
        wanted = f"account = {firm.name} AND industry = Optics AND tier = TIER_KEY AND roles:ROLE_CUSTOMER"
        assert [party.name for party in anna("ListParties", filter=wanted).parties] == [party_of(rosa)]

    def test_changes_of_the_account_are_followed(self, anna, tell, rosa):
        firm = account(industry="Optics", addresses=[{"region_code": "CH"}])
        tell(anna.tenant, f"{ACCOUNT}.created", firm, 1)
        tell(anna.tenant, f"{AFFILIATION}.created", affiliation(rosa, firm), 1)
        firm.industry = "Mining"
        tell(anna.tenant, f"{ACCOUNT}.updated", firm, 2)
        party = anna("GetParty", name=party_of(rosa))
        assert (party.industry, party.account_country) == ("Mining", "CH")
        assert anna("ListParties", filter="industry = Mining").parties
        firm.delete_time.GetCurrentTime()
        tell(anna.tenant, f"{ACCOUNT}.deleted", firm, 3)
        assert not anna("GetParty", name=party_of(rosa)).account

    def test_of_several_organisations_the_one_marked_counts(self, anna, tell, rosa):
        first, second = account(), account()
        marked = affiliation(rosa, second, primary=True)
        tell(anna.tenant, f"{AFFILIATION}.created", affiliation(rosa, first), 1)
        tell(anna.tenant, f"{AFFILIATION}.created", marked, 1)
        assert anna("GetParty", name=party_of(rosa)).account == second.name
        marked.valid_to.year, marked.valid_to.month, marked.valid_to.day = 2020, 1, 31
        tell(anna.tenant, f"{AFFILIATION}.updated", marked, 2)
        assert anna("GetParty", name=party_of(rosa)).account == first.name

    def test_it_leaves_the_organisation_when_the_last_day_there_is_over(self, anna, tell, rosa, pass_days):
        firm, today = account(), dt.datetime.now(dt.UTC).date()
        tell(anna.tenant, f"{ACCOUNT}.created", firm, 1)
        leaving = affiliation(rosa, firm)
        leaving.valid_to.year, leaving.valid_to.month, leaving.valid_to.day = today.timetuple()[:3]
        tell(anna.tenant, f"{AFFILIATION}.created", leaving, 1)
        pass_days(0)
        assert anna("GetParty", name=party_of(rosa)).account == firm.name
        pass_days(1)
        left = anna("GetParty", name=party_of(rosa))
        assert left.account == ""
        pass_days(2)
        assert anna("GetParty", name=party_of(rosa)) == left, "it leaves once"

    def test_who_stays_after_all_is_there_again(self, anna, tell, rosa, pass_days):
        firm = account()
        leaving = affiliation(rosa, firm)
        leaving.valid_to.year, leaving.valid_to.month, leaving.valid_to.day = 2099, 12, 31
        tell(anna.tenant, f"{AFFILIATION}.created", leaving, 1)
        pass_days(30_000)
        assert anna("GetParty", name=party_of(rosa)).account == ""
        leaving.ClearField("valid_to")
        tell(anna.tenant, f"{AFFILIATION}.updated", leaving, 2)
        assert anna("GetParty", name=party_of(rosa)).account == firm.name

    def test_what_is_known_of_an_address_is_told(self, anna, tell, rosa):
        known = status("rosa@example.com", invalid=True)
        tell(anna.tenant, f"{STATUS}.created", known, 1)
        assert [email.invalid for email in anna("GetParty", name=party_of(rosa)).emails] == [True, False]
        known.delete_time.GetCurrentTime()
        tell(anna.tenant, f"{STATUS}.deleted", known, 2)
        assert not any(email.invalid for email in anna("GetParty", name=party_of(rosa)).emails)


class TestComplaints:
    @pytest.fixture
    def count(self, anna):
        return lambda contact: anna("GetParty", name=party_of(contact)).open_complaints

    def test_count_for_who_complains_until_they_are_solved(self, anna, tell, rosa, count):
        ticket = complaint(rosa)
        tell(anna.tenant, f"{TICKET}.created", ticket, 1)
        assert count(rosa) == 1
        assert not anna("ListParties", filter="open_complaints = 0").parties
        ticket.category = TICKET_CATEGORY_SOLVED
        tell(anna.tenant, f"{TICKET}.solved", ticket, 2)
        assert count(rosa) == 0
        ticket.category = TICKET_CATEGORY_OPEN
        tell(anna.tenant, f"{TICKET}.reopened", ticket, 3)
        assert count(rosa) == 1
        ticket.delete_time.GetCurrentTime()
        tell(anna.tenant, f"{TICKET}.deleted", ticket, 4)
        assert count(rosa) == 0

    def test_count_for_all_of_the_account_once(self, anna, tell, rosa, count):
        firm, other = account(), account()
        twin = contact("Twin")
        tell(anna.tenant, f"{CONTACT}.created", twin, 1)
        tell(anna.tenant, f"{AFFILIATION}.created", affiliation(rosa, firm), 1)
        ticket = complaint(rosa, firm)
        tell(anna.tenant, f"{TICKET}.created", ticket, 1)
        assert (count(rosa), count(twin)) == (1, 0)
        tell(anna.tenant, f"{AFFILIATION}.created", affiliation(twin, firm), 1)
        assert count(twin) == 1
        ticket.account = other.name
        tell(anna.tenant, f"{TICKET}.updated", ticket, 2)
        assert (count(rosa), count(twin)) == (1, 0)

    def test_nothing_else_counts(self, anna, tell, rosa, count):
        ticket = complaint(rosa)
        ticket.type = Ticket.TYPE_QUESTION
        tell(anna.tenant, f"{TICKET}.updated", ticket, 2)
        ticket.type = Ticket.TYPE_COMPLAINT
        tell(anna.tenant, f"{TICKET}.snapshot", ticket, 1)
        assert count(rosa) == 0


class TestTogether:
    def test_what_is_told_at_the_same_moment_is_known_in_the_end(self, anna, server, tell):
        """Each time in as many transactions as there are events, all of them at once."""
        records = service().use(server.runtime)
        for _ in range(5):
            rosa, firm = contact("Rosa"), account(industry="Optics")
            told = [
                (follow_contact, CONTACT, rosa),
                (follow_account, ACCOUNT, firm),
                (follow_affiliation, AFFILIATION, affiliation(rosa, firm)),
                (follow_ticket, TICKET, complaint(by=firm)),
            ]
            start = Barrier(len(told))

            def handle(handler, kind, record, start=start):
                now = dt.datetime.now(dt.UTC)
                data = record.SerializeToString()
                event = Event(uuid.uuid4(), anna.tenant, f"{kind}.created", record.name, 1, now, data)
                with server.runtime.database.write(anna.tenant) as tx:
                    start.wait()
                    handler(event, Work(tx, start_span(), records))

            with ThreadPoolExecutor(len(told)) as pool:
                list(pool.map(lambda each: handle(*each), told))
            party = anna("GetParty", name=party_of(rosa))
            assert (party.account, party.industry, party.open_complaints) == (firm.name, "Optics", 1)


class TestRights:
    def test_follow_the_owner_of_the_contact(self, anna, tell):
        bert = anna.colleague("marketing.parties.read:own")
        his, other = contact("His", owner=bert.user), contact("Other", owner=anna.user)
        for each in (his, other):
            tell(anna.tenant, f"{CONTACT}.created", each, 1)
        assert [party.name for party in bert("ListParties").parties] == [party_of(his)]
        assert bert.refusal("GetParty", name=party_of(other)).code is StatusCode.NOT_FOUND

    def test_another_tenant_sees_nothing(self, server, rosa):
        assert server.caller().refusal("GetParty", name=party_of(rosa)).code is StatusCode.NOT_FOUND
