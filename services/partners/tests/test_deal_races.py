"""Many who want the same deal at once."""

from __future__ import annotations

import datetime as dt
import itertools
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from kontor_kit.ids import uuid7
from kontor_partners.deal_registrations import rules, verdicts
from kontor_partners.deal_registrations.arbiter import arbitrate
from kontor_partners.service import service
from services.partners.tests import partnering
from services.partners.tests.registering import CLEAR, WAITING, customer, pending, registration, submitted


@pytest.fixture(scope="module")
def server(serve, peer, asked):
    return serve(service(), peers={"identity": peer.address, "contacts": peer.address, "sales": asked.address})


class TestRace:
    COUNT, THREADS = 200, 16

    def test_many_at_once_get_the_verdicts_of_the_rules_in_the_order_of_the_clock(self, anna, programme, server):
        """Four partners want overlapping products of five customers, who are known in two ways."""
        partners = [partnering.active(anna, programme) for _ in range(4)]
        sites = [f"race{number}.example" for number in range(5)]
        products = [f"products/{uuid7()}" for _ in range(4)]
        drafts = []
        for number in range(self.COUNT):
            site = sites[number % 5]
            who = (
                {"website": site} if number % 3 else {"contact_email": f"a@{site}", "registration_id": str(number % 7)}
            )
            wanted = [products[number % 4], products[(number // 4) % 4]]
            draft = registration(
                anna,
                partners[number % 4],
                end_customer={"company": f"Race {number % 5}", "region_code": "DE", **who},
                products=list(dict.fromkeys(wanted)),
                region_codes=[("DE", "FR", "AT")[number % 3]] if number % 2 else [],
            )
            drafts.append(draft.name)
        with ThreadPoolExecutor(self.THREADS) as pool:
            made = list(pool.map(lambda name: anna("SubmitDealRegistration", name=name), drafts))
        accounts = {each.name: each.account for each in partners}
        claims = [verdicts.claim(each, rules.customer_keys(each), accounts[each.partner]) for each in made]
        times = [claim.submit_time for claim in claims]
        now = dt.datetime.now(dt.UTC)
        findings = {claim.id: arbitrate(claim, claims, [], now) for claim in sorted(claims, key=lambda one: one.turn)}
        assert {each.name: each.verdict for each in made} == {name: each.verdict for name, each in findings.items()}
        assert {*(each.verdict for each in made)} == {CLEAR, WAITING}
        for each in made:
            told = [outcome.since_time.ToDatetime(dt.UTC) for outcome in each.rule_outcomes if not outcome.kept]
            assert (told or [None]) == [findings[each.name].since]
        # Of one customer, no two at the same time.
        for number in range(5):
            of_one = times[number::5]
            assert len({*of_one}) == len(of_one)

    def test_verdicts_are_right_in_the_end_whoever_ends_what_at_once(self, anna, programme):
        """Customers are known in two ways, so that claims meet in chains and transactions on different keys."""
        partners = [partnering.active(anna, programme) for _ in range(2)]
        made = [
            submitted(
                anna,
                partners[number % 2],
                end_customer={
                    "company": "Chain",
                    "region_code": "DE",
                    "website": f"chain{number // 2}.example",
                    "registration_id": f"chain {(number + 1) // 2}",
                },
            )
            for number in range(40)
        ]
        verbs = itertools.cycle(["RejectDealRegistration", "CancelDealRegistration", "StartDealRegistrationReview", ""])
        ended = [(verb, each.name) for verb, each in zip(verbs, made, strict=False) if verb]
        reasons = {"RejectDealRegistration": {"reason": "No"}}
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda each: anna(each[0], name=each[1], **reasons.get(each[0], {})), ended))
        left = [each for each in anna("ListDealRegistrations").deal_registrations if each.state in rules.CLAIMING]
        assert len(left) == 20
        claims = [verdicts.claim(each, rules.customer_keys(each), "") for each in left]
        for each, claim in zip(left, claims, strict=True):
            assert each.verdict == arbitrate(claim, claims, [], dt.datetime.now(dt.UTC)).verdict
        assert {each.verdict for each in made} == {CLEAR, WAITING}

    def test_one_of_those_who_are_approved_at_once_is(self, anna, north, south, sales, work):
        made = [pending(anna, partner, end_customer=customer()) for partner in (north, south) * 4]
        account = f"accounts/{uuid7()}"

        def approve(each) -> str:
            try:
                anna("StartDealRegistrationReview", name=each.name, account=account)
                anna("ApproveDealRegistration", name=each.name)
            except grpc.RpcError as error:
                return error.details()
            return ""

        with ThreadPoolExecutor(8) as pool:
            refusals = [said for said in pool.map(approve, made) if said]
        work()
        states = [anna("GetDealRegistration", name=each.name).state for each in made]
        assert len(refusals) == 7
        assert states.count(rules.APPROVED) == 1
