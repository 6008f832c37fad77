"""The job that does what is due for contracts as time passes; any number of processes offer to run it."""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Callable, Iterator
from typing import Final

import psycopg
import sqlalchemy as sa

from kontor_kit.db import Database, Statement
from kontor_kit.errors import KontorError
from kontor_kit.jobs import Periodic, Turn, every
from kontor_kit.tracing import start_span
from kontor_sales.contracts.api import Contracts

logger = logging.getLogger(__name__)

PERIOD_SECONDS: Final = 600.0
BATCH: Final = 200

_DUE: Final = tuple(
    Statement(
        sa.text(
            f"SELECT tenant_id, id FROM contracts WHERE delete_time IS NULL AND {due}"  # noqa: S608  # constants
            " AND (tenant_id, id) > (:tenant, :id) ORDER BY tenant_id, id LIMIT :size"
        ).bindparams(
            sa.bindparam("today", type_=sa.Date),
            sa.bindparam("tenant", type_=sa.Uuid),
            sa.bindparam("id", type_=sa.Uuid),
            sa.bindparam("size", BATCH, sa.Integer),
        )
    )
    # As in the indexes that serve them.
    for due in ("renewal_due_date <= :today", "state = 1 AND renewal = 3 AND end_date < :today")
)


def job(contracts: Contracts, today: Callable[[], dt.date]) -> Periodic:
    """Return the job; the database of `contracts` is as the app role."""

    @every(seconds=PERIOD_SECONDS)
    def renew_contracts(turn: Turn) -> None:
        day = today()
        for tenant, id in _find(turn.database, day):
            turn.renew()
            try:
                # What is due is said by the record once it is locked: the lease saves work, it does not decide.
                with contracts.shared.database.write(tenant) as tx:
                    contracts.pass_time(tx, start_span(), id, day)
            except (KontorError, psycopg.IntegrityError) as error:
                logger.warning("a contract waits", extra={"resource": f"contracts/{id}", "reason": str(error)})

    return renew_contracts


def _find(database: Database, today: dt.date) -> Iterator[tuple[uuid.UUID, uuid.UUID]]:
    for statement in _DUE:
        last = (uuid.UUID(int=0), uuid.UUID(int=0))
        while True:
            with database.read(None) as tx:
                rows = tx.run(statement, {"today": today, "tenant": last[0], "id": last[1]})
            yield from ((row[0], row[1]) for row in rows)
            if len(rows) < BATCH:
                break
            last = (rows[-1][0], rows[-1][1])
