"""Periodic jobs: any number of processes offer to run one, a lease decides which of them does, and a fence holds it to it.

    @every(seconds=600)
    def forget_old_drafts(turn: Turn) -> None:
        with turn.write() as tx:
            tx.defer(_FORGET)

    jobs=lambda runtime: [forget_old_drafts.job(runtime.database)]

The lease is kept until the next turn is due, so that the period holds over all processes and their restarts. Who hangs
loses it: what it writes afterwards is refused, in the transaction that would have written it.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
import sqlalchemy as sa
from prometheus_client import Counter
from psycopg_pool import PoolTimeout

from kontor_kit.db import Database, Statement, Transaction

logger = logging.getLogger(__name__)

Job = Callable[[threading.Event], None]
"""Works until the event is set."""

TURNS: Final = Counter(
    "kontor_job_turns", "Turns of periodic jobs by what became of them.", ("task", "outcome"), registry=None
)
"""Those of this process; whoever serves metrics registers it."""

LEASE_SECONDS: Final = 30.0
_LONGEST_WAIT_SECONDS: Final = 5.0
"""So long it takes at most until another process sees that a lease has ended."""
_AFTER_FAILURE_SECONDS: Final = 60.0

# ON CONFLICT alone would wait for a transaction that holds the lease.
_ADD: Final = Statement(
    sa.text(
        "INSERT INTO leases (name, epoch, expire_time) SELECT :name, 0, 'epoch'"
        " WHERE NOT EXISTS (SELECT FROM leases WHERE name = :name) ON CONFLICT DO NOTHING"
    )
)
_TAKE: Final = Statement(
    sa.text(
        "WITH free AS MATERIALIZED (SELECT name FROM leases WHERE name = :name AND expire_time <= clock_timestamp()"
        " FOR UPDATE SKIP LOCKED)"
        " UPDATE leases l SET epoch = l.epoch + 1, holder = :holder,"
        " expire_time = clock_timestamp() + make_interval(secs => :seconds)"
        " FROM free WHERE l.name = free.name RETURNING l.epoch"
    )
)
_MOVE: Final = Statement(
    sa.text(
        "UPDATE leases SET expire_time = clock_timestamp() + make_interval(secs => :seconds)"
        " WHERE name = :name AND epoch = :epoch RETURNING epoch"
    )
)


def holder() -> str:
    """Return what this process is called in a lease, for people: `<host>/<process id>`."""
    return f"{socket.gethostname()}/{os.getpid()}"


class LeaseLost(Exception):
    """Somebody else does this work now; nothing of the transaction is kept."""


class Turn:
    """One run of a job, and the lease that it runs under."""

    def __init__(self, database: Database, name: str, epoch: int, seconds: float) -> None:
        self.database = database
        self.epoch = epoch
        """How often the lease was taken, this time included."""
        self._name = name
        self._seconds = seconds

    @contextmanager
    def write(self, tenant_id: uuid.UUID | None = None) -> Iterator[Transaction]:
        """Yield a fenced transaction of the job's database. Raises LeaseLost."""
        with self.database.write(tenant_id) as tx:
            self.fenced(tx)
            yield tx

    def fenced(self, tx: Transaction) -> None:
        """Hold the lease until `tx` ends, and prolong it. Raises LeaseLost where it has passed on."""
        self._move(tx, self._seconds)

    def renew(self) -> None:
        """Prolong the lease; for long stretches without a write. Raises LeaseLost."""
        with self.write():
            pass

    def end(self, seconds: float) -> None:
        """Leave the lease to whoever comes first after `seconds`. Raises LeaseLost."""
        with self.database.write(None) as tx:
            self._move(tx, seconds)

    def _move(self, tx: Transaction, seconds: float) -> None:
        if not tx.run(_MOVE, {"name": self._name, "epoch": self.epoch, "seconds": max(seconds, 0.0)}):
            raise LeaseLost(self._name)


def take(database: Database, name: str, seconds: float = LEASE_SECONDS) -> Turn | None:
    """Take the lease `name` for `seconds`; None where somebody else has it. `database` works as the system role."""
    with database.write(None) as tx:
        tx.defer(_ADD, {"name": name})
        rows = tx.run(_TAKE, {"name": name, "seconds": seconds, "holder": holder()})
    return Turn(database, name, rows[0][0], seconds) if rows else None


class Periodic:
    """A function that runs every so many seconds, in one process at a time."""

    def __init__(self, function: Callable[[Turn], object], seconds: float, lease_seconds: float) -> None:
        self._function = function
        self._seconds = seconds
        self._lease_seconds = lease_seconds
        self.name = function.__name__.replace("_", "-")

    def job(self, database: Database) -> tuple[str, Job]:
        """Return what `Service.jobs` takes; `database` works as the system role."""
        for outcome in ("done", "failed", "lost"):
            TURNS.labels(self.name, outcome)  # From nought on: what begins with one never rises.

        def run(stopping: threading.Event) -> None:
            while not stopping.is_set():
                try:
                    self.run_once(database)
                except (psycopg.OperationalError, PoolTimeout) as error:
                    logger.warning("a job waits for the database", extra={"job": self.name, "reason": str(error)})
                stopping.wait(min(self._seconds, _LONGEST_WAIT_SECONDS))

        return self.name, run

    def run_once(self, database: Database) -> bool:
        """Run the function where its turn has come and nobody else runs it; tell whether it ran, and kept its lease."""
        turn = take(database, self.name, self._lease_seconds)
        if turn is None:
            return False
        began, pause, outcome = time.monotonic(), self._seconds, "done"
        try:
            try:
                self._function(turn)
            except LeaseLost:
                raise
            except Exception:
                logger.exception("a job failed", extra={"job": self.name})
                pause, outcome = min(pause, _AFTER_FAILURE_SECONDS), "failed"
            turn.end(pause - (time.monotonic() - began))
        except LeaseLost:
            logger.warning("a job lost its lease", extra={"job": self.name})
            outcome = "lost"
        TURNS.labels(self.name, outcome).inc()
        return outcome != "lost"


def every(seconds: float, *, lease_seconds: float = LEASE_SECONDS) -> Callable[[Callable[[Turn], object]], Periodic]:
    """Declare a periodic job; it must write or renew more often than every `lease_seconds`."""

    def declare(function: Callable[[Turn], object]) -> Periodic:
        return Periodic(function, seconds, lease_seconds)

    return declare
