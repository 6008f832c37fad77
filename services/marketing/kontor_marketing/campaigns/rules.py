"""What a campaign must be like, and where it can go from where it stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from kontor_kit import normal_forms
from kontor_kit.errors import Violation

DRAFT: Final = 1
SCHEDULED: Final = 2
PREPARING: Final = 3
SENDING: Final = 4
SENT: Final = 5
PAUSED: Final = 6
CANCELLED: Final = 7
"""As Campaign.State."""

NEXT: Final = {
    DRAFT: {SCHEDULED, PREPARING},
    SCHEDULED: {PREPARING, PAUSED, CANCELLED},
    PREPARING: {SENDING, PAUSED, CANCELLED},
    SENDING: {SENT, PAUSED, CANCELLED},
    PAUSED: {CANCELLED},
    SENT: set(),
    CANCELLED: set(),
}
"""Where a campaign can go; a paused one also goes on as `after_pause` says, and never starts anew."""
RUNNING: Final = (SCHEDULED, PREPARING, SENDING, PAUSED)
"""What must end before the campaign can be deleted."""

REASONS: Final = {
    DRAFT: ("CAMPAIGN_DRAFT", "the campaign has not started"),
    SCHEDULED: ("CAMPAIGN_SCHEDULED", "the campaign waits for its time"),
    PREPARING: ("CAMPAIGN_PREPARING", "the campaign is being prepared"),
    SENDING: ("CAMPAIGN_SENDING", "the campaign is being sent"),
    SENT: ("CAMPAIGN_SENT", "the campaign was sent"),
    PAUSED: ("CAMPAIGN_PAUSED", "the campaign is paused"),
    CANCELLED: ("CAMPAIGN_CANCELLED", "the campaign was cancelled"),
}
"""Why something cannot be done with a campaign that stands somewhere."""

WORKFLOW: Final = (
    "state",
    "schedule_time",
    "template_revision",
    "pause_reason",
    "start_time",
    "prepare_time",
    "end_time",
    "delete_time",
)
"""What changes when a campaign goes its way; everything else is what it does."""
RESPONSIBILITY: Final = ("owner", "team", "tags")
"""What may change all the time."""


def can_go(state: int, wanted: int) -> bool:
    """Whether a campaign can go from a state to another one."""
    return wanted in NEXT.get(state, set())


def after_pause(campaign: Any) -> int:
    """Return where a paused campaign goes on."""
    if campaign.HasField("prepare_time"):
        return SENDING
    return PREPARING if campaign.HasField("start_time") else SCHEDULED


def does_the_same(before: Any, after: Any) -> bool:
    """Whether nothing differs but what may change once a campaign is under way."""
    copies = []
    for campaign in (before, after):
        copy = type(campaign)()
        copy.CopyFrom(campaign)
        for field in (*WORKFLOW, *RESPONSIBILITY):
            copy.ClearField(field)
        copies.append(copy)
    return bool(copies[0] == copies[1])


def normalise(campaign: Any) -> list[Violation]:
    """Bring a campaign into its normal form, in place, and return what is wrong with it."""
    violations: list[Violation] = []
    if not campaign.display_name.strip():
        violations.append(Violation("display_name", "must not be blank"))
    if not campaign.sender_name.strip() or not campaign.sender_name.isprintable():
        violations.append(Violation("sender_name", "must be printable, and not blank"))
    for field in ("sender_email", "reply_to_email"):
        violations += _address(campaign, field)
    for index, segment in enumerate(campaign.excluded_segments):
        if segment in campaign.segments:
            violations.append(Violation(f"excluded_segments[{index}]", "is one of the segments that it goes to"))
    return violations


def _address(campaign: Any, field: str) -> Iterator[Violation]:
    yield from normal_forms.normalise_field(campaign, field, normal_forms.email)
    if not getattr(campaign, field).rpartition("@")[0].isascii():
        yield Violation(field, "must have nothing but ASCII before the @: not every mail server takes it")
