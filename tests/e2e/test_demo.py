"""The demo tenant as a visitor meets it: believable, whole, and the same wherever it is made."""

import re
import tempfile
import threading
from collections import Counter
from pathlib import Path

import pytest
from google.api import annotations_pb2

from kontor_dev.demo.load import load
from kontor_dev.demo.story import SYSTEM
from tests.e2e.contract import methods
from tests.e2e.instance import Instance
from tests.e2e.rest import Rest, new_tenant

# What no demo tenant has: the rest of what the contract lists has to be there, and the same in each.
EMPTY = {
    "absences", "activities", "attachments", "calendarFeeds", "campaignRecipients", "careCadences", "closeReasons",
    "commissionPlans", "commissions", "contracts", "discountPolicies", "exchangeRates", "forecastAdjustments",
    "forecastSnapshots", "leadAssignmentRules", "leadForms", "leadScoreRules", "orders", "priceBookEntries",
    "priceBooks", "priorityMatrices", "promotionRedemptions", "promotions", "quotas", "quotes", "savedViews",
    "serviceAccounts", "territories", "visitPlans",
}  # fmt: skip
# What follows other records a moment later; and the tenant itself.
FOLLOWING = {"parties", "segmentMemberships", "tenants"}


def collections():
    """Return what the contract has a list of, by itself and not below another record."""
    options = {spec.name: spec.descriptor.GetOptions().Extensions[annotations_pb2.http].get for spec in methods()}
    found = {path.removeprefix("/v1/") for name, path in options.items() if name.startswith("List")}
    return sorted(path for path in found if re.fullmatch("[A-Za-z]+", path))


COLLECTIONS = [collection for collection in collections() if collection not in EMPTY | FOLLOWING]
# What no two records have in common, whoever makes them.
OWN = (
    "name", "etag", "createTime", "updateTime", "passwordChangeTime", "lineId", "author", "categorySpans", "solvedTime",
    "firstAnswerTime", "clocks", "slaTerms", "nextDueTime", "stateTime", "levelPeriods", "registrant", "submitTime",
    "firstSubmitTime", "verdictTime", "ruleOutcomes", "evaluation", "evaluateTime", "startTime",
    "publishTime", "expireTime", "answerTime", "answerer",
)  # fmt: skip


def key_of(record):
    """Return what a record is known by outside of the platform."""
    for external in record.get("externalIds", ()):
        if external["system"] == SYSTEM:
            return external["key"]
    return record.get("email") or record.get("address") or record.get("displayName")


class Demo:
    """The records of a demo tenant, by collection, with keys in place of the names of records."""

    def __init__(self, rest):
        found = {collection: rest.all(collection) for collection in COLLECTIONS}
        self.keys = {record["name"]: key_of(record) for records in found.values() for record in records}
        # Marketing has the contacts under their own ids.
        contacts = [(name, key) for name, key in self.keys.items() if name.startswith("contacts/")]
        self.keys |= {name.replace("contacts/", "parties/"): key for name, key in contacts}
        self.records = {
            collection: sorted((self._plain(record) for record in records), key=str)
            for collection, records in found.items()
        }

    def _plain(self, value):
        if isinstance(value, dict):
            return {field: self._plain(inner) for field, inner in value.items() if field not in OWN}
        if isinstance(value, list):
            return [self._plain(inner) for inner in value]
        return self.keys.get(value, value) if isinstance(value, str) else value


@pytest.fixture(scope="module")
def running():
    with tempfile.TemporaryDirectory(prefix="kontor-demo-") as folder:
        Path(folder).chmod(0o755)
        instance = Instance(Path(folder) / "data")
        yield instance.start()
        instance.clear_away()


@pytest.fixture(scope="module")
def rest(running):
    with Rest(running) as client:
        yield client


@pytest.fixture(scope="module")
def demo(rest):
    return Demo(rest)


class TestDemo:
    def test_has_nothing_where_the_test_says_so(self, rest):
        assert {collection for collection in collections() if not rest.all(collection)} == EMPTY

    def test_is_the_same_in_another_tenant_of_another_instance(self, platform, demo):
        slug = new_tenant(platform)
        address, token = platform.url.removeprefix("http://"), platform.token(tenant=slug)
        counts = load(address, token, threading.Event())
        with Rest(platform, slug) as rest:
            other = Demo(rest)
            etags = {account["name"]: account["etag"] for account in rest.all("accounts")}
            assert load(address, token, threading.Event()) == counts, "a second time nothing is added"
            assert {account["name"]: account["etag"] for account in rest.all("accounts")} == etags
        for collection in COLLECTIONS:
            # Each tenant has an administrator of its own, whom it was founded with.
            ours, theirs = (
                [record for record in tenant.records[collection] if not record.get("email", "").startswith("admin@")]
                for tenant in (demo, other)
            )
            assert ours == theirs != []

    def test_accounts_stand_in_groups(self, demo):
        accounts = {key_of(account): account for account in demo.records["accounts"]}
        depths = Counter()
        for account in accounts.values():
            depth = 0
            while "parent" in account:
                depth, account = depth + 1, accounts[account["parent"]]  # noqa: PLW2901
            depths[depth] += 1
        assert set(depths) == {0, 1, 2}
        assert len(accounts) > 100
        assert {role for account in accounts.values() for role in account["roles"]} >= {
            "ROLE_CUSTOMER",
            "ROLE_PROSPECT",
            "ROLE_SUPPLIER",
            "ROLE_AUTHORITY",
        }

    def test_everybody_works_somewhere(self, demo):
        people = {key_of(contact) for contact in demo.records["contacts"]}
        primary = [affiliation for affiliation in demo.records["affiliations"] if affiliation.get("primary")]
        assert {affiliation["contact"] for affiliation in primary} == people
        assert len(demo.records["affiliations"]) > len(people) > 300
        assert all(affiliation["role"] for affiliation in primary)

    def test_everything_has_an_owner_and_a_team_that_sign_in(self, demo):
        for collection in ("accounts", "contacts", "opportunities", "leads"):
            owners = Counter((record["owner"], record["team"]) for record in demo.records[collection])
            assert len(owners) >= 10, "the work is shared"
            members = {(user["email"], team) for user in demo.records["users"] for team in user.get("teams", ())}
            assert set(owners) <= members

    def test_lists_can_be_narrowed_down_by_tag_custom_field_and_stage(self, rest):
        for collection, conditions in {
            "accounts": [
                'tags:"reference"',
                "customFields.credit_rating = A",
                "tier = TIER_KEY AND roles:ROLE_CUSTOMER",
            ],
            "contacts": ['tags:"newsletter"', "customFields.preferred_channel = phone", "languageCode = de*"],
        }.items():
            everything = len(rest.all(collection))
            for condition in conditions:
                assert 0 < len(rest.all(collection, filter=condition)) < everything / 2, condition

    def test_deals_are_under_way_won_and_lost(self, rest, demo):
        states = Counter(deal["state"] for deal in demo.records["opportunities"])
        assert min(states[f"STATE_{state}"] for state in ("OPEN", "WON", "LOST")) >= 20
        [pipeline] = rest.all("pipelines")
        board = rest("GET", f"{pipeline['name']}:showBoard")["columns"]
        assert sum(column["count"] for column in board if column["category"] == "CATEGORY_OPEN") == states["STATE_OPEN"]
        assert all(column["amounts"] and column["opportunities"] for column in board)

    def test_tickets_are_new_answered_and_solved(self, rest, demo):
        categories = Counter(ticket["category"] for ticket in demo.records["tickets"])
        assert {f"TICKET_CATEGORY_{name}" for name in ("NEW", "OPEN", "SOLVED")} <= categories.keys()
        assert {ticket["priority"] for ticket in demo.records["tickets"]} >= {
            "TICKET_PRIORITY_LOW",
            "TICKET_PRIORITY_URGENT",
        }
        named = {policy["name"]: policy["displayName"] for policy in rest.all("slaPolicies")}
        promised = Counter(named[ticket["slaTerms"][0]["policy"]] for ticket in rest.all("tickets"))
        assert promised.keys() == {"Standard", "Complaints"}
        said = Counter(entry["ticket"] for entry in demo.records["ticketEntries"])
        assert said.keys() == {key_of(ticket) for ticket in demo.records["tickets"]}

    def test_two_partners_want_the_same_deal(self, demo):
        verdicts = [deal.get("verdict") for deal in demo.records["dealRegistrations"]]
        assert sorted(filter(None, verdicts)) == ["VERDICT_CLEAR", "VERDICT_WAITING"]
        assert len(demo.records["partners"]) == 3

    def test_leads_are_with_partners_and_the_next_issue_is_written(self, demo):
        answers = {offer["state"] for offer in demo.records["leadOffers"]}
        assert answers == {"STATE_OFFERED", "STATE_ACCEPTED", "STATE_DECLINED"}
        [campaign] = demo.records["campaigns"]
        assert (campaign["state"], campaign["template"]) == ("STATE_DRAFT", "Newsletter")
        assert {article["state"] for article in demo.records["articles"]} == {"STATE_DRAFT", "STATE_PUBLISHED"}

    def test_dead_and_unwanted_addresses_are_marked_where_they_are_used(self, demo):
        marked = {
            email["address"]: (email.get("invalid", False), email.get("optedOut", False))
            for contact in demo.records["contacts"]
            for email in contact["emails"]
            if email.get("invalid") or email.get("optedOut")
        }
        told = {
            status["address"]: (status.get("invalid", False), status.get("optedOut", False))
            for status in demo.records["addressStatuses"]
        }
        assert marked == told

    def test_there_is_something_to_merge(self, rest, demo):
        twin = next(account for account in demo.records["accounts"] if account["displayName"].isupper())
        found = rest("GET", "accounts:search", query=twin["displayName"].title())["results"]
        assert len({result["account"]["displayName"].casefold() for result in found}) < len(found)
