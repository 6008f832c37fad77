"""Campaigns: where they go from where they stand, who gets the mail, and what becomes of each."""

from __future__ import annotations

import datetime as dt

import pytest
from grpc import StatusCode

from kontor.marketing.v1.campaign_pb2 import Campaign
from kontor.marketing.v1.campaign_recipient_pb2 import CampaignRecipient
from kontor_kit.testing.telling import teller
from kontor_marketing.campaigns.api import START_CAMPAIGNS
from kontor_marketing.recipients import rules
from kontor_marketing.recipients.mail import NoServer
from kontor_marketing.service import service
from services.marketing.tests.campaigning import SENDER, Tenant
from services.marketing.tests.mails import mail_server
from services.marketing.tests.marketing import CONTACT, STATUS, party_of, status

NOT_FOUND, FAILED_PRECONDITION = StatusCode.NOT_FOUND, StatusCode.FAILED_PRECONDITION


@pytest.fixture(scope="module")
def mails():
    with mail_server() as given:
        yield given


@pytest.fixture(scope="module")
def server(serve, peer, mails):
    return serve(service(), peers={"identity": peer.address, "contacts": peer.address}, smtp_url=mails[0])


@pytest.fixture
def sink(mails):
    mails[1].mails.clear()
    mails[1].answers.clear()
    return mails[1]


@pytest.fixture
def tenant(server, mails, sink):
    with teller(server, service()) as tell:
        yield Tenant(server, server.caller(), tell, mails[0])


def later(seconds=3600):
    return dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)


class TestStored:
    def test_comes_back_in_every_field(self, tenant):
        created = tenant.new_campaign(
            excluded_segments=[tenant.new_segment()],
            include_open_complaints=True,
            reply_to_email="answers@example.com",
            max_per_hour=100,
            tags=["spring"],
        )
        assert tenant.caller("GetCampaign", name=created.name) == created
        assert (created.state, created.owner) == (Campaign.STATE_DRAFT, tenant.caller.user)
        assert [each.campaign.name for each in tenant.caller("SearchCampaigns", query="spri").results] == [created.name]

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"display_name": " "}, "display_name"),
            ({"sender_name": "a\r\nBcc: x"}, "sender_name"),
            ({"sender_email": "nobody"}, "sender_email"),
            ({"sender_email": "rosé@example.com"}, "sender_email"),
            ({"reply_to_email": "x"}, "reply_to_email"),
            ({"topic": "topics/0198a000-0000-7000-8000-000000000001"}, "topic"),
            ({"template": "templates/0198a000-0000-7000-8000-000000000001"}, "template"),
            ({"segments": ["segments/0198a000-0000-7000-8000-000000000001"]}, "segments[0]"),
            ({"max_per_hour": -1}, "max_per_hour"),
        ],
    )
    def test_names_the_field_that_is_wrong(self, tenant, fields, path):
        name = tenant.new_campaign().name
        refusal = tenant.caller.refusal("UpdateCampaign", campaign={"name": name, **fields})
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, [f"campaign.{path}"])

    def test_nobody_is_both_in_and_out(self, tenant):
        refusal = tenant.caller.refusal(
            "UpdateCampaign", campaign={"name": tenant.new_campaign().name, "excluded_segments": [tenant.segment]}
        )
        assert [*refusal.violations] == ["campaign.excluded_segments[0]"]

    def test_others_see_neither_it_nor_its_recipients(self, tenant, server):
        tenant.person("Rosa")
        campaign = tenant.send()
        [recipient] = tenant.recipients(campaign).values()
        stranger, own = (
            server.caller(),
            tenant.caller.colleague("marketing.campaigns.read:own", "marketing.campaignRecipients.read:own"),
        )
        for other in (stranger, own):
            assert other.refusal("GetCampaign", name=campaign.name).code is NOT_FOUND
            assert other.refusal("GetCampaignRecipient", name=recipient.name).code is NOT_FOUND
            assert not other("ListCampaignRecipients", include_total_size=True).total_size


class TestWay:
    def test_what_is_under_way_is_not_changed(self, tenant):
        name = tenant.new_campaign().name
        tenant.caller("SendCampaign", name=name)
        refusal = tenant.caller.refusal("UpdateCampaign", campaign={"name": name, "display_name": "Other"})
        assert (refusal.code, refusal.reason) == (FAILED_PRECONDITION, "CAMPAIGN_PREPARING")
        assert tenant.caller("UpdateCampaign", campaign={"name": name, "tags": ["x"]}).tags == ["x"]
        assert tenant.caller.refusal("DeleteCampaign", name=name).reason == "CAMPAIGN_PREPARING"
        assert tenant.caller.refusal("SendCampaign", name=name).reason == "CAMPAIGN_PREPARING"

    def test_keeps_to_the_template_as_it_was_at_the_start(self, tenant, sink):
        tenant.person("Rosa")
        name = tenant.new_campaign().name
        assert tenant.caller("SendCampaign", name=name).template_revision == 1
        tenant.caller("UpdateTemplate", template={"name": tenant.template, "subject": "Changed"})
        tenant.work()
        assert [mail.message["Subject"] for mail in sink.mails] == ["Hello Rosa"]

    def test_needs_a_link_to_leave(self, tenant):
        template = tenant.new_template(html_body="<p>none</p>").name
        refusal = tenant.caller.refusal("SendCampaign", name=tenant.new_campaign(template=template).name)
        assert (refusal.code, refusal.reason) == (FAILED_PRECONDITION, "NO_UNSUBSCRIBE_LINK")

    def test_needs_a_mail_server(self, tenant, serve, server, peer):
        name = tenant.new_campaign().name
        without = serve(service(), server.database, peers={"identity": peer.address, "contacts": peer.address})
        caller = without.caller(tenant=tenant.caller.tenant)
        assert caller.refusal("SendCampaign", name=name).reason == "NO_SMTP"
        assert caller.refusal("ScheduleCampaign", name=name, schedule_time=later()).reason == "NO_SMTP"

    def test_needs_a_right_of_its_own(self, tenant):
        name = tenant.new_campaign().name
        editor = tenant.caller.colleague("marketing.campaigns.read:all", "marketing.campaigns.update:all")
        for verb in ("Send", "Resume"):
            assert editor.refusal(f"{verb}Campaign", name=name).code is StatusCode.PERMISSION_DENIED

    def test_starts_by_itself_at_its_time(self, tenant, sink, server):
        tenant.person("Rosa")
        name = tenant.new_campaign().name
        refusal = tenant.caller.refusal("ScheduleCampaign", name=name, schedule_time=later(-60))
        assert [*refusal.violations] == ["schedule_time"]
        assert tenant.caller("ScheduleCampaign", name=name, schedule_time=later()).state == Campaign.STATE_SCHEDULED
        due(server, later(60))
        assert tenant.caller("GetCampaign", name=name).state == Campaign.STATE_SCHEDULED
        due(server, later(3700))
        assert tenant.caller("GetCampaign", name=name).state == Campaign.STATE_PREPARING
        tenant.work()
        assert tenant.caller("GetCampaign", name=name).state == Campaign.STATE_SENT
        assert len(sink.mails) == 1

    def test_what_cannot_start_says_why_and_goes_on_when_it_can(self, tenant, server, sink):
        tenant.person("Rosa")
        name = tenant.new_campaign().name
        tenant.caller("ScheduleCampaign", name=name, schedule_time=later())
        tenant.caller("DeleteTemplate", name=tenant.template)
        due(server, later(3700))
        paused = tenant.caller("GetCampaign", name=name)
        assert (paused.state, paused.pause_reason) == (
            Campaign.STATE_PAUSED,
            "its template or its topic was deleted",
        )
        tenant.caller("UndeleteTemplate", name=tenant.template)
        assert tenant.caller("ResumeCampaign", name=name).state == Campaign.STATE_SCHEDULED
        due(server, later(3700))
        tenant.work()
        assert len(sink.mails) == 1

    @pytest.mark.parametrize("field", ["segments", "excluded_segments"])
    def test_keeps_its_segments_until_it_has_ended(self, tenant, field):
        segment = tenant.new_segment()
        name = tenant.new_campaign(**{field: [segment]}).name
        tenant.caller("ScheduleCampaign", name=name, schedule_time=later())
        assert tenant.caller.refusal("DeleteSegment", name=segment).reason == "IN_USE"
        tenant.caller("PauseCampaign", name=name)
        assert tenant.caller.refusal("DeleteSegment", name=segment).reason == "IN_USE"
        tenant.caller("CancelCampaign", name=name)
        tenant.caller("DeleteSegment", name=segment)

    @pytest.mark.parametrize("field", ["segments", "excluded_segments"])
    def test_does_not_start_without_its_segments(self, tenant, field):
        segment = tenant.new_segment()
        name = tenant.new_campaign(**{field: [segment]}).name
        tenant.caller("DeleteSegment", name=segment)
        for method, given in (("SendCampaign", {}), ("ScheduleCampaign", {"schedule_time": later()})):
            assert tenant.caller.refusal(method, name=name, **given).reason == "DELETED"

    @pytest.mark.parametrize("prepared", [False, True], ids=["preparing", "sending"])
    def test_pauses_and_goes_on_from_where_it_stood(self, tenant, sink, prepared):
        for given_name in ("Rosa", "Anna"):
            tenant.person(given_name)
        name = tenant.new_campaign().name
        tenant.caller("SendCampaign", name=name)
        if prepared:
            tenant.prepare()
        assert tenant.caller("PauseCampaign", name=name).state == Campaign.STATE_PAUSED
        tenant.work()
        assert not sink.mails
        resumed = tenant.caller("ResumeCampaign", name=name)
        assert resumed.state == (Campaign.STATE_SENDING if prepared else Campaign.STATE_PREPARING)
        tenant.work()
        assert tenant.caller("GetCampaign", name=name).statistics.sent == len(sink.mails) == 2

    @pytest.mark.parametrize("prepared", [False, True], ids=["preparing", "sending"])
    def test_paused_it_does_not_start_anew(self, tenant, prepared):
        tenant.person("Rosa")
        name = tenant.new_campaign().name
        tenant.caller("SendCampaign", name=name)
        if prepared:
            tenant.prepare()
        paused = tenant.caller("PauseCampaign", name=name)
        tenant.caller("UpdateTemplate", template={"name": tenant.template, "subject": "Another one"})
        for method, given in (("SendCampaign", {}), ("ScheduleCampaign", {"schedule_time": later()})):
            assert tenant.caller.refusal(method, name=name, **given).reason == "CAMPAIGN_PAUSED"
        assert tenant.caller("GetCampaign", name=name) == paused

    def test_cancelled_it_sends_nothing_more(self, tenant, sink):
        tenant.person("Rosa")
        name = tenant.new_campaign().name
        tenant.caller("SendCampaign", name=name)
        tenant.prepare()
        cancelled = tenant.caller("CancelCampaign", name=name)
        assert (cancelled.state, cancelled.statistics.pending) == (Campaign.STATE_CANCELLED, 1)
        tenant.work()
        assert not sink.mails
        assert tenant.caller.refusal("ResumeCampaign", name=name).reason == "CAMPAIGN_CANCELLED"
        tenant.caller("DeleteCampaign", name=name)

    def test_stale_etags_and_repetitions_are_known(self, tenant):
        campaign = tenant.new_campaign()
        assert tenant.caller.refusal("SendCampaign", name=campaign.name, etag="v9").reason == "STALE_ETAG"
        sent = tenant.caller("SendCampaign", name=campaign.name, etag=campaign.etag, request_id="once")
        assert tenant.caller("SendCampaign", name=campaign.name, etag=campaign.etag, request_id="once") == sent

    def test_tried_only_it_stays_a_draft(self, tenant):
        name = tenant.new_campaign().name
        assert tenant.caller("SendCampaign", name=name, validate_only=True).state == Campaign.STATE_PREPARING
        assert tenant.caller("GetCampaign", name=name).state == Campaign.STATE_DRAFT


def due(server, now):
    job = START_CAMPAIGNS.periodic(server.runtime.database, service().use(server.runtime), lambda: now)
    with server.database.connect() as connection:
        connection.execute("DELETE FROM leases")
    job.run_once(server.runtime.system)


def _name(contact):
    return contact.name


class TestRecipients:
    def test_each_is_told_why(self, tenant, sink):
        # Whoever was known first, by the id, gets the mail of an address.
        rosa, double = sorted((tenant.person("Rosa"), tenant.person("Rosa", "ROSA@example.com")), key=_name)
        others = {
            double.name: "DUPLICATE_ADDRESS",
            tenant.person("Unasked", says="").name: "NOT_OPTED_IN",
            tenant.person("Unset", says="STATE_UNSET").name: "NOT_OPTED_IN",
            tenant.person("Out", says="STATE_OPTED_OUT").name: "OPTED_OUT",
            tenant.person("Mute", emails=[]).name: "NO_ADDRESS",
            tenant.person("", "nameless@example.com").name: "MISSING_VARIABLE",
        }
        for name, fields in (("Bounced", {"invalid": True}), ("Refuser", {"opted_out": True})):
            who = tenant.person(name)
            tenant.tell(f"{STATUS}.created", status(f"{name.lower()}@example.com", **fields), 1)
            others[who.name] = "INVALID_ADDRESS" if "invalid" in fields else "ADDRESS_OPTED_OUT"
        quiet = tenant.person("Quiet")
        held = {"party": party_of(quiet), "channel": "CHANNEL_EMAIL", "reason": "REASON_MANUAL"}
        tenant.caller("CreateSuppression", suppression=held)
        others[quiet.name] = "SUPPRESSED"
        excluded, shared = tenant.person("Excluded"), tenant.person("Shared", "both@example.com")
        beside = tenant.person("Beside", "Both@example.com", listed=False)
        others |= {excluded.name: "EXCLUDED", shared.name: "EXCLUDED_ADDRESS"}
        out = tenant.new_segment(party_of(excluded), party_of(beside))
        campaign = tenant.send(excluded_segments=[out])
        found = tenant.recipients(campaign)
        said = {party: CampaignRecipient.Decision.Name(each.decision)[9:] for party, each in found.items()}
        wanted = {name.replace("contacts", "parties"): decision for name, decision in others.items()}
        assert said == {party_of(rosa): "ALLOWED", **wanted}
        assert [mail.recipient.lower() for mail in sink.mails] == ["rosa@example.com"]
        numbers = campaign.statistics
        assert (numbers.total, numbers.sent, numbers.skipped) == (len(said), 1, len(others))
        assert {each.decision: each.count for each in numbers.skipped_by_decision}["NOT_OPTED_IN"] == 2

    def test_is_asked_again_right_before_the_hand_over(self, tenant, sink):
        rosa, anna, moved = tenant.person("Rosa"), tenant.person("Anna"), tenant.person("Moved")
        name = tenant.new_campaign().name
        tenant.caller("SendCampaign", name=name)
        tenant.prepare()
        tenant.say(rosa, "STATE_OPTED_OUT")
        moved.emails[0].address = "moved.on@example.com"
        tenant.tell(f"{CONTACT}.updated", moved, 2)
        tenant.work()
        assert sorted(mail.recipient for mail in sink.mails) == ["anna@example.com", "moved.on@example.com"]
        found = tenant.recipients(tenant.caller("GetCampaign", name=name))
        skipped = found[party_of(rosa)]
        assert (skipped.state, skipped.decision) == (rules.SKIPPED, rules.OPTED_OUT)
        assert skipped.evidence.subscription_state == "OPTED_OUT"
        assert found[party_of(anna)].state == rules.SENT

    def test_nobody_s_new_address_gets_a_mail_twice(self, tenant, sink):
        tenant.person("Rosa")
        anna = tenant.person("Anna")
        name = tenant.new_campaign().name
        tenant.caller("SendCampaign", name=name)
        tenant.prepare()
        anna.emails[0].address = "rosa@example.com"
        tenant.tell(f"{CONTACT}.updated", anna, 2)
        tenant.work()
        assert [mail.recipient for mail in sink.mails] == ["rosa@example.com"]
        found = tenant.recipients(tenant.caller("GetCampaign", name=name))
        assert found[party_of(anna)].decision == rules.DUPLICATE_ADDRESS

    def test_people_in_two_lists_get_one_mail(self, tenant, sink):
        rosa = tenant.person("Rosa")
        tenant.send(segments=[tenant.segment, tenant.new_segment(party_of(rosa))])
        assert len(sink.mails) == 1


class TestMailServer:
    def test_what_it_refuses_for_good_has_failed(self, tenant, sink):
        rosa = tenant.person("Rosa")
        sink.answers["rosa@example.com"] = "550 5.1.1 no such user"
        campaign = tenant.send()
        recipient = tenant.recipients(campaign)[party_of(rosa)]
        assert (recipient.state, recipient.failure) == (rules.FAILED, "550 5.1.1 no such user")
        assert (campaign.state, campaign.statistics.failed) == (Campaign.STATE_SENT, 1)

    def test_what_it_puts_off_is_tried_again_with_the_same_id_and_not_for_ever(self, tenant, sink, server):
        rosa = tenant.person("Rosa")
        sink.answers["rosa@example.com"] = "451 later"
        campaign = tenant.send()
        recipient = tenant.recipients(campaign)[party_of(rosa)]
        assert (campaign.state, recipient.state) == (Campaign.STATE_SENDING, rules.PENDING)
        assert (recipient.failure, recipient.attempts) == ("451 later", 1)
        with server.database.connect() as connection:
            for _ in range(rules.MOST_DEFERRALS):
                connection.execute("UPDATE campaign_recipients SET due_time = now()")
                tenant.work()
        failed = tenant.recipients(campaign)[party_of(rosa)]
        assert (failed.state, failed.message_id) == (rules.FAILED, recipient.message_id)
        assert tenant.caller("GetCampaign", name=campaign.name).state == Campaign.STATE_SENT

    def test_what_it_takes_from_nobody_pauses_the_campaign(self, tenant, sink):
        rosa = tenant.person("Rosa")
        sink.answers[SENDER] = "550 5.7.1 not yours"
        campaign = tenant.send()
        assert (campaign.state, campaign.pause_reason) == (Campaign.STATE_PAUSED, "550 5.7.1 not yours")
        assert tenant.recipients(campaign)[party_of(rosa)].state == rules.PENDING
        sink.answers.clear()
        tenant.caller("ResumeCampaign", name=campaign.name)
        tenant.work()
        assert len(sink.mails) == 1

    def test_where_it_is_away_nothing_is_claimed(self, tenant, sink):
        rosa = tenant.person("Rosa")
        name = tenant.new_campaign().name
        tenant.caller("SendCampaign", name=name)
        tenant.prepare()
        with tenant.sender(url="smtp://127.0.0.1:1") as sender, pytest.raises(NoServer):
            sender.work_once()
        [recipient] = tenant.recipients(tenant.caller("GetCampaign", name=name)).values()
        assert (recipient.party, recipient.state, recipient.attempts) == (party_of(rosa), rules.PENDING, 0)
        tenant.work()
        assert len(sink.mails) == 1

    def test_no_more_go_out_in_an_hour_than_are_to(self, tenant, sink, server):
        for given_name in ("Rosa", "Anna", "Berta"):
            tenant.person(given_name)
        campaign = tenant.send(max_per_hour=1)
        assert (campaign.state, len(sink.mails)) == (Campaign.STATE_SENDING, 1)
        with server.database.connect() as connection:
            [(seconds,)] = connection.execute(
                "SELECT extract(epoch FROM next_time - now()) FROM campaigns WHERE id = %s",
                [campaign.name.partition("/")[2]],
            )
            assert 3500 < seconds <= 3600
            connection.execute("UPDATE campaigns SET next_time = now()")
        tenant.work()
        assert len(sink.mails) == 2

    def test_whoever_died_while_handing_over_is_followed_by_another_one_with_the_same_id(self, tenant, sink):
        tenant.person("Rosa")
        name = tenant.new_campaign().name
        tenant.caller("SendCampaign", name=name)
        tenant.prepare()
        with tenant.sender(lease_seconds=0.0) as dying:
            dying._settle = None  # It dies before it can say that the mail was taken.
            with pytest.raises(TypeError):
                dying.work_once()
        tenant.work()
        first, second = sink.mails
        assert first.message["Message-ID"] == second.message["Message-ID"]
        campaign = tenant.caller("GetCampaign", name=name)
        assert (campaign.state, campaign.statistics.sent) == (Campaign.STATE_SENT, 1)
