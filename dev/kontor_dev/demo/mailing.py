"""Makes up what the demo company writes to its customers: a template in two languages, and the next issue, unsent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from kontor.marketing.v1 import campaign_pb2, template_pb2
from kontor_dev.demo.audience import BOARD, NEWS
from kontor_dev.demo.story import Story

TEAM: Final = "Marketing"
READERS: Final = "Content readers"
_ENGLISH: Final = """{{ salutation }},

the palletising robot RB 9 stacks mixed cartons since spring, 900 an hour. Two customers show theirs in September.

{% if account.display_name is defined %}
Whether it fits into a hall of {{ account.display_name }} we find out in half a day, with you.

{% endif %}
You get this because you asked for our newsletter. No more of it: {{ unsubscribe_url }}
"""
_GERMAN: Final = """{{ salutation }},

seit dem Frühjahr stapelt der Palettierroboter RB 9 auch gemischte Kartons, 900 in der Stunde. Zwei Kunden zeigen ihren
im September.

Sie erhalten diese Nachricht, weil Sie unseren Newsletter bestellt haben. Abbestellen: {{ unsubscribe_url }}
"""
TEMPLATE: Final = template_pb2.Template(
    display_name="Newsletter",
    description="The issue of the month.",
    subject="Mixed pallets, and two doors that open",
    text_body=_ENGLISH,
    variants=[{"language_code": "de", "subject": "Gemischte Paletten, offene Türen", "text_body": _GERMAN}],
    salutations=[
        {"language_code": "de", "salutation": "Frau", "text": "Guten Tag Frau {{ party.family_name }}"},
        {"language_code": "de", "salutation": "Herr", "text": "Guten Tag Herr {{ party.family_name }}"},
        {"language_code": "en", "text": "Dear {{ party.given_name }} {{ party.family_name }}"},
    ],
    salutation_fallback="Hello",
    tags=["newsletter"],
)
# Topic, template and segments are named by what they are called here.
CAMPAIGN: Final = campaign_pb2.Campaign(
    display_name="Newsletter: mixed pallets",
    topic=NEWS,
    template=TEMPLATE.display_name,
    segments=[READERS],
    excluded_segments=[BOARD],
    sender_name="Kontor Demo Machines",
    sender_email="news@demo.example",
    reply_to_email="hello@demo.example",
    max_per_hour=500,
    tags=["newsletter"],
)

Call = Callable[..., Any]
Every = Callable[[str, str], Iterator[Any]]


def bring(call: Call, every: Every, story: Story, users: Mapping[str, str], teams: Mapping[str, str]) -> int:
    """Brings in what is missing, once topics and segments are there; returns how many campaigns there are."""
    templates, campaigns = "marketing.v1.TemplateService", "marketing.v1.CampaignService"
    written = _named(every(f"{templates}.ListTemplates", "templates"))
    if TEMPLATE.display_name not in written:
        written[TEMPLATE.display_name] = call(f"{templates}.CreateTemplate", template=TEMPLATE).name
    planned = _named(every(f"{campaigns}.ListCampaigns", "campaigns"))
    if CAMPAIGN.display_name not in planned:
        segments = _named(every("marketing.v1.SegmentService.ListSegments", "segments"))
        topics = {topic.key: topic.name for topic in every("marketing.v1.TopicService.ListTopics", "topics")}
        campaign = campaign_pb2.Campaign()
        campaign.CopyFrom(CAMPAIGN)
        campaign.topic, campaign.template = topics[CAMPAIGN.topic], written[CAMPAIGN.template]
        campaign.segments[:] = [segments[title] for title in CAMPAIGN.segments]
        campaign.excluded_segments[:] = [segments[title] for title in CAMPAIGN.excluded_segments]
        campaign.owner = next(users[person.email] for person in story.people if person.team == TEAM)
        campaign.team = teams[TEAM]
        planned[CAMPAIGN.display_name] = call(f"{campaigns}.CreateCampaign", campaign=campaign).name
    return len(planned)


def _named(records: Iterator[Any]) -> dict[str, str]:
    """Returns the names of records by what they are called."""
    return {record.display_name: record.name for record in records}
