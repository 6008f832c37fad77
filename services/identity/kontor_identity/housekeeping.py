"""What is done in the background: keys are rotated, and what has ended is cleared away."""

import datetime as dt
import logging
import threading
from collections.abc import Callable

import psycopg
import sqlalchemy as sa
from psycopg_pool import PoolTimeout

from kontor_identity.oauth.table import attempts, sessions
from kontor_kit.db import Database, Statement

logger = logging.getLogger(__name__)

_BEFORE = sa.bindparam("before", type_=sa.DateTime(timezone=True))
# What came of a session is deleted with it.
_CLEAR = (
    Statement(sessions.delete().where(sessions.c.expire_time < _BEFORE)),
    Statement(attempts.delete().where(attempts.c.end_time < _BEFORE)),
)


def repeating(work: Callable[[], object], interval: float) -> Callable[[threading.Event], None]:
    """Return a job that works every `interval` seconds, and goes on where the database is away for a while."""

    def run(stopping: threading.Event) -> None:
        while not stopping.is_set():
            try:
                work()
            except (psycopg.OperationalError, PoolTimeout) as error:
                logger.warning("the database is away", extra={"reason": str(error)})
            stopping.wait(interval)

    return run


def clear(database: Database, now: dt.datetime) -> None:
    """Delete what ended before `now`. Needs the system role."""
    with database.write(None) as tx:
        for statement in _CLEAR:
            tx.defer(statement, {"before": now})
