"""The job that looks at scores again as time passes, any number of times side by side."""

from __future__ import annotations

import datetime as dt
import logging
import random
import threading
import uuid
from itertools import groupby
from typing import Final

import psycopg
import sqlalchemy as sa
from psycopg_pool import PoolTimeout

from kontor_kit.db import Database, Statement
from kontor_kit.tracing import start_span
from kontor_sales.leads.api import Leads

logger = logging.getLogger(__name__)

BATCH: Final = 100
PAUSE_SECONDS: Final = 10.0
_AGAIN: Final = dt.timedelta(minutes=5)
"""So long after it was taken a lead is taken again, where nobody finished with it."""

# Whoever takes some moves them ahead, so that others take other ones.
_TAKE: Final = Statement(
    sa.text(
        "WITH due AS MATERIALIZED (SELECT tenant_id, lead FROM lead_score_refreshes WHERE due_time <= now()"
        " ORDER BY due_time LIMIT :size FOR UPDATE SKIP LOCKED)"
        " UPDATE lead_score_refreshes r SET due_time = now() + :again FROM due"
        " WHERE r.tenant_id = due.tenant_id AND r.lead = due.lead RETURNING r.tenant_id, r.lead"
    ).bindparams(sa.bindparam("again", _AGAIN, sa.Interval), sa.bindparam("size", BATCH, sa.Integer))
)


class Refreshing:
    """Brings the scores up to now whose time has come. `system` finds them, the database of `leads` is held to a tenant."""

    def __init__(self, leads: Leads, system: Database) -> None:
        self._leads = leads
        self._system = system

    def run(self, stopping: threading.Event) -> None:
        """Work until `stopping`."""
        while not stopping.is_set():
            try:
                found = self.work_once()
            except (psycopg.OperationalError, PoolTimeout) as error:
                logger.warning("scores wait for the database", extra={"reason": str(error)})
                found = 0
            if not found:
                stopping.wait(PAUSE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311  # not in step with others

    def work_once(self) -> int:
        """Look at a batch of scores; return how many leads had their time come."""
        with self._system.write(None) as tx:
            rows: list[tuple[uuid.UUID, uuid.UUID]] = sorted((row[0], row[1]) for row in tx.run(_TAKE))
        for tenant, group in groupby(rows, key=lambda row: row[0]):
            with self._leads.shared.database.write(tenant) as tx:
                self._leads.rescore(tx, start_span(), [lead for _, lead in group])
        return len(rows)
