"""Lead offers: to whom, until when, what becomes of them, and what is seen of the lead."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc
import pytest
from grpc import StatusCode

from kontor.sales.v1 import lead_pb2, product_pb2
from kontor_kit.ids import parse_name, uuid7
from kontor_kit.testing.telling import teller
from kontor_kit.tracing import start_span
from kontor_partners.lead_offers import rules
from kontor_partners.lead_offers.api import EXPIRE_OFFERS
from kontor_partners.service import service
from services.partners.tests.offering import ANSWER, known_lead, offers, states
from services.partners.tests.partnering import TODAY, active, day, partner, person, programme


@pytest.fixture
def lead(peer):
    return partial(known_lead, peer)


@pytest.fixture
def tell(server):
    with teller(server, service()) as told:
        yield told


@pytest.fixture
def pass_time(server):
    """Run the job as if it were so many hours later, in as many processes."""

    def run(hours: int, processes: int = 1) -> None:
        runtime, now = server.runtime, dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)
        job = EXPIRE_OFFERS.periodic(runtime.database, service().use(runtime), lambda: now)
        with server.database.connect() as connection:
            connection.execute("UPDATE leases SET expire_time = 'epoch' WHERE name = %s", [job.name])
        with ThreadPoolExecutor(processes) as pool:
            list(pool.map(lambda _: job.run_once(runtime.system), range(processes)))

    return run


def skipped(choice) -> dict[str, str]:
    return {each.partner: each.skipped_reason for each in choice.candidates if each.skipped_reason}


class TestOffering:
    def test_shows_what_the_lead_is_about_and_not_who_it_is(self, anna, lead):
        made = active(anna, programme(anna), "gold")
        offer = anna("CreateLeadOffer", lead_offer={"lead": lead().name, "partner": made.name})
        assert (offer.company, offer.region_code, offer.industry) == ("Acme", "CH", "Machines")
        assert not offer.HasField("person")
        assert "rosa" not in str(offer).lower()
        hours = (offer.expire_time.ToDatetime(dt.UTC) - offer.create_time.ToDatetime(dt.UTC)).total_seconds() / 3600
        assert round(hours, 2) == 24
        assert anna("GetLeadOffer", name=offer.name) == offer
        assert not anna("ExplainLeadOffer", name=offer.name).HasField("choice")

    def test_one_partner_at_a_time(self, anna, lead):
        terms, wanted = programme(anna), lead()
        north, south = active(anna, terms), active(anna, terms)
        anna("CreateLeadOffer", lead_offer={"lead": wanted.name, "partner": north.name})
        again = anna.refusal("CreateLeadOffer", lead_offer={"lead": wanted.name, "partner": south.name})
        assert (again.code, again.message) == (
            StatusCode.ALREADY_EXISTS,
            "a partner has the lead, or an offer of it",
        )
        assert anna.refusal("DistributeLead", lead=wanted.name).code is StatusCode.ALREADY_EXISTS

    @pytest.mark.parametrize("state", [4, 5, 6])
    def test_closed_lead_is_not_offered(self, anna, lead, state):
        active(anna, programme(anna))
        assert anna.refusal("DistributeLead", lead=lead(state=state).name).reason == "LEAD_CLOSED"

    def test_lead_that_is_not_seen_does_not_exist(self, anna, lead, peer):
        made, wanted = active(anna, programme(anna)), lead()
        peer.absent.add(wanted.name)
        assert [*anna.refusal("DistributeLead", lead=wanted.name).violations] == ["lead"]
        refusal = anna.refusal("CreateLeadOffer", lead_offer={"lead": wanted.name, "partner": made.name})
        assert [*refusal.violations] == ["lead_offer.lead"]

    def test_idle_partner_is_not_offered_a_lead(self, anna, lead):
        prospect = partner(anna)
        late = active(anna, programme(anna), agreement_end_date=day(-1))
        for each in (prospect, late):
            refusal = anna.refusal("CreateLeadOffer", lead_offer={"lead": lead().name, "partner": each.name})
            assert refusal.reason == "PARTNER_IDLE"

    def test_more_time_can_be_given(self, anna, lead):
        made = active(anna, programme(anna))
        offer = anna("CreateLeadOffer", lead_offer={"lead": lead().name, "partner": made.name})
        past = {"name": offer.name, "expire_time": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}
        assert [*anna.refusal("UpdateLeadOffer", lead_offer=past).violations] == ["lead_offer.expire_time"]
        later = dt.datetime.now(dt.UTC) + dt.timedelta(days=30)
        anna("UpdateLeadOffer", lead_offer={"name": offer.name, "expire_time": later})
        anna("DeclineLeadOffer", name=offer.name, reason="Too far")
        refusal = anna.refusal(
            "UpdateLeadOffer", lead_offer={"name": offer.name, "expire_time": later + dt.timedelta(days=1)}
        )
        assert refusal.reason == "LEAD_OFFER_DECLINED"


class TestDistributing:
    def test_explains_whom_it_chose(self, anna, lead, tell):
        terms, pump = programme(anna), product_pb2.Product(name=f"products/{uuid7()}", family="Pumps")
        pump.display_name = "Pump 3"
        tell(anna.tenant, "kontor.sales.v1.product.created", pump, 1)
        fit = active(anna, terms, display_name="Fit", region_codes=["CH"], product_families=["Pumps"])
        away = active(anna, terms, region_codes=["AT"])
        wrong = active(anna, terms, products=[f"products/{uuid7()}"])
        late = active(anna, terms, agreement_end_date=day(-1))
        partner(anna)
        offer = anna("DistributeLead", lead=lead(interests=[pump.name]).name)
        assert offer.partner == fit.name
        assert [interest.display_name for interest in offer.interests] == ["Pump 3"]
        choice = anna("ExplainLeadOffer", name=offer.name).choice
        assert (choice.partner, choice.reason) == (fit.name, "is the only one that is fit")
        assert (choice.candidates[0].display_name, choice.candidates[0].standing) == (
            "Fit",
            "share 1 of 1, was offered 0 of 0",
        )
        assert skipped(choice) == {
            away.name: "does not sell in CH",
            wrong.name: "sells none of the products",
            late.name: f"its agreement ended on {(TODAY - dt.timedelta(days=1)).isoformat()}",
        }

    def test_nobody_is_fit(self, anna, lead):
        full = active(anna, programme(anna), offer_capacity=1)
        anna("DistributeLead", lead=lead().name)
        refusal = anna.refusal("DistributeLead", lead=lead().name)
        assert refusal.reason == "NO_PARTNER"
        assert refusal.metadata[full.name] == "has 1 open offers, which is all"

    def test_shares_follow_the_weights(self, anna, lead):
        terms = programme(anna)
        silver, gold = active(anna, terms), active(anna, terms, "gold")
        got = [anna("DistributeLead", lead=lead().name).partner for _ in range(8)]
        assert (got.count(gold.name), got.count(silver.name)) == (6, 2)
        choice = anna("ExplainLeadOffer", name=anna("DistributeLead", lead=lead().name).name).choice
        assert {each.partner: each.standing for each in choice.candidates} == {
            silver.name: "share 1 of 4, was offered 2 of 8",
            gold.name: "share 3 of 4, was offered 6 of 8",
        }

    def test_only_among_those_that_the_permission_reaches(self, anna, lead):
        terms, team = programme(anna), uuid7()
        active(anna, terms)
        permissions = (
            "partners.leadOffers.distribute:team",
            "partners.partners.read:all",
            "partners.leadOffers.read:all",
        )
        tom = anna.colleague(*permissions, teams=[team])
        assert tom.refusal("DistributeLead", lead=lead().name).code is StatusCode.PERMISSION_DENIED
        ours = active(anna, terms, team=f"teams/{team}")
        assert {tom("DistributeLead", lead=lead().name).partner for _ in range(3)} == {ours.name}
        named = tom.refusal("CreateLeadOffer", lead_offer={"lead": lead().name, "partner": ours.name})
        assert named.code is StatusCode.PERMISSION_DENIED

    def test_race_for_a_lead_makes_one_offer(self, anna, lead):
        terms, wanted = programme(anna), lead()
        for _ in range(3):
            active(anna, terms)

        def distribute(_: int) -> StatusCode:
            try:
                anna("DistributeLead", lead=wanted.name)
            except grpc.RpcError as error:
                return error.code()
            return StatusCode.OK

        with ThreadPoolExecutor(16) as pool:
            codes = list(pool.map(distribute, range(16)))
        assert (codes.count(StatusCode.OK), codes.count(StatusCode.ALREADY_EXISTS)) == (1, 15)
        assert len(offers(anna, wanted)) == 1

    def test_race_for_partners_keeps_to_the_shares(self, anna, lead):
        terms = programme(anna)
        silver, gold = active(anna, terms), active(anna, terms, "gold")
        wanted = [lead().name for _ in range(16)]
        with ThreadPoolExecutor(16) as pool:
            got = list(pool.map(lambda name: anna("DistributeLead", lead=name).partner, wanted))
        # Gold has ten at a time at most.
        assert (got.count(gold.name), got.count(silver.name)) == (10, 6)


class TestAnswering:
    def test_who_accepts_learns_who_it_is(self, anna, lead):
        made = active(anna, programme(anna))
        offer = anna("DistributeLead", lead=lead().name)
        ned = person(anna, made)
        taken = ned("AcceptLeadOffer", name=offer.name, **ANSWER)
        assert (taken.state, taken.next_step, taken.expected_amount.units) == (rules.ACCEPTED, "Call them", 5000)
        assert (taken.person.given_name, taken.person.email, taken.answerer) == ("Rosa", "rosa@acme.example", ned.user)
        assert taken.person.description == "Please ring 044 000 00 00"
        assert ned.refusal("DeclineLeadOffer", name=offer.name, reason="No").reason == "LEAD_OFFER_ACCEPTED"
        with anna.running.database.connect() as connection:
            count = connection.execute("SELECT count(*) FROM offered_leads WHERE tenant_id = %s", [anna.tenant])
            assert count.fetchone() == (0,)

    def test_needs_a_next_step_and_an_amount(self, anna, lead):
        active(anna, programme(anna))
        offer = anna("DistributeLead", lead=lead().name)
        refusal = anna.refusal("AcceptLeadOffer", name=offer.name)
        assert {*refusal.violations} == {"next_step", "expected_amount"}
        negative = {**ANSWER, "expected_amount": {"currency_code": "EUR", "units": -1}}
        assert [*anna.refusal("AcceptLeadOffer", name=offer.name, **negative).violations] == ["expected_amount"]

    def test_declined_goes_to_the_next_and_not_back(self, anna, lead):
        terms, wanted = programme(anna), lead()
        partners = {each.name: each for each in (active(anna, terms), active(anna, terms))}
        first = anna("DistributeLead", lead=wanted.name)
        ned = person(anna, partners[first.partner])
        declined = ned("DeclineLeadOffer", name=first.name, reason="Too far")
        assert (declined.state, declined.reason) == (rules.DECLINED, "Too far")
        (second,) = [offer for offer in offers(anna, wanted) if offer.state == rules.OFFERED]
        assert second.partner != first.partner
        told = anna("ExplainLeadOffer", name=first.name)
        assert told.next_choice.partner == second.partner
        assert skipped(told.next_choice) == {first.partner: "did not take this lead before"}
        anna("DeclineLeadOffer", name=second.name, reason="Not now")
        assert {offer.state for offer in offers(anna, wanted)} == {rules.DECLINED}
        assert anna("ExplainLeadOffer", name=second.name).next_choice.reason == "nobody is fit for this lead"
        assert anna.refusal("DistributeLead", lead=wanted.name).reason == "NO_PARTNER"

    def test_named_partner_declines_and_the_lead_comes_back(self, anna, lead):
        terms, wanted = programme(anna), lead()
        made, _ = active(anna, terms), active(anna, terms)
        offer = anna("CreateLeadOffer", lead_offer={"lead": wanted.name, "partner": made.name})
        anna("DeclineLeadOffer", name=offer.name, reason="Too far")
        assert states(anna, wanted) == [(made.name, rules.DECLINED)]
        with anna.running.database.connect() as connection:
            # Nobody is looked for any more: who the lead is, is not kept.
            count = connection.execute("SELECT count(*) FROM offered_leads WHERE tenant_id = %s", [anna.tenant])
            assert count.fetchone() == (0,)

    def test_too_late_is_too_late_before_the_job_has_seen_it(self, anna, lead, server):
        active(anna, programme(anna))
        offer = anna("DistributeLead", lead=lead().name)
        with server.database.connect() as connection:
            connection.execute("UPDATE lead_offers SET expire_time = now() WHERE tenant_id = %s", [anna.tenant])
        assert anna.refusal("AcceptLeadOffer", name=offer.name, **ANSWER).reason == "LEAD_OFFER_EXPIRED"

    def test_accepted_by_one_of_many(self, anna, lead):
        active(anna, programme(anna))
        offer = anna("DistributeLead", lead=lead().name)

        def answer(number: int) -> str:
            method, fields = (
                ("AcceptLeadOffer", ANSWER) if number % 2 else ("RecallLeadOffer", {"reason": "Somebody else"})
            )
            try:
                anna(method, name=offer.name, etag=offer.etag, **fields)
            except grpc.RpcError as error:
                return str(error.code())
            return "OK"

        with ThreadPoolExecutor(8) as pool:
            codes = list(pool.map(answer, range(8)))
        assert (codes.count("OK"), codes.count("StatusCode.ABORTED")) == (1, 7)

    def test_recalled_is_not_theirs_any_more(self, anna, lead):
        made, wanted = active(anna, programme(anna)), lead()
        offer = anna("DistributeLead", lead=wanted.name)
        person(anna, made)("AcceptLeadOffer", name=offer.name, **ANSWER)
        back = anna("RecallLeadOffer", name=offer.name, reason="Nobody called them")
        assert (back.state, back.reason, back.HasField("person")) == (rules.RECALLED, "Nobody called them", False)
        assert anna.refusal("RecallLeadOffer", name=offer.name, reason="Again").reason == "LEAD_OFFER_RECALLED"
        assert anna("DistributeLead", lead=wanted.name).partner == made.name


class TestTime:
    def test_unanswered_goes_to_the_next_once(self, anna, lead, pass_time):
        terms, wanted = programme(anna), lead()
        _, gold = active(anna, terms), active(anna, terms, "gold")
        first = anna("DistributeLead", lead=wanted.name)
        assert first.partner == gold.name
        pass_time(23)
        assert states(anna, wanted) == [(gold.name, rules.OFFERED)]
        pass_time(24, processes=4)
        found = dict(states(anna, wanted))
        assert sorted(found.values()) == [rules.OFFERED, rules.EXPIRED]
        assert found[gold.name] == rules.EXPIRED
        pass_time(24)
        assert len(offers(anna, wanted)) == 2
        # The second one has its own time; when it is over nobody is left.
        pass_time(73)
        assert {state for _, state in states(anna, wanted)} == {rules.EXPIRED}

    def test_once_even_where_several_do_the_same_offer(self, anna, lead, server):
        terms, wanted = programme(anna), lead()
        active(anna, terms), active(anna, terms)
        offer = anna("DistributeLead", lead=wanted.name)
        served = service().use(server.runtime)["leadOffers"]
        id = parse_name(offer.name, "leadOffers/{lead_offer}", "name")
        later = dt.datetime.now(dt.UTC) + dt.timedelta(days=3)

        def work(_: int) -> bool:
            with served.shared.database.write(anna.tenant) as tx:
                return served.expire(tx, start_span(), id, later)

        with ThreadPoolExecutor(8) as pool:
            assert sorted(pool.map(work, range(8))) == [False] * 7 + [True]
        assert len(offers(anna, wanted)) == 2


class TestFollowing:
    @pytest.mark.parametrize(
        ("event", "fields", "reason"),
        [
            ("converted", {"state": 6}, "the lead was converted"),
            ("updated", {"state": 4}, "the lead is worth no opportunity"),
            ("deleted", {"delete_time": {"seconds": 1}}, "the lead was deleted"),
        ],
    )
    def test_closed_lead_is_taken_back(self, anna, lead, tell, event, fields, reason):
        active(anna, programme(anna))
        wanted = lead()
        offer = anna("DistributeLead", lead=wanted.name)
        wanted.MergeFrom(lead_pb2.Lead(**fields))
        tell(anna.tenant, f"kontor.sales.v1.lead.{event}", wanted, 2)
        tell(anna.tenant, f"kontor.sales.v1.lead.{event}", wanted, 2)
        found = anna("GetLeadOffer", name=offer.name)
        assert (found.state, found.reason) == (rules.RECALLED, reason)

    def test_what_sales_corrects_is_what_the_partner_learns(self, anna, lead, tell):
        active(anna, programme(anna))
        wanted = lead()
        offer = anna("DistributeLead", lead=wanted.name)
        wanted.email = "rosa@acme.test"
        tell(anna.tenant, "kontor.sales.v1.lead.updated", wanted, 3)
        wanted.email = "old@acme.test"
        tell(anna.tenant, "kontor.sales.v1.lead.updated", wanted, 2)
        assert anna("AcceptLeadOffer", name=offer.name, **ANSWER).person.email == "rosa@acme.test"

    def test_what_is_told_without_its_values_changes_nothing(self, anna, lead, tell):
        active(anna, programme(anna))
        wanted = lead()
        offer = anna("DistributeLead", lead=wanted.name)
        tell(anna.tenant, "kontor.sales.v1.lead.updated", wanted, 2, data=b"")
        assert anna("AcceptLeadOffer", name=offer.name, **ANSWER).person.email == wanted.email

    def test_who_asked_before_does_not_offer_it_after(self, anna, lead, tell):
        """Sales told of the end first; the caller was told of a version before it."""
        active(anna, programme(anna))
        wanted = lead()
        closed = lead_pb2.Lead()
        closed.CopyFrom(wanted)
        closed.state = 6
        tell(anna.tenant, "kontor.sales.v1.lead.converted", closed, 2)
        assert anna.refusal("DistributeLead", lead=wanted.name).reason == "LEAD_CLOSED"

    def test_lead_that_comes_back_can_be_offered(self, anna, lead, tell):
        active(anna, programme(anna))
        wanted = lead(etag="v3")
        closed = lead_pb2.Lead(name=wanted.name, state=4)
        tell(anna.tenant, "kontor.sales.v1.lead.updated", closed, 2)
        tell(anna.tenant, "kontor.sales.v1.lead.updated", wanted, 3)
        assert anna("DistributeLead", lead=wanted.name).state == rules.OFFERED

    @pytest.mark.parametrize(
        ("method", "fields"),
        [("SuspendPartner", {"reason": "So"}), ("EndPartner", {"reason": "So"}), ("DeletePartner", {})],
    )
    def test_partner_that_stops_has_no_offers(self, anna, lead, method, fields):
        terms, wanted = programme(anna), lead()
        active(anna, terms), active(anna, terms)
        offer = anna("DistributeLead", lead=wanted.name)
        anna(method, name=offer.partner, **fields)
        found = dict(states(anna, wanted))
        assert found.pop(offer.partner) == rules.RECALLED
        assert [*found.values()] == [rules.OFFERED]


class TestAtOnce:
    def test_whatever_happens_to_offers_at_the_same_time_nobody_waits_in_a_circle(self, anna, lead, tell):
        terms = programme(anna)
        made, _ = active(anna, terms), active(anna, terms)
        wanted = [lead() for _ in range(8)]
        names = [anna("CreateLeadOffer", lead_offer={"lead": each.name, "partner": made.name}).name for each in wanted]
        for each in wanted[6:]:
            each.state = 6
        steps = [
            *(partial(anna, "AcceptLeadOffer", name=name, **ANSWER) for name in names[:2]),
            *(partial(anna, "DeclineLeadOffer", name=name, reason="No") for name in names[2:4]),
            *(partial(anna, "RecallLeadOffer", name=name, reason="No") for name in names[4:6]),
            *(partial(tell, anna.tenant, "kontor.sales.v1.lead.converted", each, 2) for each in wanted[6:]),
            partial(anna, "SuspendPartner", name=made.name, reason="So"),
            partial(anna, "DistributeLead", lead=lead().name),
        ]

        def run(step) -> StatusCode:
            try:
                step()
            except grpc.RpcError as error:
                return error.code()
            return StatusCode.OK

        with ThreadPoolExecutor(len(steps)) as pool:
            codes = set(pool.map(run, steps))
        assert codes <= {StatusCode.OK, StatusCode.FAILED_PRECONDITION}
        left = anna("ListLeadOffers", filter=f'partner = "{made.name}" AND state = STATE_OFFERED').lead_offers
        assert len(left) == 0
