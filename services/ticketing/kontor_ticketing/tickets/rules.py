"""What a ticket must be like, where it can go, how soon it is to be dealt with, and whether it opens again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any, Final

from kontor_kit import normal_forms
from kontor_kit.errors import Violation
from kontor_ticketing.ticket_states.rules import CLOSED, LIVE, NEW, OPEN, PENDING, SOLVED

TYPE_QUESTION: Final = 1
"""As Ticket.Type."""
MEDIUM: Final = 2
"""As TicketLevel."""

BUILT_IN: Final = {
    (1, 1): 1, (1, 2): 1, (1, 3): 2,
    (2, 1): 1, (2, 2): 2, (2, 3): 3,
    (3, 1): 2, (3, 2): 3, (3, 3): 4,
}  # fmt: skip
"""The priority for impact and urgency where the tenant says nothing."""


def normalise(ticket: Any) -> list[Violation]:
    """Bring a ticket into its normal form, in place, and return what is wrong with it."""
    violations = [] if ticket.subject.strip() else [Violation("subject", "must not be blank")]
    violations += normal_forms.normalise_field(ticket, "language_code", normal_forms.language)
    ticket.type = ticket.type or TYPE_QUESTION
    ticket.impact = ticket.impact or MEDIUM
    ticket.urgency = ticket.urgency or MEDIUM
    return violations


def priority(cells: Iterable[Any], impact: int, urgency: int) -> int:
    """Return the priority by a tenant's own cells, or by the built-in matrix where they do not say it."""
    own = {(cell.impact, cell.urgency): cell.priority for cell in cells}
    return own.get((impact, urgency)) or BUILT_IN[impact, urgency]


def enter(ticket: Any, category: int, now: dt.datetime) -> None:
    """Let a ticket come into a category, in place: a new span begins, and the times that follow are written."""
    before = ticket.category_spans[-1].category if ticket.category_spans else 0
    if before == category:
        return
    # Clocks of servers differ a little: a span never begins before the one that it ends.
    last = ticket.category_spans[-1].start_time.ToDatetime(dt.UTC) if before else now
    moment = max(last, now)
    ticket.category = category
    ticket.category_spans.add(category=category).start_time.FromDatetime(moment)
    ticket.ClearField("closed_time")
    if category in LIVE:
        ticket.ClearField("solved_time")
        ticket.reopen_count += before not in (0, *LIVE)
    elif category == SOLVED:
        ticket.solved_time.FromDatetime(moment)
    else:
        ticket.closed_time.FromDatetime(moment)


def after_entry(category: int, *, from_requester: bool, public: bool) -> int:
    """Return the category that an entry leads a ticket to: its own where it stays, if it may leave it."""
    if from_requester:
        return OPEN if category in (PENDING, SOLVED, CLOSED) else category
    return OPEN if public and category == NEW else category


GOES_ON: Final = (
    "subject", "description", "type", "impact", "urgency", "requester", "account", "products", "queue", "team",
    "channel", "language_code", "tags", "custom_fields",
)  # fmt: skip
"""What a new ticket takes over from the one before."""


def follow_up(ticket: Any) -> Any:
    """Return a new ticket that takes the place of one that does not open again."""
    following = type(ticket)()
    following.CopyFrom(ticket)
    for field in ticket.DESCRIPTOR.fields:
        if field.name not in GOES_ON:
            following.ClearField(field.name)
    if not ticket.queue:
        following.owner = ticket.owner
    following.previous_ticket = ticket.name
    return following


def belong_together(ticket: Any, other: Any) -> bool:
    """Tell whether two tickets are of the same account, or of the same requester where no account is known."""
    if ticket.account or other.account:
        return bool(ticket.account == other.account)
    return bool(ticket.requester and ticket.requester == other.requester)


def event(before: Any, after: Any) -> str:
    """Return what happened to a ticket between two versions of it, as the last part of an event's type."""
    if before.category != after.category and after.category in (SOLVED, CLOSED):
        return "solved" if after.category == SOLVED else "closed"
    if after.reopen_count != before.reopen_count:
        return "reopened"
    if after.HasField("first_answer_time") and not before.HasField("first_answer_time"):
        return "answered"
    if after.priority != before.priority:
        return "priority_changed"
    if after.owner != before.owner and after.owner:
        return "assigned"
    return "updated"
