"""What `work` looks at every now and then to tell it as metrics: turns that nobody takes, records that nobody deals with.

Every process looks, whoever has the leases: a number that was told by one which works no longer would stand for ever.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Sequence
from typing import Final

import psycopg
import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Gauge
from psycopg_pool import PoolTimeout
from sqlalchemy.dialects.postgresql import ARRAY

from kontor_kit.db import Database, Statement
from kontor_kit.due import Due
from kontor_kit.jobs import TURNS, Job
from kontor_kit.tables import KEY_TEXT

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 10.0

_OVERDUE: Final = Statement(
    sa.text(
        "SELECT name, greatest(extract(epoch FROM clock_timestamp() - expire_time), 0)::float8 FROM leases"
        " WHERE name = ANY (:names)"
    ).bindparams(sa.bindparam("names", type_=ARRAY(KEY_TEXT)))
)


def looking(look: Callable[[], object]) -> Job:
    """Return the job that calls `look` every LOOK_SECONDS, and bears that the database is away."""

    def run(stopping: threading.Event) -> None:
        while not stopping.is_set():
            try:
                look()
            except (psycopg.OperationalError, PoolTimeout) as error:
                logger.warning("what is measured waits for the database", extra={"reason": str(error)})
            stopping.wait(LOOK_SECONDS)

    return run


def watch_jobs(
    registry: CollectorRegistry, database: Database, names: Collection[str], due: Sequence[Due]
) -> tuple[str, Job]:
    """Return the job that tells of periodic jobs, by their names; `database` works as the system role."""
    overdue = Gauge("kontor_job_overdue_seconds", "How long nobody took a turn.", ("task",), registry=registry)
    late = Gauge("kontor_due_late", "1 while a record is due for over an hour.", ("task",), registry=registry)
    registry.register(TURNS)

    def look() -> None:
        with database.read(None) as tx:
            for name, seconds in tx.run(_OVERDUE, {"names": list(names)}):
                overdue.labels(name).set(seconds)
        for each in due:
            late.labels(each.name).set(each.is_late(database))

    return "watch-jobs", looking(look)
