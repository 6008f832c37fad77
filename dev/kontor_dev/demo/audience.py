"""Makes up who wants to hear of what from the demo company, who wants to hear nothing, and whom it tells the same.

The same story gives the same answers. Contacts are named by their keys in it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from kontor.marketing.v1 import consent_pb2, segment_pb2, subscription_pb2, suppression_pb2, topic_pb2
from kontor_dev.demo.story import Story
from kontor_dev.errors import StartFailed, Stopped

Call = Callable[..., Any]
Every = Callable[[str, str], Iterator[Any]]
Subscription = subscription_pb2.Subscription
Suppression = suppression_pb2.Suppression
Segment = segment_pb2.Segment

SECONDS: Final = 120.0
"""So long it may take until marketing knows all contacts."""
NEWS, FAIRS = "newsletter", "trade_fairs"
TOPICS: Final = (
    topic_pb2.Topic(key=NEWS, display_name="Newsletter", description="What is new, once a month."),
    topic_pb2.Topic(key=FAIRS, display_name="Trade fairs and events", description="Where to meet us."),
    topic_pb2.Topic(
        key="product_safety",
        display_name="Product safety",
        description="Recalls.",
        legal_basis=consent_pb2.LEGAL_BASIS_CONTRACT,
    ),
)
# The topics are named by their keys here.
SIGNED_UP: Final = Subscription(
    topic=NEWS,
    state=Subscription.STATE_OPTED_IN,
    source="form",
    evidence={"text_version": "newsletter 2026-01", "form": "sign-up on the website"},
)
LEFT: Final = Subscription(
    topic=NEWS,
    state=Subscription.STATE_OPTED_OUT,
    source="unsubscribe link",
    evidence={"statement_time": {"seconds": 1777887000}, "note": "Link in the issue of May"},
)
MET: Final = Subscription(
    topic=FAIRS,
    state=Subscription.STATE_OPTED_IN,
    source="trade fair",
    evidence={"text_version": "fair card 2026", "note": "Signed at the stand"},
)
KEY_CUSTOMERS: Final = "Key customers"
BOARD: Final = "Advisory board"
SEGMENTS: Final = (
    Segment(display_name="Customers", kind=Segment.KIND_RULE, filter="roles:ROLE_CUSTOMER"),
    Segment(
        display_name=KEY_CUSTOMERS,
        kind=Segment.KIND_RULE,
        filter="roles:ROLE_CUSTOMER AND (tier = TIER_STRATEGIC OR tier = TIER_KEY)",
    ),
    Segment(display_name="Met at the fair", kind=Segment.KIND_RULE, filter='tags:"trade-fair-2026"'),
    # Key customers are told in person. The segment is named by what it is called here.
    Segment(
        display_name="Content readers",
        kind=Segment.KIND_RULE,
        filter="tags:newsletter AND open_complaints = 0",
        exclude_segments=[KEY_CUSTOMERS],
    ),
    Segment(display_name=BOARD, description="Whom we ask first.", kind=Segment.KIND_STATIC),
)


def bring(call: Call, every: Every, story: Story, contacts: Mapping[str, str], stopping: threading.Event) -> int:
    """Brings in what is missing, once marketing knows the contacts; returns how many subscriptions there are.

    `contacts` are the names of contacts by their keys. Raises StartFailed where marketing does not hear of them, Stopped
    when `stopping` is set.
    """
    parties = {key: contacts[key].replace("contacts/", "parties/") for key in story.contacts}
    _await(every, set(parties.values()), stopping)
    topics = {topic.key: topic.name for topic in every("marketing.v1.TopicService.ListTopics", "topics")}
    for topic in TOPICS:
        if topic.key not in topics:
            topics[topic.key] = call("marketing.v1.TopicService.CreateTopic", topic=topic).name
    _suppress(call, every, story)
    _group(call, every, [parties[key] for key in sorted(parties)[:6]])
    return _subscribe(call, every, [said(story, key, parties[key], topics) for key in sorted(parties)])


def said(story: Story, key: str, party: str, topics: Mapping[str, str]) -> list[Subscription]:
    """Returns what a contact said to topics."""
    contact = story.contacts[key]
    left = {status.address for status in story.statuses if status.opted_out}
    found = []
    if contact.emails[0].address in left:
        found.append(LEFT)
    elif "newsletter" in contact.tags:
        found.append(SIGNED_UP)
    if "trade-fair-2026" in contact.tags:
        found.append(MET)
    return [
        Subscription(
            party=party, topic=topics[each.topic], state=each.state, source=each.source, evidence=each.evidence
        )
        for each in found
    ]


def _await(every: Every, parties: set[str], stopping: threading.Event) -> None:
    """Waits until marketing has heard of the contacts, which it does a moment after they were created."""
    until = time.monotonic() + SECONDS
    while not parties <= {party.name for party in every("marketing.v1.PartyService.ListParties", "parties")}:
        if time.monotonic() > until:
            raise StartFailed("marketing does not hear of contacts: is its process `work` well?")
        if stopping.wait(0.5):
            raise Stopped


def _subscribe(call: Call, every: Every, wanted: list[list[Subscription]]) -> int:
    service = "marketing.v1.SubscriptionService"
    there = {(each.party, each.topic) for each in every(f"{service}.ListSubscriptions", "subscriptions")}
    missing = [each for some in wanted for each in some if (each.party, each.topic) not in there]
    if missing:
        call(f"{service}.BatchCreateSubscriptions", requests=[{"subscription": each} for each in missing])
    return len(there) + len(missing)


def _suppress(call: Call, every: Every, story: Story) -> None:
    """Leaves alone the addresses that mail does not reach."""
    service = "marketing.v1.SuppressionService"
    there = {each.address for each in every(f"{service}.ListSuppressions", "suppressions")}
    bounced = [status for status in story.statuses if status.invalid and status.address not in there]
    requests = [
        {
            "suppression": Suppression(
                address=status.address,
                channel=Suppression.CHANNEL_EMAIL,
                reason=Suppression.REASON_BOUNCED,
                note=status.reason,
            )
        }
        for status in bounced
    ]
    if requests:
        call(f"{service}.BatchCreateSuppressions", requests=requests)


def _group(call: Call, every: Every, board: list[str]) -> None:
    service = "marketing.v1.SegmentService"
    names = {each.display_name: each.name for each in every(f"{service}.ListSegments", "segments")}
    for told in SEGMENTS:
        if told.display_name in names:
            continue
        segment = Segment()
        segment.CopyFrom(told)
        segment.exclude_segments[:] = [names[title] for title in told.exclude_segments]
        names[told.display_name] = call(f"{service}.CreateSegment", segment=segment).name
        if told.display_name == BOARD:
            call(f"{service}.AddSegmentMembers", name=names[BOARD], parties=board)
