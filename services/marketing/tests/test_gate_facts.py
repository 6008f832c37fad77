"""What the gate knows of parties: consent, addresses, complaints and who is not to be contacted."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest

from kontor_marketing.parties.table import facts
from kontor_marketing.subscriptions.rules import OPTED_IN
from kontor_marketing.suppressions.rules import ALL, EMAIL, PHONE, UNSUBSCRIBED
from services.marketing.tests.marketing import CONTACT, STATUS, contact, party_id, party_of, status

BOUNCED = 10


@pytest.fixture
def rosa(anna, tell):
    rosa = contact("Rosa", "Rosa@example.com", "r.example@example.org", language_code="de", salutation="Frau")
    tell(anna.tenant, f"{CONTACT}.created", rosa, 1)
    return rosa


@pytest.fixture
def topic(anna):
    return anna("CreateTopic", topic={"display_name": "News", "key": "news"}).name


@pytest.fixture
def ask(anna, server, topic):
    def ask(*contacts):
        with server.runtime.database.read(anna.tenant) as tx:
            found = facts(tx, [party_id(each) for each in contacts], uuid.UUID(topic.rpartition("/")[2]))
        return [found.get(party_id(each)) for each in contacts]

    return ask


def suppress(caller, **fields):
    return caller("CreateSuppression", suppression={"channel": EMAIL, "reason": BOUNCED, **fields}).name


def test_tells_the_person_and_the_addresses(anna, tell, rosa, ask):
    tell(anna.tenant, f"{STATUS}.created", status("rosa@example.com", invalid=True), 1)
    nobody = contact("Nobody")
    [found, missing] = ask(rosa, nobody)
    assert missing is None
    assert (found.given_name, found.salutation, found.language_code, found.live) == ("Rosa", "Frau", "de", True)
    assert [(email.key, email.invalid) for email in found.emails] == [
        ("rosa@example.com", True),
        ("r.example@example.org", False),
    ]


def test_tells_what_was_said_to_this_topic(anna, rosa, topic, ask):
    other = anna("CreateTopic", topic={"display_name": "Fairs", "key": "fairs"}).name
    anna("RecordConsent", subscription={"party": party_of(rosa), "topic": other, "state": OPTED_IN})
    assert ask(rosa)[0].consent is None
    said = {"party": party_of(rosa), "topic": topic, "state": OPTED_IN, "evidence": {"form": "footer"}}
    made = anna("RecordConsent", subscription=said)
    consent = ask(rosa)[0].consent
    assert (consent.name, consent.state, consent.evidence) == (made.name, OPTED_IN, {"form": "footer"})


@pytest.mark.parametrize(
    ("double", "evidence", "counts"),
    [(False, {"form": "footer"}, True), (True, {"form": "footer"}, False), (True, {"message_id": "1@k.example"}, True)],
)
def test_counts_where_it_was_confirmed_as_the_topic_wants_it(anna, rosa, topic, ask, double, evidence, counts):
    anna("UpdateTopic", topic={"name": topic, "double_opt_in": double})
    said = {"party": party_of(rosa), "topic": topic, "state": OPTED_IN, "evidence": evidence}
    anna("RecordConsent", subscription=said)
    assert ask(rosa)[0].consent.confirmed == counts


class TestSuppressed:
    def test_by_party_whatever_the_address(self, anna, rosa, ask):
        made = suppress(anna, party=party_of(rosa))
        assert ask(rosa)[0].suppression_of("r.example@example.org").name == made

    def test_by_address_whoever_has_it(self, anna, tell, rosa, ask):
        twin = contact("Rosi", "rosa@EXAMPLE.com")
        tell(anna.tenant, f"{CONTACT}.created", twin, 1)
        made = anna("OptOutParty", name=party_of(rosa)).name
        [mine, hers] = ask(rosa, twin)
        assert (mine.suppression_of("x@example.com").name, len(mine.suppressions)) == (made, 1)
        assert hers.suppression_of("rosa@example.com").name == made
        assert hers.suppression_of("other@example.com") is None

    def test_strongest_reason_counts(self, anna, rosa, ask):
        anna("OptOutParty", name=party_of(rosa))
        suppress(anna, address="rosa@example.com")
        assert ask(rosa)[0].suppression_of("rosa@example.com").reason == UNSUBSCRIBED

    def test_not_by_other_channels_nor_at_other_times(self, anna, rosa, ask):
        name, now = party_of(rosa), dt.datetime.now(dt.UTC)
        suppress(anna, party=name, channel=PHONE)
        suppress(anna, party=name, start_time=now + dt.timedelta(days=1))
        ended = suppress(anna, party=name, channel=ALL)
        anna("LiftSuppression", name=ended, reason="Called")
        assert ask(rosa)[0].suppressions == ()

    def test_what_another_tenant_suppressed_holds_there(self, server, rosa, ask):
        suppress(server.caller(), address="rosa@example.com")
        assert ask(rosa)[0].suppressions == ()
