"""Who is to have a deal, and who an end customer is."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kontor_partners.deal_registrations.arbiter import Claim, Deal, Rule, Verdict, arbitrate
from kontor_partners.known_deals import rules as customers
from kontor_partners.known_deals.rules import Key, Kind

START = dt.datetime(2026, 3, 2, 8, 0, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


def at(hours: float) -> dt.datetime:
    return START + hours * HOUR


def claim(id: str = "b", hours: float = 5, **fields) -> Claim:
    usual = {
        "customer": customers.keys(country="DE", addresses=["https://acme.example"]),
        "products": frozenset({"robot", "arm"}),
        "regions": frozenset({"DE"}),
        "partner_account": f"account of {id}",
    }
    return Claim(id, submit_time=at(hours), **{**usual, **fields})


def deal(id: str = "o", hours: float = 1, **fields) -> Deal:
    usual = {"customer": claim().customer, "products": frozenset({"robot"})}
    return Deal(id, open_time=at(hours), **{**usual, **fields})


NOW = at(100)


class TestVerdict:
    def test_is_clear_when_nobody_else_asked(self):
        finding = arbitrate(claim(), [], [], NOW)
        assert finding.verdict is Verdict.CLEAR
        assert [outcome.rule for outcome in finding.outcomes] == list(Rule)
        assert finding.since is None

    def test_waits_for_who_was_earlier(self):
        finding = arbitrate(claim(), [claim("a", 4, products=frozenset({"arm", "leg"}))], [], NOW)
        [blocker] = finding.outcomes[2].blockers
        assert finding.verdict is Verdict.WAITING
        assert (blocker.id, blocker.products, blocker.regions, blocker.matched_by) == (
            "a",
            ("arm",),
            ("DE",),
            Kind.DOMAIN,
        )
        assert finding.since == at(4)

    def test_goes_by_id_when_the_time_is_the_same(self):
        one, other = claim("a", 4), claim("b", 4)
        assert arbitrate(one, [other], [], NOW).verdict is Verdict.CLEAR
        assert arbitrate(other, [one], [], NOW).verdict is Verdict.WAITING

    @pytest.mark.parametrize(
        "other",
        [
            pytest.param({"customer": customers.keys(addresses=["other.example"])}, id="customer"),
            pytest.param({"products": frozenset({"leg"})}, id="products"),
            pytest.param({"regions": frozenset({"FR"})}, id="regions"),
        ],
    )
    def test_is_clear_when_deals_do_not_meet(self, other):
        assert arbitrate(claim(), [claim("a", 4, **other)], [], NOW).verdict is Verdict.CLEAR

    def test_meets_everywhere_when_no_countries_are_said(self):
        assert arbitrate(claim(), [claim("a", 4, regions=frozenset())], [], NOW).verdict is Verdict.WAITING

    def test_is_a_conflict_within_the_protection_period_of_another(self):
        held = claim("a", 9, approved=True, protection_end_time=at(50))
        assert arbitrate(claim(), [held], [], at(49.9)).verdict is Verdict.CONFLICT
        assert arbitrate(claim(), [held], [], at(50)).verdict is Verdict.CLEAR

    def test_is_a_conflict_when_another_is_being_approved(self):
        assert arbitrate(claim(), [claim("a", 4, approved=True)], [], NOW).verdict is Verdict.CONFLICT

    def test_is_a_conflict_when_the_own_sales_force_was_earlier(self):
        finding = arbitrate(claim(), [], [deal()], NOW)
        assert finding.verdict is Verdict.CONFLICT
        assert [(outcome.rule, len(outcome.blockers)) for outcome in finding.outcomes] == [
            (Rule.PROTECTED, 0),
            (Rule.DIRECT, 1),
            (Rule.FIRST, 0),
        ]

    @pytest.mark.parametrize(
        "fields",
        [
            pytest.param({"hours": 6}, id="later"),
            pytest.param({"partner": "account of b"}, id="brought by the partner"),
            pytest.param({"products": frozenset({"leg"})}, id="other products"),
        ],
    )
    def test_is_clear_when_the_own_sales_force_has_nothing_against_it(self, fields):
        assert arbitrate(claim(), [], [deal(**fields)], NOW).verdict is Verdict.CLEAR

    def test_shows_all_that_is_in_the_way(self):
        others = [claim("a", 4), claim("c", 3), claim("d", 2, approved=True, protection_end_time=at(200))]
        finding = arbitrate(claim(), others, [deal()], NOW)
        assert [[blocker.id for blocker in outcome.blockers] for outcome in finding.outcomes] == [
            ["d"],
            ["o"],
            ["c", "a"],
        ]
        assert (finding.verdict, finding.since) == (Verdict.CONFLICT, at(1))


PRODUCTS = st.frozensets(st.sampled_from("pqr"), min_size=1)
KEYS = st.frozensets(
    st.sampled_from([Key(kind, value) for kind in (Kind.REGISTRATION, Kind.DOMAIN, Kind.NAME) for value in "xy"]),
    min_size=1,
    max_size=3,
)
REGIONS = st.frozensets(st.sampled_from(["DE", "FR"]), min_size=1)


@st.composite
def claims(draw, least: int = 1) -> list[Claim]:
    times = draw(st.lists(st.integers(0, 6), min_size=least, max_size=8))
    return [
        claim(f"c{index}", hours, customer=draw(KEYS), products=draw(PRODUCTS), regions=draw(REGIONS))
        for index, hours in enumerate(times)
    ]


class TestProperties:
    @settings(max_examples=60)
    @given(claims(), st.randoms(use_true_random=False))
    def test_order_does_not_matter(self, given_claims, random):
        shuffled = random.sample(given_claims, len(given_claims))
        for each in given_claims:
            assert arbitrate(each, given_claims, [], NOW) == arbitrate(each, shuffled, [], NOW)

    @settings(max_examples=60)
    @given(claims(least=2), st.data())
    def test_what_is_said_stays_when_later_ones_are_added(self, given_claims, data):
        in_turn = sorted(given_claims, key=lambda each: each.turn)
        count = data.draw(st.integers(1, len(in_turn)))
        for each in in_turn[:count]:
            assert arbitrate(each, in_turn[:count], [], NOW) == arbitrate(each, in_turn, [], NOW)

    @settings(max_examples=60)
    @given(claims())
    def test_somebody_is_clear_while_nothing_is_decided(self, given_claims):
        first = min(given_claims, key=lambda each: each.turn)
        assert arbitrate(first, given_claims, [], NOW).verdict is Verdict.CLEAR

    @settings(max_examples=60)
    @given(claims(), st.lists(st.tuples(st.sampled_from("arx"), st.integers(0, 7)), max_size=24))
    def test_nobody_shares_a_deal_whatever_is_decided(self, given_claims, steps):
        """Approve what is clear, reject, or let time pass: approved claims never meet within their periods."""
        open_claims = dict(enumerate(given_claims))
        now = at(10)
        for step, place in steps:
            now += HOUR
            if step == "x":
                open_claims.pop(place, None)
            found = open_claims.get(place)
            if found is None or step != "a" or found.approved:
                continue
            if arbitrate(found, open_claims.values(), [], now).verdict is Verdict.CLEAR:
                open_claims[place] = replace(found, approved=True, protection_end_time=now + 5 * HOUR)
            held = [each for each in open_claims.values() if each.holds(now)]
            for one in held:
                for other in held:
                    meets = customers.match(one.customer, other.customer) and one.regions & other.regions
                    assert one is other or not (meets and one.products & other.products)


class TestCustomers:
    @pytest.mark.parametrize(
        ("one", "other", "kind"),
        [
            pytest.param({"account": "accounts/1"}, {"account": "accounts/1"}, Kind.ACCOUNT, id="account"),
            pytest.param(
                {"country": "DE", "registration_id": "DE 811.234-567"},
                {"country": "DE", "registration_id": "811234567"},
                Kind.REGISTRATION,
                id="register",
            ),
            pytest.param(
                {"addresses": ["https://www.Müller.example/shop"]},
                {"addresses": ["a@xn--mller-kva.example"]},
                Kind.DOMAIN,
                id="domain",
            ),
            pytest.param(
                {"country": "DE", "names": ["ACME GmbH & Co. KG"], "postal_codes": ["10 115"]},
                {"country": "DE", "names": ["Acmé"], "postal_codes": ["10115"]},
                Kind.NAME,
                id="name",
            ),
            pytest.param({"addresses": ["a@gmail.com"]}, {"addresses": ["b@gmail.com"]}, None, id="public mail"),
            pytest.param(
                {"country": "DE", "names": ["Acme"], "postal_codes": ["10115"]},
                {"country": "DE", "names": ["Acme"], "postal_codes": ["80331"]},
                None,
                id="another place",
            ),
            pytest.param({"names": ["Acme"]}, {"names": ["Acme"]}, None, id="name alone"),
            pytest.param(
                {"account": "accounts/1", "addresses": ["acme.example"]},
                {"account": "accounts/2", "addresses": ["acme.example"]},
                None,
                id="two accounts",
            ),
            pytest.param(
                {"country": "DE", "registration_id": "1", "addresses": ["acme.example"]},
                {"country": "DE", "registration_id": "2", "addresses": ["acme.example"]},
                Kind.DOMAIN,
                id="another number",
            ),
        ],
    )
    def test_are_the_same_by_the_surest_key(self, one, other, kind):
        assert customers.match(customers.keys(**one), customers.keys(**other)) is kind
        assert customers.match(customers.keys(**other), customers.keys(**one)) is kind

    @given(KEYS)
    def test_keys_come_back_from_text(self, keys):
        assert {Key.of(str(key)) for key in keys} == keys

    def test_are_an_account_by_the_surest_keys_that_tell_one(self):
        site, name = Key(Kind.DOMAIN, "acme.example"), Key(Kind.NAME, "DE/10115/acme")
        assert customers.resolve([site, name], {"accounts/1": [site], "accounts/2": [name]}) == "accounts/1"
        assert customers.resolve([site, name], {"accounts/1": [site, name], "accounts/2": [site]}) == "accounts/1"
        assert customers.resolve([site], {"accounts/1": [site], "accounts/2": [site]}) == ""
        assert customers.resolve([name], {"accounts/1": [site]}) == ""
