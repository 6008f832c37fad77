"""The relay: tells the broker what is in the change log, in order, at least once.

Each round is one transaction that holds the row of `change_relay`; that lock is the lease, as with the sequencer. A batch
is published, then its confirms are awaited together, then the row says how far it has come. What was published by a
relay that died before that is published again, and falls away in the inboxes.

A relay that cannot go on from where the last one was (there was none, the changes are kept no longer, the database was
restored) begins a new run at the end of the log and says so to everybody, who then turn to the change stream for the rest.
"""

from __future__ import annotations

import datetime as dt
import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import psycopg
import sqlalchemy as sa
from amqp import Message as Body
from amqp.exceptions import AMQPError
from kombu import Connection
from kombu.exceptions import KombuError
from prometheus_client import Gauge
from psycopg_pool import PoolTimeout

from kontor_kit.amqp.broker import CHANGES
from kontor_kit.amqp.envelope import CONTENT_TYPE, Message, encode
from kontor_kit.changes.waking import Waker
from kontor_kit.db import Database, Row, Statement, Transaction
from kontor_kit.inbox.events import Event, traceparent
from kontor_kit.inbox.sources import relay_started

logger = logging.getLogger(__name__)

BATCH: Final = 500
_CONFIRM_SECONDS: Final = 10.0
"""Shorter than the server's patience with a transaction that says nothing."""
_POLL_SECONDS: Final = 1.0
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0
_COLUMNS: Final = (
    "position",
    "tenant_id",
    "event_id",
    "resource_name",
    "version",
    "event_type",
    "after",
    "trace_id",
    "change_time",
    "subject",
)

Seal = Callable[[tuple[int, int]], str]
"""Makes the token of a position from the log's incarnation and the place in it."""


class Relay:
    """Relays the log of one service, as its system role."""

    def __init__(
        self,
        metadata: sa.MetaData,
        database: Database,
        *,
        service: str,
        connect: Callable[[], Connection],
        seal: Seal,
        waker: Waker,
        lag: Gauge | None = None,
    ) -> None:
        """`lag` is told how old the oldest change is that was not relayed, in seconds."""
        self._database = database
        self._service = service
        self._connect = connect
        self._seal = seal
        self._waker = waker
        self._lag = lag
        self._sql = _Sql(metadata)

    def run(self, stopping: threading.Event) -> None:
        """Relay until `stopping`; a broker or a database that is away is waited for."""
        pause = _FIRST_PAUSE
        while not stopping.is_set():
            try:
                with self._connect() as connection:
                    publisher = Publisher(connection)
                    while not stopping.is_set():
                        self._round(publisher)
                        pause = _FIRST_PAUSE
            except (AMQPError, KombuError, OSError) as error:
                logger.warning("the relay waits for the broker", extra={"reason": str(error)})
            except (psycopg.OperationalError, PoolTimeout) as error:
                logger.warning("the relay waits for the database", extra={"reason": str(error)})
            self._measure()
            stopping.wait(pause * random.uniform(0.8, 1.2))  # noqa: S311  # jitter
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _round(self, publisher: Publisher) -> None:
        mark = self._waker.mark()
        if self._measure() and self.advance(publisher) == BATCH:
            return
        self._waker.wait(mark, _POLL_SECONDS)

    def advance(self, publisher: Publisher) -> int:
        """Relay one batch; return how many changes it had. 0 as well where another relay is at it."""
        with self._database.write(None) as tx:
            rows = tx.run(self._sql.lock)
            if not rows:
                return 0
            state = _State(*rows[0])
            if state.is_broken:
                state = self._begin(tx, publisher, state)
            changes = tx.run(self._sql.next, {"after": state.position, "size": BATCH})
            if changes:
                publisher.publish([self._message(state, row) for row in changes])
                self._move(tx, state._replace(position=changes[-1][0]))
        return len(changes)

    def _begin(self, tx: Transaction, publisher: Publisher, state: _State) -> _State:
        """Begin a new run, and say so."""
        position = state.end if state.position is None or not state.can_go_on else state.position
        run = uuid.uuid4().hex
        begun = state._replace(position=position, incarnation=state.now_incarnation, run=run)
        message = Message(self._service, None, self._seal((state.now_incarnation, position)), run)
        publisher.publish([(relay_started(self._service), encode(message))])
        self._move(tx, begun)
        logger.info("the relay begins a new run", extra={"position": position})
        return begun

    def _move(self, tx: Transaction, state: _State) -> None:
        given = ("position", "incarnation", "run")
        tx.defer(self._sql.move, {f"new_{name}": getattr(state, name) for name in given})

    def _message(self, state: _State, row: Row) -> tuple[str, bytes]:
        """Return the routing key and the body of a change."""
        position, tenant_id, event_id, name, version, event_type, after, trace_id, change_time, subject = row
        event = Event(
            id=event_id,
            tenant_id=tenant_id,
            type=event_type,
            resource_name=name,
            version=version,
            time=change_time,
            data=bytes(after or b""),
            traceparent=traceparent(trace_id, name, version, event_type),
            subject=subject,
        )
        token = self._seal((state.now_incarnation, position))
        return event_type, encode(Message(self._service, event, token, state.run or ""))

    def _measure(self) -> bool:
        """Tell the lag; return whether there is something to do."""
        try:
            with self._database.read(None) as tx:
                rows, first = tx.run_all([(self._sql.state, {}), (self._sql.first, {})])
        except (psycopg.OperationalError, PoolTimeout):
            return True  # Who does it says what is the matter.
        if self._lag is not None:
            self._lag.set((dt.datetime.now(dt.UTC) - first[0][0]).total_seconds() if first else 0.0)
        return bool(first) or _State(*rows[0]).is_broken


class _State(NamedTuple):
    """Where the relay and the log stand."""

    position: int | None
    incarnation: int | None
    run: str | None
    end: int
    """The log's last position."""
    now_incarnation: int
    dropped: int
    """The position of the last change that is kept no longer."""

    @property
    def can_go_on(self) -> bool:
        """Whether everything after the position is there."""
        return self.position is not None and self.dropped <= self.position <= self.end

    @property
    def is_broken(self) -> bool:
        """Whether a new run has to begin."""
        return not self.can_go_on or self.incarnation != self.now_incarnation


class _Sql:
    """The statements of a relay."""

    def __init__(self, metadata: sa.MetaData) -> None:
        relay, log = metadata.tables["change_relay"], metadata.tables["change_log"]
        state, seals = metadata.tables["change_log_state"], metadata.tables["change_log_seals"]
        dropped = sa.func.coalesce(sa.select(sa.func.max(seals.c.position)).scalar_subquery(), 0)
        columns: Sequence[sa.ColumnElement[Any]] = (relay.c.position, relay.c.incarnation, relay.c.run)
        whole = sa.select(*columns, state.c.position, state.c.incarnation, dropped).join_from(
            relay, state, sa.literal(True)
        )
        self.state = Statement(whole)
        self.lock = Statement(whole.with_for_update(skip_locked=True, of=relay))
        here = sa.select(relay.c.position).scalar_subquery()
        self.first = Statement(sa.select(log.c.log_time).where(log.c.position > here).order_by(log.c.position).limit(1))
        self.next = Statement(
            sa.select(*(log.c[name] for name in _COLUMNS))
            .where(log.c.position > sa.bindparam("after", type_=sa.BigInteger))
            .order_by(log.c.position)
            .limit(sa.bindparam("size", type_=sa.Integer))
        )
        names = ("position", "incarnation", "run")
        self.move = Statement(
            relay.update().values({name: sa.bindparam(f"new_{name}", type_=relay.c[name].type) for name in names})
        )


class Publisher:
    """Publishes batches and waits for their confirms: one round trip a batch, not one a message."""

    def __init__(self, connection: Connection) -> None:
        """Open a channel in confirm mode. Raises what kombu raises where the broker is away."""
        self._connection = connection
        self._channel = connection.channel()
        CHANGES(self._channel).declare()
        self._channel.confirm_select()
        self._channel.events["basic_ack"].add(self._on_ack)
        self._channel.events["basic_nack"].add(self._on_nack)
        self._sent = 0
        self._open: set[int] = set()
        self._refused = False

    def publish(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Publish bodies under their routing keys; return when the broker has them all. Raises OSError and AMQPError."""
        for routing_key, body in messages:
            message = Body(body, content_type=CONTENT_TYPE, delivery_mode=2)
            self._sent += 1
            self._open.add(self._sent)
            self._channel.basic_publish(message, exchange=CHANGES.name, routing_key=routing_key)
        until = time.monotonic() + _CONFIRM_SECONDS
        while self._open and not self._refused:
            try:
                self._connection.drain_events(timeout=max(until - time.monotonic(), 0.001))
            except TimeoutError as error:
                raise ConnectionError("the broker does not confirm") from error
        if self._refused:
            raise ConnectionError("the broker refused a message")

    def _on_ack(self, delivery_tag: int, multiple: bool) -> None:
        if multiple:
            self._open = {tag for tag in self._open if tag > delivery_tag}
        else:
            self._open.discard(delivery_tag)

    def _on_nack(self, delivery_tag: int, multiple: bool) -> None:
        self._refused = True
