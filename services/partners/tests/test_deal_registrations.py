"""Deal registrations: written, submitted, held against others, decided."""

from __future__ import annotations

import datetime as dt

import pytest
from grpc import StatusCode

from kontor_kit.ids import uuid7
from kontor_partners.deal_registrations import rules
from services.partners.tests.registering import (
    ARM,
    CLEAR,
    CUSTOMER,
    ROBOT,
    WAITING,
    customer,
    events,
    registration,
    submitted,
)


class TestStored:
    def test_comes_back_as_a_draft(self, anna, north):
        made = registration(anna, north, region_codes=["at", "DE"], evidence="Two meetings")
        assert anna("GetDealRegistration", name=made.name) == made
        assert (made.state, made.verdict, made.registrant) == (rules.DRAFT, 0, anna.user)
        assert [*made.region_codes] == ["AT", "DE"]
        assert made.end_customer.website == "https://hofmann.example"

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            pytest.param({"display_name": " "}, "display_name", id="display_name"),
            pytest.param({"end_customer": {"region_code": "QQ"}}, "end_customer.region_code", id="country"),
            pytest.param({"end_customer": {"contact_email": "a"}}, "end_customer.contact_email", id="email"),
            pytest.param({"region_codes": ["DE", "QQ"]}, "region_codes[1]", id="countries"),
            pytest.param({"partner": f"partners/{uuid7()}"}, "partner", id="partner"),
            pytest.param({"amount": {"currency_code": "XXQ", "units": 1}}, "amount.currency_code", id="amount"),
        ],
    )
    def test_names_what_is_wrong(self, anna, north, fields, path):
        usual = {"display_name": "Deal", "partner": north.name}
        refusal = anna.refusal("CreateDealRegistration", deal_registration={**usual, **fields})
        assert [*refusal.violations] == [f"deal_registration.{path}"]

    def test_country_that_is_written_twice_is_one(self, anna, north):
        made = registration(anna, north, region_codes=["de", "AT", "DE"])
        assert [*made.region_codes] == ["DE", "AT"]
        changed = {"name": made.name, "evidence": "A tender"}
        assert anna("UpdateDealRegistration", deal_registration=changed).evidence == "A tender"

    def test_claim_stays_once_submitted(self, anna, north):
        made = submitted(anna, north)
        changed = {"name": made.name, "products": [ARM]}
        assert anna.refusal("UpdateDealRegistration", deal_registration=changed).reason == "CLAIM_FIXED"
        after = anna("UpdateDealRegistration", deal_registration={"name": made.name, "evidence": "A tender"})
        assert after.evidence == "A tender"

    @pytest.mark.parametrize("field", ["amount", "expected_close_date"])
    def test_stays_complete_once_submitted(self, anna, north, field):
        made = submitted(anna, north)
        cleared = {"deal_registration": {"name": made.name}, "update_mask": {"paths": [field]}}
        refusal = anna.refusal("UpdateDealRegistration", **cleared)
        assert (refusal.reason, refusal.metadata["missing"]) == ("INCOMPLETE", field)
        anna("ReturnDealRegistration", name=made.name, missing="Which one?")
        assert not anna("UpdateDealRegistration", **cleared).HasField(field)

    def test_is_deleted_only_when_it_claims_nothing(self, anna, north):
        made = submitted(anna, north)
        assert anna.refusal("DeleteDealRegistration", name=made.name).reason == "CLAIMS"
        anna("CancelDealRegistration", name=made.name)
        anna("DeleteDealRegistration", name=made.name)
        refusal = anna.refusal("UpdateDealRegistration", deal_registration={"name": made.name, "evidence": "More"})
        assert refusal.reason == "DELETED"

    def test_stale_etag_is_aborted(self, anna, north):
        made = registration(anna, north)
        anna("SubmitDealRegistration", name=made.name)
        assert anna.refusal("CancelDealRegistration", name=made.name, etag=made.etag).code is StatusCode.ABORTED

    def test_repeated_request_is_answered_as_before(self, anna, north):
        made, id = registration(anna, north), str(uuid7())
        first = anna("SubmitDealRegistration", name=made.name, request_id=id)
        assert anna("SubmitDealRegistration", name=made.name, request_id=id) == first


class TestSubmitted:
    def test_takes_its_place_when_it_is_complete(self, anna, north):
        made = submitted(anna, north)
        assert (made.state, made.verdict) == (rules.SUBMITTED, CLEAR)
        assert made.submit_time == made.first_submit_time
        assert [outcome.kept for outcome in made.rule_outcomes] == [True] * 3
        assert [*made.region_codes] == ["DE"]

    def test_says_all_that_is_missing(self, anna, north):
        made = anna("CreateDealRegistration", deal_registration={"display_name": "Deal", "partner": north.name})
        refusal = anna.refusal("SubmitDealRegistration", name=made.name)
        assert refusal.reason == "INCOMPLETE"
        for field in ("company", "region_code", "website", "products", "amount", "expected_close_date"):
            assert field in refusal.metadata["missing"]

    def test_is_refused_when_the_partner_is_not_active_or_does_not_sell_this(self, anna, north):
        made = registration(anna, north)
        anna("UpdatePartner", partner={"name": north.name, "region_codes": ["AT"]})
        assert anna.refusal("SubmitDealRegistration", name=made.name).reason == "OUT_OF_REGION"
        anna("UpdatePartner", partner={"name": north.name, "region_codes": ["DE"], "products": [ARM]})
        assert anna.refusal("SubmitDealRegistration", name=made.name).reason == "OUT_OF_RANGE"
        anna("SuspendPartner", name=north.name, reason="Audit")
        assert anna.refusal("SubmitDealRegistration", name=made.name).reason == "PARTNER_IDLE"

    def test_is_refused_when_the_partner_is_deleted(self, anna, north):
        made = registration(anna, north)
        anna("DeletePartner", name=north.name)
        assert anna.refusal("SubmitDealRegistration", name=made.name).reason == "PARTNER_IDLE"

    def test_second_one_waits_and_learns_why_but_not_for_whom(self, anna, north, south):
        first = submitted(anna, north, display_name="Secret")
        second = submitted(anna, south, products=[ARM, ROBOT], end_customer={**CUSTOMER, "company": "Hofmann"})
        assert second.verdict == WAITING
        broken = [outcome for outcome in second.rule_outcomes if not outcome.kept]
        assert [outcome.rule for outcome in broken] == [3]
        assert broken[0].since_time == first.submit_time
        for secret in (first.name, north.name, north.display_name, first.display_name):
            assert secret not in str(second)
        [decision] = anna("ExplainDealRegistration", name=second.name).arbitrations
        [blocker] = decision.outcomes[2].blockers
        assert (blocker.record, blocker.partner, [*blocker.products]) == (first.name, north.name, [ROBOT])
        assert (decision.verdict, decision.occasion, blocker.matched_by) == (WAITING, 1, 3)

    def test_of_other_customers_products_or_countries_is_clear(self, anna, north, south):
        submitted(anna, north)
        assert submitted(anna, south, end_customer=customer()).verdict == CLEAR
        assert submitted(anna, south, products=[ARM]).verdict == CLEAR
        assert submitted(anna, south, region_codes=["FR"]).verdict == CLEAR

    def test_returned_counts_from_when_it_comes_again(self, anna, north, south):
        first = submitted(anna, north)
        second = submitted(anna, south)
        returned = anna("ReturnDealRegistration", name=first.name, missing="The tender's number")
        assert (returned.state, returned.state_reason) == (rules.RETURNED, "The tender's number")
        assert anna("GetDealRegistration", name=second.name).verdict == CLEAR
        again = anna("SubmitDealRegistration", name=first.name)
        assert (again.verdict, again.first_submit_time) == (WAITING, first.submit_time)
        assert again.submit_time.ToDatetime() > second.submit_time.ToDatetime()

    @pytest.mark.parametrize("verb", ["Reject", "Cancel"])
    def test_who_waits_is_looked_at_again_when_the_first_ends(self, anna, north, south, verb):
        first, second = submitted(anna, north), submitted(anna, south)
        ended = anna(f"{verb}DealRegistration", name=first.name, reason="Not real")
        assert ended.state_reason == "Not real"
        after = anna("GetDealRegistration", name=second.name)
        assert (after.verdict, [outcome.kept for outcome in after.rule_outcomes]) == (CLEAR, [True] * 3)
        assert events(anna, second.name) == ["created", "submitted", "arbitrated"]
        assert [each.occasion for each in anna("ExplainDealRegistration", name=second.name).arbitrations] == [4, 1]

    def test_account_found_in_review_tells_that_two_customers_are_one(self, anna, north, south):
        account = f"accounts/{uuid7()}"
        first = submitted(anna, north, end_customer=customer())
        second = submitted(anna, south, end_customer=customer())
        assert second.verdict == CLEAR
        for made in (first, second):
            after = anna("StartDealRegistrationReview", name=made.name, account=account)
            assert (after.state, after.account) == (rules.PENDING, account)
        assert after.verdict == WAITING
        anna("RejectDealRegistration", name=first.name, reason="No")
        assert anna("GetDealRegistration", name=second.name).verdict == CLEAR


class TestPeople:
    """Two partners' people: each sees, and does, what is theirs."""

    VERBS = ("read", "create", "update", "delete", "submit", "cancel")

    def person(self, anna, *partners):
        permissions = [f"partners.dealRegistrations.{verb}:team" for verb in self.VERBS]
        return anna.colleague(
            *permissions,
            "partners.partners.read:team",
            "partners.changes.read:team",
            teams=[each.partner_team.partition("/")[2] for each in partners],
        )

    def test_register_for_their_own_partner_only(self, anna, north, south):
        nora = self.person(anna, north)
        made = submitted(nora, north)
        assert made.registrant == nora.user
        wanted = {"display_name": "Deal", "partner": south.name}
        refusal = nora.refusal("CreateDealRegistration", deal_registration=wanted)
        assert [*refusal.violations] == ["deal_registration.partner"]

    def test_see_nothing_of_each_other(self, anna, north, south):
        nora, sven = self.person(anna, north), self.person(anna, south)
        first = submitted(nora, north)
        second = submitted(sven, south)
        assert second.verdict == WAITING
        assert [each.name for each in sven("ListDealRegistrations").deal_registrations] == [second.name]
        counted = sven("ListDealRegistrations", filter="state = STATE_SUBMITTED", include_total_size=True)
        assert counted.total_size == 1
        filtered = sven("ListDealRegistrations", filter=f"partner = {north.name}")
        assert not filtered.deal_registrations
        for method in ("GetDealRegistration", "SubmitDealRegistration", "CancelDealRegistration"):
            assert sven.refusal(method, name=first.name).code is StatusCode.NOT_FOUND
        assert sven.refusal("BatchGetDealRegistrations", names=[first.name]).code is StatusCode.NOT_FOUND
        assert sven.refusal("ListChanges", parent=first.name).code is StatusCode.NOT_FOUND
        told = str(sven("ListChanges", parent=second.name))
        for secret in (first.name, north.name):
            assert secret not in told

    def test_of_two_partners_see_both(self, anna, north, south):
        both = self.person(anna, north, south)
        names = {submitted(anna, each).name for each in (north, south)}
        assert {each.name for each in both("ListDealRegistrations").deal_registrations} == names

    @pytest.mark.parametrize(
        ("method", "fields"),
        [
            pytest.param("StartDealRegistrationReview", {}, id="review"),
            pytest.param("ApproveDealRegistration", {}, id="approve"),
            pytest.param("ReturnDealRegistration", {"missing": "x"}, id="return"),
            pytest.param("RejectDealRegistration", {"reason": "x"}, id="reject"),
            pytest.param("ExtendDealRegistration", {"days": 1, "evidence": "x"}, id="extend"),
            pytest.param("ExplainDealRegistration", {}, id="explain"),
        ],
    )
    def test_decide_nothing(self, anna, north, method, fields):
        nora = self.person(anna, north)
        made = submitted(nora, north)
        assert nora.refusal(method, name=made.name, **fields).code is StatusCode.PERMISSION_DENIED

    def test_do_not_say_which_account_it_is(self, anna, north):
        nora = self.person(anna, north)
        made = registration(nora, north)
        changed = {"name": made.name, "account": f"accounts/{uuid7()}"}
        assert nora.refusal("UpdateDealRegistration", deal_registration=changed).code is StatusCode.PERMISSION_DENIED


class TestRules:
    NOW = dt.datetime(2026, 5, 4, 12, 0, tzinfo=dt.UTC)

    def test_protection_is_the_levels(self, anna, north, south, programme):
        assert rules.protection_days(north, programme) == (120, 180)
        assert rules.protection_days(south, programme) == (90, 180)
        assert rules.protection_days(south, None) == (90, 180)
