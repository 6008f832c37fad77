"""Subscriptions: what follows on what, and that to leave one topic is to leave no other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from grpc import StatusCode

from kontor_kit.tracing import start_span
from kontor_marketing.service import service
from kontor_marketing.subscriptions.rules import OPTED_IN, OPTED_OUT, UNSET
from kontor_marketing.subscriptions.table import SUBSCRIPTION
from services.marketing.tests.marketing import CONTACT, contact, party_of

CONTRACT = 2


@pytest.fixture
def rosa(anna, tell):
    rosa = contact("Rosa", "rosa@example.com", owner=anna.user)
    tell(anna.tenant, f"{CONTACT}.created", rosa, 1)
    return party_of(rosa)


@pytest.fixture
def news(anna):
    return anna("CreateTopic", topic={"display_name": "News", "key": "news", "legal_basis": CONTRACT}).name


def say(caller, party, topic, state, **fields):
    said = {"party": party, "topic": topic, "state": state, **fields}
    return caller("RecordConsent", subscription=said)


class TestStored:
    def test_comes_back_with_the_basis_of_the_topic(self, anna, rosa, news):
        evidence = {"text_version": "news 3", "form": "footer", "ip_address": "192.0.2.1"}
        sent = {"party": rosa, "topic": news, "state": OPTED_IN, "source": "form", "evidence": evidence}
        made = anna("CreateSubscription", subscription=sent)
        assert anna("GetSubscription", name=made.name) == made
        assert (made.legal_basis, made.evidence.text_version) == (CONTRACT, "news 3")
        assert made.state_time.seconds > 0

    def test_there_is_one_for_a_party_and_a_topic(self, anna, rosa, news):
        sent = {"party": rosa, "topic": news, "state": OPTED_IN}
        anna("CreateSubscription", subscription=sent)
        assert anna.refusal("CreateSubscription", subscription=sent).code is StatusCode.ALREADY_EXISTS

    def test_rights_follow_the_party(self, anna, rosa, news):
        say(anna, rosa, news, OPTED_IN)
        bert = anna.colleague(
            "marketing.subscriptions.*:own", "marketing.parties.read:own", "marketing.topics.read:all"
        )
        assert not bert("ListSubscriptions").subscriptions
        refusal = bert.refusal("CreateSubscription", subscription={"party": rosa, "topic": news, "state": OPTED_IN})
        assert [*refusal.violations] == ["subscription.party"]
        assert bert.refusal("RecordConsent", subscription={"party": rosa, "topic": news, "state": OPTED_OUT}).code in (
            StatusCode.INVALID_ARGUMENT,
            StatusCode.NOT_FOUND,
        )

    @pytest.mark.parametrize("missing", ["party", "topic"])
    def test_names_what_is_not_there(self, anna, rosa, news, missing):
        nobody = {"party": "parties", "topic": "topics"}[missing] + "/01900000-0000-7000-8000-000000000001"
        sent = {"party": rosa, "topic": news, "state": OPTED_IN, missing: nobody}
        assert [*anna.refusal("CreateSubscription", subscription=sent).violations] == [f"subscription.{missing}"]


class TestFollowing:
    def test_recorded_twice_it_is_one(self, anna, rosa, news):
        first = say(anna, rosa, news, OPTED_IN, source="form")
        second = say(anna, rosa, news, OPTED_OUT, source="link")
        assert (second.name, second.state, second.source) == (first.name, OPTED_OUT, "link")
        assert second.legal_basis == CONTRACT

    def test_no_does_not_turn_into_nothing(self, anna, rosa, news):
        made = say(anna, rosa, news, OPTED_OUT)
        for refusal in (
            anna.refusal("UpdateSubscription", subscription={"name": made.name, "state": UNSET}),
            anna.refusal("RecordConsent", subscription={"party": rosa, "topic": news, "state": UNSET}),
        ):
            assert [*refusal.violations] == ["subscription.state"]

    def test_no_turns_into_yes_with_new_evidence(self, anna, rosa, news):
        made = say(anna, rosa, news, OPTED_OUT, evidence={"form": "page 1"})
        again = {"name": made.name, "state": OPTED_IN}
        assert [*anna.refusal("UpdateSubscription", subscription=again).violations] == ["subscription.evidence"]
        after = anna("UpdateSubscription", subscription={**again, "evidence": {"form": "page 2"}})
        assert after.state == OPTED_IN
        assert after.state_time.ToNanoseconds() > made.state_time.ToNanoseconds()

    def test_to_leave_one_topic_is_to_leave_no_other(self, anna, rosa, news):
        other = anna("CreateTopic", topic={"display_name": "Fairs", "key": "fairs"}).name
        for topic in (news, other):
            say(anna, rosa, topic, OPTED_IN)
        say(anna, rosa, news, OPTED_OUT)
        states = {each.topic: each.state for each in anna("ListSubscriptions").subscriptions}
        assert states == {news: OPTED_OUT, other: OPTED_IN}
        assert not anna("ListSuppressions").suppressions

    def test_said_many_times_at_once_it_is_one(self, anna, rosa, news):
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda number: say(anna, rosa, news, OPTED_IN, source=f"form {number}"), range(8)))
        assert len({each.name for each in made}) == 1
        [found] = anna("ListSubscriptions").subscriptions
        assert found.etag == "v8"

    def test_party_says_it_by_itself(self, anna, server, rosa, news):
        records = service().use(server.runtime)["subscriptions"]
        for state in (OPTED_IN, OPTED_OUT, OPTED_OUT):
            with server.runtime.database.write(anna.tenant) as tx:
                said = SUBSCRIPTION.message(party=rosa, topic=news, state=state, source="link")
                records.say(tx, start_span(), said)
        [found] = anna("ListSubscriptions", filter=f"party = {rosa}").subscriptions
        assert (found.state, found.source, found.etag) == (OPTED_OUT, "link", "v2")
