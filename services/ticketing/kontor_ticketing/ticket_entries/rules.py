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
