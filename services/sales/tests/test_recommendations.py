"""What to offer to whom: rules of what is bought together, what is left out, and customers that are alike."""

from __future__ import annotations

import itertools
import uuid

import pandas as pd
import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from kontor.contacts.v1.account_pb2 import Account
from kontor.ticketing.v1.ticket_category_pb2 import TICKET_CATEGORY_OPEN, TICKET_CATEGORY_SOLVED
from kontor.ticketing.v1.ticket_pb2 import Ticket
from kontor_kit.operations.runner import Runner
from kontor_kit.testing.telling import teller
from kontor_sales.recommendations import rules, training
from kontor_sales.recommendations.learning import TRAIN
from kontor_sales.recommendations.rules import Profile, Rule
from kontor_sales.service import _records, service
from tests.real_data import DATA, needs_data


def reference(baskets, min_support, min_confidence):
    """The rules with one or two antecedents, counted one by one."""
    count = len(baskets)
    held = {}
    for basket in baskets:
        for product in basket:
            held[product] = held.get(product, 0) + 1
    common = {product for product, times in held.items() if times / count >= min_support}
    together = {}
    for size in (1, 2):
        for basket in baskets:
            for one in itertools.combinations(sorted(common & {*basket}), size):
                together[one] = together.get(one, 0) + 1
    # What holds something rare is rarer still.
    pairs = {one for one, times in together.items() if len(one) == 2 and times / count >= min_support}
    triples = {(*pair, last) for pair in pairs for last in common if all((each, last) in pairs for each in pair)}
    together |= {triple: sum(basket.issuperset(triple) for basket in baskets) for triple in triples}
    found = {}
    for products, times in together.items():
        if len(products) == 1 or times / count < min_support:
            continue
        for consequent in products:
            antecedents = tuple(product for product in products if product != consequent)
            confidence = times / together[antecedents]
            lift = confidence / (held[consequent] / count)
            if confidence >= min_confidence and lift > 1:
                found[antecedents, consequent] = (times / count, confidence, lift)
    return found


def mined(baskets, min_support, min_confidence):
    found = training.mine(baskets, min_support, min_confidence)
    return {(rule.antecedents, rule.consequent): rule[2:] for rule in found}


class TestRules:
    @given(st.lists(st.frozensets(st.sampled_from("abcde"), min_size=1), min_size=1, max_size=20))
    def test_equal_those_that_are_counted_one_by_one(self, baskets):
        # Half a basket more than a whole number of them: no rounding decides.
        support = min(1.5 / len(baskets), 1)
        wanted = reference(baskets, support, 0.35)
        found = mined(baskets, support, 0.35)
        assert {key for key, rule in wanted.items() if rule[2] > 1 + 1e-9} == {
            key for key, rule in found.items() if rule[2] > 1 + 1e-9
        }
        for key in wanted.keys() & found.keys():
            assert found[key] == pytest.approx(wanted[key])

    def test_each_product_once_by_the_surest_rule_and_none_that_is_owned(self):
        found = rules.recommend(
            [
                Rule(("a",), "x", 0.1, 0.3, 2),
                Rule(("a", "b"), "x", 0.1, 0.6, 2),
                Rule(("a", "c"), "x", 0.1, 0.9, 2),
                Rule(("b",), "y", 0.1, 0.7, 2),
                Rule(("b",), "a", 0.1, 1.0, 2),
            ],
            {"a", "b"},
        )
        assert [(rule.consequent, rule.confidence) for rule in found] == [("y", 0.7), ("x", 0.6)]

    @given(
        st.builds(Profile, st.sampled_from(("", "steel", "wood")), st.integers(0, 10**6)),
        st.builds(Profile, st.sampled_from(("", "steel", "wood")), st.integers(0, 10**6)),
        st.integers(0, 5),
        st.integers(0, 5),
    )
    def test_similarity_is_a_part_and_the_same_both_ways(self, one, other, shared, more):
        found = rules.similarity(one, other, shared, shared + more)
        assert 0 <= found <= 1
        assert found == pytest.approx(rules.similarity(other, one, shared, shared + more))
        if shared and not more and one == other:
            assert found == 1


@needs_data
def test_on_the_real_baskets():
    """The invoices of a shop for two months: 2,440 baskets."""
    sales = pd.read_csv(DATA / "purchases" / "online_retail_2010-12_2011-01.csv.gz", dtype=str)
    sales = sales[~sales["InvoiceNo"].str.startswith("C") & (sales["Quantity"].astype(int) > 0)]
    baskets = sales.groupby("InvoiceNo")["StockCode"].agg(frozenset).tolist()
    assert len(baskets) == 2440
    found, wanted = mined(baskets, 0.02, 0.3), reference(baskets, 0.02, 0.3)
    assert found.keys() == wanted.keys()
    assert len(found) > 50
    for key, rule in wanted.items():
        assert found[key] == pytest.approx(rule)


@pytest.fixture
def products(anna):
    def create(sku):
        return anna("CreateProduct", product={"sku": sku, "display_name": sku}).name

    return {name: create(name) for name in ("printer", "ink", "paper", "cable", "scanner")}


def account():
    return f"accounts/{uuid.uuid4()}"


def deals(caller, products, baskets, stage="won"):
    """Let accounts have bought baskets, each in one opportunity."""

    def price(name):
        return {"product": products[name], "unit_price": {"currency_code": "EUR", "units": 1}}

    rows = [
        {"opportunity": {"display_name": "D", "account": of, "stage": stage, "lines": [price(name) for name in names]}}
        for of, names in baskets
    ]
    return list(caller("ImportOpportunities", requests=rows).opportunities)


@pytest.fixture
def trained(anna, products, server):
    """Thirty customers with a printer, most of them with ink, and ten with cables."""
    known = {
        "ink": [(account(), ("printer", "ink")) for _ in range(18)],
        "paper": [(account(), ("printer", "ink", "paper")) for _ in range(6)],
        "only": [(account(), ("printer",)) for _ in range(6)],
        "cable": [(account(), ("cable", "scanner")) for _ in range(10)],
    }
    for baskets in known.values():
        deals(anna, products, baskets)
    anna("TrainRecommendations", min_support={"value": "0.05"})
    runner = Runner(
        "sales.kontor", [TRAIN], system=server.runtime.system, database=server.runtime.database,
        service=_records(server.runtime),
    )  # fmt: skip
    while runner.work_once():
        pass
    return {kind: [of for of, _ in baskets] for kind, baskets in known.items()}


class TestRecommendations:
    def recommended(self, caller, of, **fields):
        found = caller("RecommendProducts", account=of, **fields)
        return [one.product for one in found.recommendations], {one.product: one.reason for one in found.exclusions}

    def test_with_what_speaks_for_it(self, anna, products, trained):
        found = anna("RecommendProducts", account=trained["only"][0]).recommendations
        assert [one.product for one in found] == [products["ink"], products["paper"]]
        assert list(found[0].because_of) == [products["printer"]]
        assert (found[0].support, found[0].confidence) == (0.6, 0.8)
        assert found[0].lift == pytest.approx(0.8 / 0.6)
        assert self.recommended(anna, trained["paper"][0]) == ([], {})
        assert self.recommended(anna, account(), products=[products["scanner"]]) == ([products["cable"]], {})

    def test_leaves_out_what_was_declined_is_gone_or_not_there(self, anna, products, trained):
        one, two, three = trained["only"][:3]
        anna("DeclineRecommendation", account=one, product=products["ink"])
        assert self.recommended(anna, one)[1] == {products["ink"]: 1}
        reason = anna("CreateCloseReason", close_reason={"display_name": "R", "outcome": 1}).name
        line = {"product": products["paper"], "unit_price": {"currency_code": "EUR", "units": 1}}
        lost = anna("CreateOpportunity", opportunity={"display_name": "L", "account": two, "lines": [line]}).name
        anna("MarkOpportunityLost", name=lost, close_reasons=[{"close_reason": reason}])
        assert self.recommended(anna, two) == ([products["ink"]], {products["paper"]: 1})
        anna("ReportAvailability", name=products["ink"], stock={"value": "0"})
        anna("UpdateProduct", product={"name": products["paper"], "state": "STATE_DISCONTINUED"})
        assert self.recommended(anna, three) == ([], {products["ink"]: 2, products["paper"]: 3})

    def test_leaves_out_what_the_customer_complains_about(self, anna, products, trained, server):
        one, two = trained["only"][:2]
        ticket = Ticket(name=f"tickets/{uuid.uuid4()}", type=Ticket.TYPE_COMPLAINT, account=one)
        with teller(server, service()) as tell:
            tell(anna.tenant, "kontor.ticketing.v1.ticket.created", ticket)
            assert self.recommended(anna, one) == ([], {products["ink"]: 4, products["paper"]: 4})
            assert self.recommended(anna, two) == ([products["ink"], products["paper"]], {})
            ticket.products.append(products["ink"])
            tell(anna.tenant, "kontor.ticketing.v1.ticket.updated", ticket, version=3)
            assert self.recommended(anna, one) == ([products["paper"]], {products["ink"]: 4})
            ticket.category = TICKET_CATEGORY_SOLVED
            tell(anna.tenant, "kontor.ticketing.v1.ticket.solved", ticket, version=5)
            ticket.category = TICKET_CATEGORY_OPEN
            tell(anna.tenant, "kontor.ticketing.v1.ticket.updated", ticket, version=4)
        assert self.recommended(anna, one) == ([products["ink"], products["paper"]], {})

    def test_refuses_on_thin_data(self, anna, products):
        deals(anna, products, [(account(), ("ink",))])
        refusal = anna.refusal("TrainRecommendations")
        assert (refusal.code, refusal.reason) == (StatusCode.FAILED_PRECONDITION, "TOO_FEW_BASKETS")
        bad = anna.refusal("TrainRecommendations", min_support={"value": "2"})
        assert [*bad.violations] == ["min_support"]

    def test_similar_customers_with_their_deals(self, anna, products, trained, server):
        target, near = trained["paper"][:2]
        with teller(server, service()) as tell:
            for of, industry, size in ((target, "steel", 100), (near, "Steel", 120), (trained["ink"][0], "wood", 100)):
                told = Account(name=of, display_name="Told", industry=industry, employee_count=size)
                tell(anna.tenant, "kontor.contacts.v1.account.created", told, 1)
        found = anna("FindSimilarAccounts", account=target).neighbours
        assert found[0].similarity == 1
        assert len(found[0].opportunities) == 1
        assert {one.account for one in found} <= {*trained["paper"]}
        told = {one.account: one for one in anna("FindSimilarAccounts", account=target, page_size=50).neighbours}
        assert told[near].same_industry
        assert not told[trained["paper"][2]].HasField("same_industry")
        assert told[near].similarity > told[trained["ink"][0]].similarity
        assert sorted(told[near].shared_products) == sorted(products[name] for name in ("printer", "ink", "paper"))
        assert target not in told
        assert not {*trained["cable"]} & told.keys()

    def test_shows_nothing_of_others_deals(self, anna, products, trained):
        ben = anna.colleague("*:own")
        assert not ben("FindSimilarAccounts", account=trained["paper"][0]).neighbours
        mine = account()
        deals(ben, products, [(mine, ("printer",))])
        assert self.recommended(ben, mine)[0] == [products["ink"], products["paper"]]
