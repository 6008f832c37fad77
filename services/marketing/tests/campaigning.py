"""A tenant that sends campaigns: its people, what they said, and the work that is done for it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kontor_kit.db import Database
from kontor_kit.operations.runner import Runner
from kontor_kit.testing.running import Caller, Running
from kontor_kit.testing.telling import Teller
from kontor_marketing.recipients.mail import Post
from kontor_marketing.recipients.sending import Sending
from kontor_marketing.service import service
from services.marketing.tests.marketing import CONTACT, contact, party_of

SENDER = "news@example.com"


class Tenant:
    """A tenant with a topic, a template and a segment."""

    def __init__(self, running: Running, caller: Caller, tell: Teller, url: str) -> None:
        self.running, self.caller, self._tell, self._url = running, caller, tell, url
        self.topic = caller("CreateTopic", topic={"display_name": "News", "key": f"t{uuid.uuid4().hex[:8]}"}).name
        self.template = self.new_template().name
        self.segment = self.new_segment()

    def new_template(self, **fields: Any) -> Any:
        """Make a template, with a name of its own."""
        usual = {
            "display_name": f"Template {uuid.uuid4()}",
            "subject": "Hello {{ party.given_name }}",
            "text_body": "{{ salutation }},\nleave: {{ unsubscribe_url }}",
            "html_body": '<p>{{ salutation }}</p><a href="{{ unsubscribe_url }}">leave</a>',
            "salutation_fallback": "Good day",
        }
        return self.caller("CreateTemplate", template={**usual, **fields})

    def new_segment(self, *parties: str) -> str:
        """Make a list of parties."""
        name: str = self.caller("CreateSegment", segment={"display_name": "List", "kind": "KIND_STATIC"}).name
        self.add(name, *parties)
        return name

    def add(self, segment: str, *parties: str) -> None:
        """Put parties on a list."""
        if parties:
            self.caller("AddSegmentMembers", name=segment, parties=parties)

    def person(
        self, given_name: str, *emails: str, says: str = "STATE_OPTED_IN", listed: bool = True, **fields: Any
    ) -> Any:
        """Make somebody known, who said something to the topic and is on the list; return the contact."""
        made = contact(given_name, *(emails or (f"{given_name.lower()}@example.com",)), **fields)
        self._tell(self.caller.tenant, f"{CONTACT}.created", made, 1)
        if says:
            self.say(made, says)
        if listed:
            self.add(self.segment, party_of(made))
        return made

    def say(self, who: Any, state: str) -> None:
        """Store what somebody said to the topic."""
        said = {"party": party_of(who), "topic": self.topic, "state": state, "legal_basis": "LEGAL_BASIS_CONSENT"}
        self.caller("RecordConsent", subscription={**said, "evidence": {"note": uuid.uuid4().hex}})

    def tell(self, event_type: str, record: Any, version: int) -> None:
        """Tell what happened elsewhere."""
        self._tell(self.caller.tenant, event_type, record, version)

    def new_campaign(self, **fields: Any) -> Any:
        """Make a campaign to the list."""
        usual = {
            "display_name": "Spring",
            "topic": self.topic,
            "template": self.template,
            "segments": [self.segment],
            "sender_name": "Example Ltd",
            "sender_email": SENDER,
        }
        return self.caller("CreateCampaign", campaign={**usual, **fields})

    def send(self, **fields: Any) -> Any:
        """Make a campaign, send it as far as it goes, and return it."""
        name = self.new_campaign(**fields).name
        self.caller("SendCampaign", name=name)
        self.work()
        return self.caller("GetCampaign", name=name)

    def work(self, **options: Any) -> None:
        """Prepare and send what is under way, until there is nothing to do now."""
        self.prepare()
        with self.sender(**options) as sender:
            while sender.work_once():
                pass

    def prepare(self) -> None:
        """Work on operations until none is due."""
        made = service()
        with _system(self.running) as system:
            records = made.use(self.running.runtime)
            runner = Runner(
                "marketing.kontor",
                made.operations,
                system=system,
                database=self.running.runtime.database,
                service=records,
                first_pause=0.0,
            )
            while runner.work_once():
                pass

    @contextmanager
    def sender(self, url: str = "", **options: Any) -> Iterator[Sending]:
        """Yield what hands mails over."""
        records = service().use(self.running.runtime)
        post = Post(url or self._url, timeout=5)
        with _system(self.running) as system:
            yield Sending(records["campaignRecipients"], system, post, **options)
        post.close()

    def recipients(self, campaign: Any) -> dict[str, Any]:
        """Return the recipients of a campaign, by party."""
        found = self.caller("ListCampaignRecipients", filter=f'campaign = "{campaign.name}"', page_size=1000)
        return {each.party: each for each in found.campaign_recipients}


@contextmanager
def _system(running: Running) -> Iterator[Database]:
    system = Database(running.database.url("system"), pool_size=2)
    system.open()
    try:
        yield system
    finally:
        system.close()
