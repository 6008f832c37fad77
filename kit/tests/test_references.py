"""References to records of other services: their owner says who may know of them."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from uuid import UUID

import grpc
import pytest

from kontor.contacts.v1.account_pb2 import Account
from kontor.sales.v1.activity_pb2 import Activity
from kontor.sales.v1.opportunity_pb2 import Opportunity
from kontor_kit.clients import Peers
from kontor_kit.errors import InvalidArgument, Unavailable
from kontor_kit.ids import uuid7
from kontor_kit.references import References
from kontor_kit.testing import settings
from kontor_kit.testing.running import Peer

TENANT = UUID(int=1)


class Owners(Peer):
    """The services that own what is referred to; nobody but anna may see it."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def _get(self, data, context):
        who = dict(context.invocation_metadata())["authorization"]
        self.asked.append((who, data[2 : 2 + data[1]].decode()))
        if who != "anna":
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")
        return super()._get(data, context)


@pytest.fixture
def owners():
    peer = Owners()
    yield peer
    peer.close()


@pytest.fixture
def check(owners):
    references = References(Peers(dict.fromkeys(("contacts", "identity"), owners.address), reference_seconds=30))

    def check(after, before=None, who="anna", subject=""):
        principal = SimpleNamespace(tenant_id=TENANT, subject=subject or f"users/{who}")
        try:
            references.check(SimpleNamespace(principal=principal, metadata={"authorization": who}), after, before)
        except InvalidArgument as error:
            return {violation.field: violation.description for violation in error.violations}
        return {}

    return check


def name(collection="accounts"):
    return f"{collection}/{uuid7()}"


def test_a_yes_is_remembered(owners, check):
    deal = Opportunity(account=name())
    assert [check(deal), check(deal)] == [{}, {}]
    assert owners.asked == [("anna", deal.account)]


def test_a_yes_to_somebody_is_none_to_others(check):
    deal = Opportunity(account=name())
    assert check(deal) == {}
    assert check(deal, who="ben") == {"account": f"there is no {deal.account}"}


def test_what_stands_in_lists_is_asked_for_too_and_each_name_once(owners, check):
    there, absent = name("contacts"), name("contacts")
    owners.absent = {absent}
    deal = Opportunity(
        buying_centre=[{"contact": there}, {"contact": absent, "reports_to": there}],
        decision_steps=[{"contact": absent}, {}],
    )
    problem = f"there is no {absent}"
    assert check(deal) == {"buying_centre[1].contact": problem, "decision_steps[0].contact": problem}
    assert sorted(asked for _, asked in owners.asked) == sorted([there, absent])


def test_what_a_record_referred_to_before_is_not_asked_for(owners, check):
    gone, new = name(), name()
    owners.absent = {gone}
    before = Opportunity(competitors=[{"account": gone}])
    assert check(Opportunity(competitors=[{"account": new}, {"account": gone}]), before) == {}
    assert owners.asked == [("anna", new)]


def test_what_is_deleted_cannot_be_referred_to(owners, check):
    deal = Opportunity(account=name())
    owners.records[deal.account] = Account(delete_time=dt.datetime.now(dt.UTC)).SerializeToString()
    assert check(deal) == {"account": f"{deal.account} is deleted"}


def test_what_cannot_be_a_name_is_not_asked_for(owners, check):
    assert set(check(Opportunity(account="accounts/1", competitors=[{"account": name("users")}]))) == {
        "account",
        "competitors[0].account",
    }
    assert owners.asked == []


def test_who_calls_is_there_and_services_know_what_they_name(owners, check):
    user = name("users")
    assert check(Opportunity(owner=user), subject=user) == {}
    assert check(Opportunity(owner=name("users")), subject="services/sales") == {}
    assert owners.asked == []


def test_what_only_services_set_is_not_asked_for(owners, check):
    assert check(Activity(offered_to=name("users"), hand_over={"user": name("users")})) == {}
    assert owners.asked == []


def test_nothing_is_stored_while_the_owner_cannot_be_asked():
    references = References(Peers({"contacts": "127.0.0.1:1"}))
    call = SimpleNamespace(principal=SimpleNamespace(tenant_id=TENANT, subject="users/anna"), metadata={})
    with pytest.raises(Unavailable, match="contacts cannot be asked for accounts/"):
        references.check(call, Opportunity(account=name()))


def test_services_in_tests_wait_for_others_on_slow_machines(server):
    assert server.runtime.settings.reference_seconds == settings().reference_seconds == 30
