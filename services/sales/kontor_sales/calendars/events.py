"""What happens to calendars when something happens elsewhere."""

from __future__ import annotations

from typing import Any

from kontor.identity.v1 import user_pb2
from kontor_kit.inbox.events import SNAPSHOT, Event, Handlers
from kontor_kit.inbox.handling import Work


def declare(handlers: Handlers) -> None:
    """Declare the handlers of calendars."""
    handlers.on("kontor.identity.v1.user.deactivated", f"kontor.identity.v1.user.{SNAPSHOT}")(end_keys)


def end_keys(event: Event, work: Work) -> None:
    """Whoever is shut out reads no calendar any more."""
    user: Any = event.record(user_pb2.User())
    if user.state == user.STATE_DEACTIVATED:
        work.service["calendarFeeds"].revoke_all(work.tx, work.trace, event.resource_name)
