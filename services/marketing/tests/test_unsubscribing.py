"""Leaving by the link in a mail: only POST acts, at once, for one topic; and again it does the same."""

from __future__ import annotations

import re

import pytest
from grpc import StatusCode

from kontor.marketing.v1.campaign_recipient_pb2 import CampaignRecipient
from kontor.marketing.v1.subscription_pb2 import Subscription
from kontor.marketing.v1.suppression_pb2 import Suppression
from kontor_kit.testing.running import Caller
from kontor_kit.testing.telling import teller
from kontor_marketing.service import service
from services.marketing.tests.campaigning import Tenant
from services.marketing.tests.mails import mail_server
from services.marketing.tests.marketing import party_of


@pytest.fixture(scope="module")
def mails():
    with mail_server() as given:
        yield given


@pytest.fixture(scope="module")
def server(serve, peer, mails):
    peers = {"identity": peer.address, "contacts": peer.address}
    return serve(service(), peers=peers, smtp_url=mails[0], public_url="https://crm.example.com/")


@pytest.fixture
def tenant(server, mails):
    mails[1].mails.clear()
    with teller(server, service()) as tell:
        yield Tenant(server, server.caller(), tell, mails[0])


@pytest.fixture
def rosa(tenant):
    return tenant.person("Rosa")


@pytest.fixture
def stranger(server):
    """Somebody without any right."""
    return server.caller("none.none.none:own")


@pytest.fixture
def link(tenant, rosa, mails):
    """The token in the mail that Rosa got."""
    del rosa
    tenant.campaign = tenant.send()
    [mail] = mails[1].mails
    url = mail.message["List-Unsubscribe"]
    found = re.fullmatch(r"<https://crm\.example\.com/v1/campaignRecipients:unsubscribe\?token=([A-Za-z0-9_-]+)>", url)
    assert found, url
    # The links that people see are the same one.
    assert found[1] in mail.message.get_body(("plain",)).get_content()
    assert found[1] in mail.message.get_body(("html",)).get_content()
    return found[1]


def subscription(tenant, who):
    [found] = tenant.caller("ListSubscriptions", filter=f'party = "{party_of(who)}"').subscriptions
    return found


def changes(tenant):
    return [change.event_type for change in tenant.caller("ListChanges", page_size=100).changes]


class TestLink:
    def test_looking_at_it_changes_nothing(self, tenant, rosa, stranger: Caller, link):
        before = subscription(tenant, rosa), changes(tenant)
        page = stranger("ShowUnsubscribePage", token=link)
        assert page.content_type == "text/html; charset=utf-8"
        assert b"News" in page.data
        assert b'method="post"' in page.data
        assert (stranger.headers["cache-control"], stranger.headers["referrer-policy"]) == ("no-store", "no-referrer")
        assert (subscription(tenant, rosa), changes(tenant)) == before

    def test_one_post_is_enough_and_another_one_does_the_same(self, tenant, rosa, stranger, link):
        metadata = {"x-forwarded-for": "192.0.2.1, 198.51.100.7"}
        submission = {"content_type": "application/x-www-form-urlencoded", "data": b"List-Unsubscribe=One-Click"}
        first = stranger("Unsubscribe", token=link, submission=submission, metadata=metadata)
        left = subscription(tenant, rosa)
        assert (left.state, left.source) == (Subscription.STATE_OPTED_OUT, "unsubscribe link")
        [recipient] = tenant.recipients(tenant.campaign).values()
        assert recipient.HasField("unsubscribe_time")
        assert (left.evidence.ip_address, left.evidence.message_id) == ("198.51.100.7", recipient.message_id)
        before = changes(tenant)
        assert stranger("Unsubscribe", token=link) == first
        assert (subscription(tenant, rosa), changes(tenant)) == (left, before)

    def test_to_leave_one_topic_is_to_leave_no_other(self, tenant, rosa, stranger, link):
        tenant.topic = tenant.caller("CreateTopic", topic={"display_name": "Events", "key": "events"}).name
        tenant.say(rosa, "STATE_OPTED_IN")
        stranger("Unsubscribe", token=link)
        assert not tenant.caller("ListSuppressions").suppressions
        assert tenant.send().statistics.sent == 1

    def test_who_came_back_can_leave_again(self, tenant, rosa, stranger, link):
        stranger("Unsubscribe", token=link)
        tenant.say(rosa, "STATE_OPTED_IN")
        stranger("Unsubscribe", token=link)
        assert subscription(tenant, rosa).state == Subscription.STATE_OPTED_OUT

    def test_who_left_gets_no_mail_of_the_topic_any_more(self, tenant, rosa, stranger, link):
        stranger("Unsubscribe", token=link)
        found = tenant.recipients(tenant.send())[party_of(rosa)]
        assert CampaignRecipient.Decision.Name(found.decision) == "DECISION_OPTED_OUT"

    def test_everything_can_be_left_at_once(self, tenant, rosa, stranger, link):
        first = stranger("UnsubscribeFromAll", token=link)
        [held] = tenant.caller("ListSuppressions").suppressions
        assert (held.party, held.address, held.reason, held.channel) == (
            party_of(rosa),
            "rosa@example.com",
            Suppression.REASON_UNSUBSCRIBED,
            Suppression.CHANNEL_EMAIL,
        )
        assert subscription(tenant, rosa).state == Subscription.STATE_OPTED_IN
        before = changes(tenant)
        assert stranger("UnsubscribeFromAll", token=link) == first
        assert changes(tenant) == before
        found = tenant.recipients(tenant.send())[party_of(rosa)]
        assert CampaignRecipient.Decision.Name(found.decision) == "DECISION_SUPPRESSED"

    @pytest.mark.parametrize("method", ["ShowUnsubscribePage", "Unsubscribe", "UnsubscribeFromAll"])
    @pytest.mark.parametrize("broken", ["x", "last", "tenant"])
    def test_any_other_token_leads_to_a_page_that_says_nothing(self, tenant, stranger, link, method, broken):
        given = {"last": link[:-1] + ("A" if link[-1] != "A" else "B"), "tenant": "AAAA" + link[4:]}.get(broken, broken)
        before = changes(tenant)
        page = stranger(method, token=given)
        assert stranger.headers["x-kontor-http-status"] == "404"
        assert (page.content_type, b"nothing behind this link" in page.data) == ("text/html; charset=utf-8", True)
        assert b"News" not in page.data
        assert changes(tenant) == before

    def test_a_token_is_needed(self, stranger):
        assert stranger.refusal("ShowUnsubscribePage").code is StatusCode.INVALID_ARGUMENT
