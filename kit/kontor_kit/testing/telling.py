"""Tells a service that something happened in another one, and has its handlers run at once."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kontor_kit.db import Database
from kontor_kit.ids import uuid7
from kontor_kit.inbox.events import Event
from kontor_kit.inbox.handling import Worker
from kontor_kit.inbox.receiving import Inbox
from kontor_kit.service import Service
from kontor_kit.testing.running import Running


class Teller:
    """Puts events into the inbox of a running service, and handles them."""

    def __init__(self, running: Running, inbox: Inbox, worker: Worker) -> None:
        self._running, self._inbox, self._worker = running, inbox, worker

    def __call__(self, tenant: uuid.UUID, event_type: str, record: Any, version: int = 2, **more: Any) -> None:
        """Tell of one event, with `more` of its fields; raises AssertionError with what went wrong in a handler."""
        fields = {"time": dt.datetime.now(dt.UTC), "data": record.SerializeToString(), **more}
        event = Event(uuid7(), tenant, event_type, record.name, version, **fields)
        self._inbox.receive([event])
        while self._worker.work_once():
            pass
        with self._running.database.connect() as connection:
            errors = connection.execute("SELECT error FROM inbox WHERE error IS NOT NULL").fetchall()
        if errors:
            raise AssertionError(errors)


@contextmanager
def teller(running: Running, service: Service) -> Iterator[Teller]:
    """Yield what tells the running `service` of events."""
    system = Database(running.database.url("system"), pool_size=2)
    system.open()
    handlers = service.handlers
    if handlers is None:
        raise ValueError(f"{service.name} has no handlers")
    inbox = Inbox(service.metadata, system, handlers)
    worker = Worker(
        service.metadata,
        handlers,
        system=system,
        database=running.runtime.database,
        service=service.use(running.runtime),
    )
    try:
        yield Teller(running, inbox, worker)
    finally:
        system.close()
