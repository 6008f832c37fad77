"""What a saved view must be like, and who sees it."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from kontor_kit.errors import Violation


def check_visibility(visibility: str, team: str) -> list[Violation]:
    """Return what is wrong with a view that is `PRIVATE`, `TEAM` or `PUBLIC`."""
    if visibility == "TEAM" and not team:
        return [Violation("team", "is required where the visibility is TEAM")]
    return []


def is_visible(
    visibility: str,
    *,
    owner: uuid.UUID,
    team: uuid.UUID | None,
    user: uuid.UUID,
    teams: Collection[uuid.UUID],
) -> bool:
    """Whether a user who is in `teams` sees a view."""
    return owner == user or visibility == "PUBLIC" or (visibility == "TEAM" and team in teams)
