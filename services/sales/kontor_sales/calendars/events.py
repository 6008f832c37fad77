"""What happens to calendars when something happens elsewhere."""

from __future__ import annotations

from kontor.identity.v1 import user_pb2
from kontor_kit import handing_over
from kontor_kit.inbox.events import Event, Handlers
from kontor_kit.inbox.handling import Work


def declare(handlers: Handlers) -> None:
    """Declare the handlers of calendars."""
    handing_over.on_shut_out(handlers, user_pb2.User)(end_keys)


def end_keys(event: Event, work: Work) -> None:
    """Whoever is shut out reads no calendar any more."""
    if handing_over.is_shut_out(event, event.record(user_pb2.User())):
        work.service["calendarFeeds"].revoke_all(work.tx, work.trace, event.resource_name)
