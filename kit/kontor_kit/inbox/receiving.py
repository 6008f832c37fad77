"""Receiving: events go into the inbox in one transaction with the position they came from; repeats fall away there."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from kontor_kit.db import Database, Statement, Transaction
from kontor_kit.inbox.events import Event, Handlers
from kontor_kit.inbox.schema import WAITING
from kontor_kit.tables import KEY_TEXT


class Inbox:
    """The inbox of one service, as its system role fills it."""

    def __init__(self, metadata: sa.MetaData, database: Database, handlers: Handlers) -> None:
        self._database = database
        self._handlers = handlers
        inbox, positions = metadata.tables["inbox"], metadata.tables["inbox_positions"]
        given = [
            column
            for column in inbox.c
            if column.name not in ("receive_time", "done_time", "error", "state", "attempts")
        ]
        values: dict[str, Any] = {column.name: sa.bindparam(column.name, type_=column.type) for column in given}
        self._insert = Statement(insert(inbox).values(**values, state=WAITING, attempts=0).on_conflict_do_nothing())
        source = sa.bindparam("source", type_=KEY_TEXT)
        self._position = Statement(sa.select(positions.c.position).where(positions.c.source == source))
        move = insert(positions).values(source=source, position=sa.bindparam("position", type_=sa.Text))
        self._move = Statement(
            move.on_conflict_do_update(
                index_elements=["source"], set_={"position": move.excluded.position, "update_time": sa.func.now()}
            )
        )

    def position(self, source: str) -> str:
        """Return how far a source was followed; empty where it never was."""
        with self._database.read(None) as tx:
            rows = tx.run(self._position, {"source": source})
        return rows[0][0] if rows else ""

    def receive(self, events: Iterable[Event], *, source: str = "", position: str = "") -> None:
        """Put events into the inbox, and remember how far their source was followed, all or nothing."""
        with self._database.write(None) as tx:
            for event in events:
                self._put(tx, event)
            if position:
                tx.defer(self._move, {"source": source, "position": position})

    def _put(self, tx: Transaction, event: Event) -> None:
        for handler in self._handlers.wanting(event.type):
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
                    "due_time": dt.datetime.now(dt.UTC),
                },
            )
