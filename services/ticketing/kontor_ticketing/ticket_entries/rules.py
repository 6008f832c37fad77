"""What an entry must be like."""

from __future__ import annotations

from typing import Any, Final

from kontor_kit.errors import Violation

PUBLIC: Final = 1
INTERNAL: Final = 2
"""As TicketEntry.Visibility."""
FROM_REQUESTER: Final = 1
FROM_AGENT: Final = 2
"""As TicketEntry.Direction."""


def normalise(entry: Any) -> list[Violation]:
    """Bring an entry into its normal form, in place, and return what is wrong with it."""
    violations = [] if entry.body.strip() else [Violation("body", "must not be blank")]
    entry.direction = entry.direction or FROM_AGENT
    if entry.direction == FROM_REQUESTER and entry.visibility == INTERNAL:
        violations.append(Violation("visibility", "must be public where it is the requester's word"))
    if entry.direction == FROM_AGENT and entry.contact:
        violations.append(Violation("contact", "must be empty where it is the agent's word"))
    return violations


def unfit(entry: Any, attachment: Any | None) -> str:
    """Return why an attachment cannot come along with an entry; empty where it can. None is one that nobody finds."""
    if attachment is None or attachment.ticket != entry.ticket or attachment.HasField("delete_time"):
        return "is no attachment of the ticket"
    if entry.visibility == PUBLIC and attachment.visibility == INTERNAL:
        return "is internal, and the entry is public"
    return ""
