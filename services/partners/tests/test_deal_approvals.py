"""Approved deals: the opportunity in sales, protection and its end."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from kontor.contacts.v1 import account_pb2
from kontor.sales.v1 import opportunity_pb2
from kontor_kit.errors import FailedPrecondition, Unavailable
from kontor_kit.ids import parse_name, uuid7
from kontor_kit.testing.telling import teller
from kontor_kit.tracing import start_span
from kontor_partners.deal_registrations import rules
from kontor_partners.deal_registrations.api import EXPIRE_REGISTRATIONS
from kontor_partners.service import service
from services.partners.tests.registering import (
    ARM,
    CLEAR,
    CONFLICT,
    ROBOT,
    WAITING,
    customer,
    events,
    pending,
    submitted,
)
from services.partners.tests.sales import LOST, OPEN


@pytest.fixture(scope="module")
def server(serve, peer, asked):
    return serve(service(), peers={"identity": peer.address, "contacts": peer.address, "sales": asked.address})


@pytest.fixture
def approve(anna, work):
    def run(made, **fields):
        anna("ApproveDealRegistration", name=made.name, **fields)
        work()
        return anna("GetDealRegistration", name=made.name)

    return run


@pytest.fixture
def tell(server):
    with teller(server, service()) as telling:
        yield telling


@pytest.fixture
def pass_time(server, system):
    """Run the job as if it were so many days later, in as many processes."""

    def run(days: float, processes: int = 1) -> None:
        runtime, now = server.runtime, dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
        job = EXPIRE_REGISTRATIONS.periodic(runtime.database, service().use(runtime), lambda: now)
        with server.database.connect() as connection:
            connection.execute("UPDATE leases SET expire_time = 'epoch' WHERE name = %s", [job.name])
        with ThreadPoolExecutor(processes) as pool:
            list(pool.map(lambda _: job.run_once(system), range(processes)))

    return run


class TestApproved:
    def test_creates_the_opportunity_and_protects_the_deal(self, anna, north, approve, sales):
        after = approve(pending(anna, north))
        [made] = sales.opportunities.values()
        assert (after.state, after.opportunity) == (rules.APPROVED, made.name)
        assert (made.partner, made.amount.units, made.source) == (north.account, 50_000, "partner")
        assert made.partner_protection_end_time == after.protection_end_time
        protected = after.protection_end_time.ToDatetime() - after.approve_time.ToDatetime()
        assert protected == dt.timedelta(days=120)
        assert events(anna, after.name)[-3:] == ["review_started", "approval_started", "approved"]

    def test_links_the_opportunity_that_is_given(self, anna, north, approve, sales):
        there = sales.add(opportunity_pb2.Opportunity(display_name="Ours"))
        after = approve(pending(anna, north), opportunity=there.name)
        assert (after.opportunity, there.partner) == (there.name, north.account)
        assert there.partner_protection_end_time == after.protection_end_time

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            pytest.param({"state": LOST}, "OPPORTUNITY_CLOSED", id="closed"),
            pytest.param({"partner": "accounts/1"}, "OPPORTUNITY_TAKEN", id="taken"),
        ],
    )
    def test_is_refused_when_the_opportunity_cannot_be_linked(self, anna, north, sales, fields, reason):
        there = sales.add(opportunity_pb2.Opportunity())
        there.MergeFrom(opportunity_pb2.Opportunity(**fields))
        made = pending(anna, north)
        assert anna.refusal("ApproveDealRegistration", name=made.name, opportunity=there.name).reason == reason
        assert anna("GetDealRegistration", name=made.name) == made

    def test_one_opportunity_is_one_partners(self, anna, north, south, approve, sales):
        there = sales.add(opportunity_pb2.Opportunity())
        approve(pending(anna, north), opportunity=there.name)
        there.partner = ""
        other = pending(anna, south, end_customer=customer())
        refusal = anna.refusal("ApproveDealRegistration", name=other.name, opportunity=there.name)
        assert "protected for another registration" in refusal.message

    def test_same_call_returns_the_same_operation(self, anna, north, work, sales):
        made = pending(anna, north)
        first = anna("ApproveDealRegistration", name=made.name)
        work()
        again = anna("ApproveDealRegistration", name=made.name)
        assert (again.name, again.done) == (first.name, True)
        assert len(sales.opportunities) == 1

    def test_is_refused_to_who_may_not_create_opportunities(self, anna, north):
        made = pending(anna, north)
        bert = anna.colleague("partners.*.*:all")
        assert bert.refusal("ApproveDealRegistration", name=made.name).code is grpc.StatusCode.PERMISSION_DENIED

    def test_is_refused_while_something_stands_in_the_way(self, anna, north, south, approve):
        first, second = pending(anna, north), pending(anna, south)
        assert anna.refusal("ApproveDealRegistration", name=second.name).reason == "WAITING"
        approve(first)
        assert anna("GetDealRegistration", name=second.name).verdict == CONFLICT
        refusal = anna.refusal("ApproveDealRegistration", name=second.name)
        assert (refusal.reason, refusal.metadata["resource"]) == ("CONFLICT", first.name)

    def test_is_refused_when_the_partner_sells_no_more(self, anna, north):
        made = pending(anna, north)
        anna("SuspendPartner", name=north.name, reason="Audit")
        assert anna.refusal("ApproveDealRegistration", name=made.name).reason == "PARTNER_IDLE"

    def test_is_pending_again_with_the_reason_when_sales_refuses(self, anna, north, south, approve, sales):
        made, other = pending(anna, north), submitted(anna, south)
        sales.failures.append(FailedPrecondition("the pipeline is closed"))
        after = approve(made)
        assert (after.state, after.state_reason, after.opportunity) == (rules.PENDING, "the pipeline is closed", "")
        assert not sales.opportunities
        assert anna("GetDealRegistration", name=other.name).verdict == WAITING
        assert approve(made).state == rules.APPROVED

    def test_waits_for_sales_and_creates_one_although_an_answer_is_lost(self, anna, north, approve, sales):
        sales.failures.append(Unavailable("away"))
        sales.lost.append(Unavailable("the answer was lost"))
        assert approve(pending(anna, north)).state == rules.APPROVED
        assert len(sales.opportunities) == 1

    def test_leaves_nothing_when_it_is_cancelled(self, anna, north, work, sales):
        made = pending(anna, north)
        operation = anna("ApproveDealRegistration", name=made.name)
        assert anna.refusal("CancelDealRegistration", name=made.name).reason == "APPROVING"
        anna("CancelOperation", name=operation.name)
        work()
        after = anna("GetDealRegistration", name=made.name)
        assert (after.state, after.state_reason) == (rules.PENDING, "the approval was cancelled")
        assert not sales.opportunities

    def test_takes_back_what_a_lost_answer_made(self, anna, north, work, sales):
        made = pending(anna, north)
        operation = anna("ApproveDealRegistration", name=made.name)
        create = sales.CreateOpportunity

        def called_off(request):
            anna("CancelOperation", name=operation.name)
            return create(request)

        sales.CreateOpportunity = called_off
        sales.lost.append(Unavailable("the answer was lost"))
        work()
        assert anna("GetDealRegistration", name=made.name).state == rules.PENDING
        assert not sales.opportunities

    def test_link_is_taken_back_when_it_is_cancelled(self, anna, north, work, sales):
        there = sales.add(opportunity_pb2.Opportunity())
        made = pending(anna, north)
        operation = anna("ApproveDealRegistration", name=made.name, opportunity=there.name)
        sales.lost.append(Unavailable("the answer was lost"))
        update = sales.UpdateOpportunity

        def called_off(request):
            anna("CancelOperation", name=operation.name)
            return update(request)

        sales.UpdateOpportunity = called_off
        work()
        assert anna("GetDealRegistration", name=made.name).opportunity == ""
        assert (there.partner, there.HasField("partner_protection_end_time")) == ("", False)


class TestProtection:
    def test_ends_by_itself_and_lets_the_next_one_in(self, anna, north, south, approve, pass_time):
        first, second = approve(pending(anna, north)), submitted(anna, south)
        assert second.verdict == CONFLICT
        pass_time(119)
        assert anna("GetDealRegistration", name=first.name).state == rules.APPROVED
        pass_time(120, processes=4)
        pass_time(121)
        assert anna("GetDealRegistration", name=first.name).state == rules.EXPIRED
        assert events(anna, first.name).count("expired") == 1
        assert anna("GetDealRegistration", name=second.name).verdict == CLEAR

    def test_ends_once_however_many_end_it(self, anna, server, north, approve):
        made = approve(pending(anna, north))
        registrations, later = service().use(server.runtime)["dealRegistrations"], dt.timedelta(days=200)

        def expire(_: int) -> bool:
            with registrations.shared.database.write(anna.tenant) as tx:
                id = parse_name(made.name, "dealRegistrations/{deal_registration}", "name")
                return registrations.expire(tx, start_span(), id, dt.datetime.now(dt.UTC) + later)

        with ThreadPoolExecutor(8) as pool:
            assert sorted(pool.map(expire, range(8))) == [False] * 7 + [True]

    def test_is_given_up_with_the_registration(self, anna, north, south, approve):
        first, second = approve(pending(anna, north)), submitted(anna, south)
        assert anna("CancelDealRegistration", name=first.name, reason="Lost").state == rules.CANCELLED
        assert anna("GetDealRegistration", name=second.name).verdict == CLEAR

    def test_is_extended_with_evidence_as_far_as_the_programme_lets(self, anna, north, approve, pass_time):
        made = approve(pending(anna, north))
        ask = {"name": made.name, "evidence": "The tender was won"}
        assert [*anna.refusal("ExtendDealRegistration", name=made.name, days=10).violations] == ["evidence"]
        after = anna("ExtendDealRegistration", **ask, days=60)
        assert after.protection_end_time == made.max_protection_end_time
        assert [each.days for each in after.extensions] == [60]
        assert anna.refusal("ExtendDealRegistration", **ask, days=1).reason == "EXTENSION_LIMIT"
        pass_time(179)
        assert anna("GetDealRegistration", name=made.name).state == rules.APPROVED
        pass_time(180)
        assert anna.refusal("ExtendDealRegistration", **ask, days=1).reason == "NOT_PROTECTED"


class TestKnown:
    """What contacts and sales tell."""

    def account(self, **fields):
        return account_pb2.Account(name=f"accounts/{uuid7()}", display_name="Hofmann Werke", **fields)

    def deal(self, account, *products, **fields):
        opened = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
        lines = [{"product": product} for product in products]
        usual = {"name": f"opportunities/{uuid7()}", "state": OPEN, "open_time": opened, "account": account.name}
        return opportunity_pb2.Opportunity(**{**usual, **fields}, lines=lines)

    def tell_deal(self, tell, caller, deal, version=2, event="updated"):
        tell(caller.tenant, f"kontor.sales.v1.opportunity.{event}", deal, version)

    @pytest.fixture
    def known(self, anna, tell):
        account = self.account(website="https://www.hofmann.example")
        tell(anna.tenant, "kontor.contacts.v1.account.created", account, 1)
        return account

    def test_own_deal_is_a_conflict_until_it_is_lost(self, anna, north, tell, known):
        deal = self.deal(known, ROBOT, ARM)
        self.tell_deal(tell, anna, deal)
        made = submitted(anna, north)
        assert made.verdict == CONFLICT
        assert [outcome.kept for outcome in made.rule_outcomes] == [True, False, True]
        assert deal.name not in str(made)
        assert known.name not in str(made)
        [decision] = anna("ExplainDealRegistration", name=made.name).arbitrations
        assert decision.outcomes[1].blockers[0].record == deal.name
        assert f"ACCOUNT:{known.name}" in decision.customer_keys
        deal.state = LOST
        self.tell_deal(tell, anna, deal, 3, "lost")
        assert anna("GetDealRegistration", name=made.name).verdict == CLEAR

    def test_own_deal_that_came_later_changes_nothing(self, anna, north, tell, known):
        made = submitted(anna, north)
        self.tell_deal(tell, anna, self.deal(known, ROBOT, open_time=dt.datetime.now(dt.UTC)))
        assert anna("GetDealRegistration", name=made.name) == made

    def test_own_deal_that_becomes_known_late_counts_from_when_it_was_opened(self, anna, north, tell, known):
        made = submitted(anna, north)
        self.tell_deal(tell, anna, self.deal(known, ROBOT))
        assert anna("GetDealRegistration", name=made.name).verdict == CONFLICT

    def test_deal_that_the_partner_brought_is_no_obstacle(self, anna, north, tell, known):
        self.tell_deal(tell, anna, self.deal(known, ROBOT, partner=north.account))
        assert submitted(anna, north).verdict == CLEAR

    def test_deal_that_is_linked_is_no_obstacle(self, anna, north, approve, tell, known, sales):
        there = sales.add(self.deal(known, ROBOT))
        self.tell_deal(tell, anna, there)
        made = pending(anna, north)
        assert made.verdict == CONFLICT
        assert approve(made, opportunity=there.name).state == rules.APPROVED

    def test_what_is_older_is_not_taken_for_new(self, anna, north, tell, known):
        deal = self.deal(known, ROBOT, state=LOST)
        self.tell_deal(tell, anna, deal, 5)
        deal.state = OPEN
        self.tell_deal(tell, anna, deal, 4)
        assert submitted(anna, north).verdict == CLEAR

    def test_what_is_told_without_its_values_changes_nothing(self, anna, north, tell, known):
        deal = self.deal(known, ROBOT)
        self.tell_deal(tell, anna, deal)
        made = submitted(anna, north)
        tell(anna.tenant, "kontor.sales.v1.opportunity.updated", deal, 3, data=b"")
        tell(anna.tenant, "kontor.contacts.v1.account.updated", known, 2, data=b"")
        assert anna("GetDealRegistration", name=made.name) == made
        assert submitted(anna, north).verdict == CONFLICT

    def test_two_ways_to_name_an_account_are_one_customer(self, anna, north, south, tell):
        address = {"region_code": "DE", "postal_code": "50667"}
        account = self.account(website="https://big.example", addresses=[address])
        tell(anna.tenant, "kontor.contacts.v1.account.created", account, 1)
        place = {"company": "Hofmann Werke AG", "region_code": "DE", "postal_code": "50667"}
        submitted(anna, north, end_customer=place)
        other = {"company": "HW", "region_code": "DE", "contact_email": "a@big.example"}
        assert submitted(anna, south, end_customer=other).verdict == WAITING

    def test_deleted_account_is_known_no_more(self, anna, north, tell, known):
        self.tell_deal(tell, anna, self.deal(known, ROBOT))
        known.delete_time = dt.datetime.now(dt.UTC)
        tell(anna.tenant, "kontor.contacts.v1.account.deleted", known, 2)
        assert submitted(anna, north).verdict == CLEAR

    def test_who_met_by_an_account_that_is_another_by_now_is_told_when_that_is_decided(
        self, anna, north, south, tell, known, approve
    ):
        first = pending(anna, north)
        second = submitted(anna, south, end_customer=customer())
        assert anna("StartDealRegistrationReview", name=second.name, account=known.name).verdict == WAITING
        known.website = ""
        tell(anna.tenant, "kontor.contacts.v1.account.updated", known, 2)
        assert approve(first).state == rules.APPROVED
        assert anna("GetDealRegistration", name=second.name).verdict == CLEAR
