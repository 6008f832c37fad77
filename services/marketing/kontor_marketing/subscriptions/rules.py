"""What may follow on what a party said to a topic."""

from __future__ import annotations

from typing import Any, Final

from kontor_kit.errors import Violation

UNSET: Final = 1
OPTED_IN: Final = 2
OPTED_OUT: Final = 3
"""As Subscription.State."""


def check_step(before: Any | None, after: Any) -> list[Violation]:
    """Return what is wrong with a subscription that follows on another one, or on none."""
    if before is None or before.state != OPTED_OUT or after.state == OPTED_OUT:
        return []
    if after.state == UNSET:
        return [Violation("state", "a no does not turn into nothing")]
    if not is_shown(after) or after.evidence == before.evidence:
        return [Violation("evidence", "is required anew where a no turns into a yes")]
    return []


def is_shown(subscription: Any) -> bool:
    """Tell whether anything shows what was said."""
    return bool(subscription.HasField("evidence") and subscription.evidence.ListFields())


def merge(before: Any, given: Any) -> None:
    """Write what is said now into what was said before, in place."""
    before.state = given.state
    before.source = given.source
    before.legal_basis = given.legal_basis
    before.ClearField("evidence")
    if is_shown(given):
        before.evidence.CopyFrom(given.evidence)
