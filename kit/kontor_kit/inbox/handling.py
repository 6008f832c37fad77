"""Handling: each event once for each handler, the lowest version of a record first, effect and mark in one transaction.

Any number of workers can run. A worker finds a row that is due and that no earlier version of its record stands before,
locks it, runs the handler in the tenant's transaction, and marks it done there. A handler that raises is called again,
later and later; after ATTEMPTS times the event is dead, with its error, and the record's next event has its turn.
"""

from __future__ import annotations

import datetime as dt
import logging
import random
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Counter, Gauge
from psycopg_pool import PoolTimeout

from kontor_kit.db import Database, Row, Statement, Transaction
from kontor_kit.errors import Unavailable
from kontor_kit.inbox.events import Event, Handler, Handlers
from kontor_kit.inbox.schema import DEAD, DISCARDED, DONE, EVENT_COLUMNS, WAITING, is_in
from kontor_kit.tables import KEY_TEXT
from kontor_kit.tracing import Attributes, SpanKind, Trace, start_span, within

logger = logging.getLogger(__name__)

ATTEMPTS: Final = 8
FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 300.0
_IDLE_SECONDS: Final = 0.005
_IDLE_LONGEST: Final = 0.05
_MEASURE_SECONDS: Final = 5.0
_KEPT_DAYS: Final = 30
_HOUSEKEEPING_SECONDS: Final = 3600.0
_BATCH: Final = 50


@dataclass(frozen=True, slots=True)
class Work:
    """What a handler works with."""

    tx: Transaction
    """The transaction that marks the event as done, in the event's tenant."""
    trace: Trace
    """The trace that the event belongs to, continued."""
    service: Any
    """What the service hands to its handlers."""


class Worker:
    """Runs the handlers of one service.

    `system` finds what is due over all tenants, `database` does the work as the app role, held to one of them.
    """

    def __init__(
        self,
        metadata: sa.MetaData,
        handlers: Handlers,
        *,
        system: Database,
        database: Database,
        service: Any = None,
        registry: CollectorRegistry | None = None,
        first_pause: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        self._handlers = handlers
        self._system = system
        self._database = database
        self._service = service
        self._first_pause = first_pause
        self._measures = _Measures(registry or CollectorRegistry(), handlers)
        self._sql = _Sql(metadata.tables["inbox"])

    def run(self, stopping: threading.Event) -> None:
        """Work until `stopping`. What was begun is finished, what was not is done later."""
        measured = cleaned = 0.0
        pause = _IDLE_SECONDS
        while not stopping.is_set():
            now = dt.datetime.now(dt.UTC).timestamp()
            try:
                if now - measured >= _MEASURE_SECONDS:
                    self._tell_measures()
                    measured = now
                if now - cleaned >= _HOUSEKEEPING_SECONDS:
                    with self._system.write(None) as tx:
                        tx.defer(self._sql.purge)
                    cleaned = now
                handled = self.work_once(stopping)
            except (psycopg.OperationalError, PoolTimeout) as error:
                logger.warning("the inbox waits for the database", extra={"reason": str(error)})
                stopping.wait(1.0)
                continue
            pause = _IDLE_SECONDS if handled else min(pause * 1.5, _IDLE_LONGEST)
            if not handled:
                stopping.wait(pause)

    def work_once(self, stopping: threading.Event | None = None) -> int:
        """Handle what is due, up to a batch; return how many events were handled or failed."""
        with self._system.read(None) as tx:
            due = tx.run(self._sql.due, {"size": _BATCH})
        # In any order, for several workers see the same rows: each of a record of its own, as no other is due.
        random.shuffle(due)
        count = 0
        for name, event_id, tenant_id in due:
            if stopping is not None and stopping.is_set():
                break
            handler = self._handlers.named(name)
            count += self._handle(handler, name, event_id, tenant_id)
        return count

    def _handle(self, handler: Handler | None, name: str, event_id: Any, tenant_id: Any) -> bool:
        key = {"handler": name, "event": event_id}
        attempts = 0
        try:
            # The span ends after the transaction, so that it has the commit in it.
            with ExitStack() as span, self._database.write(tenant_id) as tx:
                tx.defer(_WITHOUT_FLUSH)
                rows = tx.run(self._sql.lock, key)
                if not rows:
                    return False  # Another worker has it.
                attempts = rows[0][-1]
                if handler is None:
                    raise LookupError(f"nothing in this version handles it: {name}")
                event = _event(rows[0])
                trace = start_span(event.traceparent, is_decided=False)
                span.enter_context(within(trace, f"process {event.type}", SpanKind.CONSUMER, _said(event, name)))
                is_for_it = event.data or handler.redacted
                again = is_for_it and handler.handle(event, Work(tx, trace, self._service))
                if not again:
                    tx.defer(self._sql.done, key)
        except Exception as error:
            if _is_away(error):
                raise
            self._fail(key, attempts, error, name)
            return True
        self._measures.handled.labels(name, "again" if again else "done").inc()
        return True

    def _fail(self, key: dict[str, Any], attempts: int, error: Exception, name: str) -> None:
        before = attempts
        # What a part that is away costs is no attempt: it would make an hour's outage a heap of dead events.
        attempts += not isinstance(error, Unavailable)
        dead = attempts >= ATTEMPTS
        pause = min(self._first_pause * 2 ** max(attempts - 1, 0), LONGEST_PAUSE_SECONDS) * random.uniform(0.8, 1.2)  # noqa: S311  # jitter
        due = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=pause)
        text = f"{type(error).__name__}: {error}".replace("\0", "")[:2000]
        with self._system.write(None) as tx:
            state = DEAD if dead else WAITING
            values = {"new_state": state, "new_attempts": attempts, "new_due_time": due, "new_error": text}
            tx.defer(self._sql.failed, {**key, **values, "before": before})
        self._measures.handled.labels(name, "dead" if dead else "failed").inc()
        log = logger.error if dead else logger.warning
        log(
            "an event is dead" if dead else "an event could not be handled",
            exc_info=error if dead else None,
            extra={"handler": name, "event": str(key["event"]), "attempts": attempts, "reason": text},
        )

    def _tell_measures(self) -> None:
        with self._system.read(None) as tx:
            [(dead, oldest)] = tx.run(self._sql.measure)
        age = (dt.datetime.now(dt.UTC) - oldest).total_seconds() if oldest is not None else 0.0
        self._measures.dead.set(dead)
        self._measures.age.set(age)


# A crash that loses the effect loses the mark with it, and the event is handled again: nobody has to wait for the disk.
# Whoever commits after having seen the effect, the sequencer first of all, has it written to disk before.
_WITHOUT_FLUSH: Final = Statement(sa.select(sa.func.set_config("synchronous_commit", "off", True)))


class _Sql:
    """The statements of a worker."""

    def __init__(self, inbox: sa.Table) -> None:
        key = (
            inbox.c.handler == sa.bindparam("handler", type_=KEY_TEXT),
            inbox.c.event_id == sa.bindparam("event", type_=sa.Uuid),
        )
        self.due = Statement(
            sa.select(inbox.c.handler, inbox.c.event_id, inbox.c.tenant_id)
            .where(_is_due(inbox, inbox))
            .order_by(inbox.c.due_time)
            .limit(sa.bindparam("size", type_=sa.Integer))
        )
        # Found by its key, and looked at then: together the planner may prefer the index of all that is due.
        own = sa.select(inbox).where(*key).with_for_update(skip_locked=True).cte("own")
        columns = (own.c[name] for name in (*EVENT_COLUMNS, "attempts"))
        self.lock = Statement(sa.select(*columns).where(_is_due(inbox, own)))
        self.done = Statement(
            inbox.update().where(*key).values(state=DONE, done_time=sa.func.clock_timestamp(), error=None, data=b"")
        )
        changed = ("state", "attempts", "due_time", "error")
        self.failed = Statement(
            inbox.update()
            .where(*key, is_in(inbox, WAITING), inbox.c.attempts == sa.bindparam("before", type_=sa.Integer))
            .values({name: sa.bindparam(f"new_{name}", type_=inbox.c[name].type) for name in changed})
        )
        dead = sa.func.count().filter(is_in(inbox, DEAD))
        oldest = sa.func.min(inbox.c.receive_time).filter(is_in(inbox, WAITING))
        self.measure = Statement(sa.select(dead, oldest).where(is_in(inbox, WAITING, DEAD)))
        kept = sa.func.now() - sa.cast(f"{_KEPT_DAYS} days", sa.Interval)
        self.purge = Statement(inbox.delete().where(is_in(inbox, DONE, DISCARDED), inbox.c.done_time < kept))


def _is_due(inbox: sa.Table, row: sa.FromClause) -> sa.ColumnElement[bool]:
    """The condition that a row of the inbox is to be handled now: nothing earlier of its record waits."""
    earlier = inbox.alias("earlier")
    before: sa.Select[Any] = sa.select(sa.literal_column("1")).where(
        earlier.c.handler == row.c.handler,
        earlier.c.tenant_id == row.c.tenant_id,
        earlier.c.resource_name == row.c.resource_name,
        sa.tuple_(earlier.c.version, earlier.c.event_id) < sa.tuple_(row.c.version, row.c.event_id),
        is_in(earlier, WAITING),
    )
    # With an offset it is asked for each row in turn; without, the planner may join all that waits with all that waits.
    blocked = sa.exists(before.offset(0))
    return sa.and_(is_in(row, WAITING), row.c.due_time <= sa.func.now(), sa.not_(blocked))


class _Measures:
    """What is measured of an inbox."""

    def __init__(self, registry: CollectorRegistry, handlers: Handlers) -> None:
        labels = ("handler", "outcome")
        self.handled = Counter("kontor_inbox_handled", "Events by what became of them.", labels, registry=registry)
        for handler in handlers:
            for outcome in ("done", "again", "failed", "dead"):
                self.handled.labels(handler.name, outcome)  # From nought on: what begins with one never rises.
        self.dead = Gauge("kontor_inbox_dead", "Events that were given up.", registry=registry)
        self.age = Gauge("kontor_inbox_oldest_seconds", "Age of the oldest event not handled.", registry=registry)


def _said(event: Event, handler: str) -> Attributes:
    """What the span of a handled event says."""
    return {
        "messaging.system": "kontor",
        "messaging.operation.type": "process",
        "messaging.message.id": str(event.id),
        "messaging.consumer.group.name": handler,
    }


def _is_away(error: Exception) -> bool:
    """Tell whether it is the database that is away, which is no fault of the event's."""
    if isinstance(error, psycopg.OperationalError):
        # Without a state the connection was lost; 08 and 57P say so, 53 that the server has no room for more of them.
        return error.sqlstate is None or error.sqlstate.startswith(("08", "57P", "53"))
    return isinstance(error, PoolTimeout)


def _event(row: Row) -> Event:
    id, tenant_id, kind, name, version, time, data, traceparent, subject, _ = row
    return Event(id, tenant_id, kind, name, version, time, bytes(data), traceparent or "", subject or "")
