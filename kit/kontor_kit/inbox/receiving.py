"""Receiving: events go into the inbox in one transaction with the position they came from; repeats fall away there."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from kontor_kit.db import Database, Statement, Transaction
from kontor_kit.inbox.events import Event, Handlers
from kontor_kit.inbox.schema import WAITING
from kontor_kit.inbox.sources import Sources


class Inbox:
    """The inbox of one service, as its system role fills it."""

    def __init__(self, metadata: sa.MetaData, database: Database, handlers: Handlers) -> None:
        self._database = database
        self._handlers = handlers
        self.sources = Sources(metadata, database, handlers)
        inbox = metadata.tables["inbox"]
        given = [
            column
            for column in inbox.c
            if column.name not in ("receive_time", "done_time", "error", "state", "attempts")
        ]
        values: dict[str, Any] = {column.name: sa.bindparam(column.name, type_=column.type) for column in given}
        self._insert = Statement(insert(inbox).values(**values, state=WAITING, attempts=0).on_conflict_do_nothing())

    def receive(self, events: Iterable[Event], *, source: str = "", position: str = "") -> None:
        """Put events into the inbox, and remember how far their source was followed, all or nothing."""
        with self._database.write(None) as tx:
            for event in events:
                self.put(tx, event)
            if position:
                self.sources.move(tx, source, position)

    def receive_for(self, names: Collection[str], events: Iterable[Event]) -> None:
        """Put events into the inbox for the handlers of these names only."""
        with self._database.write(None) as tx:
            for event in events:
                self.put(tx, event, names)

    def put(self, tx: Transaction, event: Event, names: Collection[str] | None = None) -> None:
        """Put one event into the inbox, for all who want it or those of them in `names`."""
        for handler in self._handlers.wanting(event.type):
            if names is not None and handler.name not in names:
                continue
            tx.defer(
                self._insert,
                {
                    "handler": handler.name,
                    "event_id": event.id,
                    "tenant_id": event.tenant_id,
                    "event_type": event.type,
                    "resource_name": event.resource_name,
                    "version": event.version,
                    "event_time": event.time,
                    "data": event.data,
                    "traceparent": event.traceparent or None,
                    "subject": event.subject or None,
                    "due_time": dt.datetime.now(dt.UTC),
                },
            )
