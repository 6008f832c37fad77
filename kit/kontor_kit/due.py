"""What is to be done for a record when its time has come: a deadline passes, an offer ends, a term begins anew.

    LAPSE = Due("lapse-offers", "offers", ["state = 1 AND end_time <= :now"], lambda service, *given: ...)

Records are found by the system role over all tenants, and each is dealt with as the app role, in a transaction of its
own that is held to its tenant. Any number of processes offer to do it: a lease saves work, and what is due is decided
by who holds the record's lock.
"""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import psycopg
import sqlalchemy as sa

from kontor_kit.db import Database, Statement, Transaction
from kontor_kit.errors import KontorError
from kontor_kit.jobs import Periodic, Turn, every
from kontor_kit.tracing import Trace, start_span, within

logger = logging.getLogger(__name__)

Do = Callable[[Any, Transaction, Trace, uuid.UUID, dt.datetime], object]
"""Given what `Service.use` made, a transaction of the record's tenant, the record's id and the time, does what is due.

It locks the record and looks again: somebody may have been faster.
"""

LATE_SECONDS: Final = 3600.0
_BATCH: Final = 200
_FIRST: Final = (uuid.UUID(int=0), uuid.UUID(int=0))


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Due:
    """Work of one kind that becomes due in the records of a table."""

    def __init__(
        self,
        name: str,
        table: str,
        conditions: Sequence[str],
        do: Do,
        *,
        seconds: float = 60.0,
        marks: bool = True,
        key: str = "id",
    ) -> None:
        """`conditions` are SQL, each as in an index that serves it, with `:now` for the time where it depends on that.

        `name` is unique. `marks` says whether what is deleted in `table` is only marked, and left out; `key` is the
        column that names a record within its tenant.
        """
        self.name = name
        self._do = do
        self._seconds = seconds
        self._statements = tuple(
            _find(table, key, f"delete_time IS NULL AND ({condition})" if marks else f"({condition})")
            for condition in conditions
        )

    def periodic(self, database: Database, service: Any, now: Callable[[], dt.datetime] = _now) -> Periodic:
        """Return the job that looks every so many seconds; `database` is as the app role, `service` what `do` is given."""

        def work(turn: Turn) -> None:
            at = now()
            for tenant, id in self._found(turn.database, at):
                turn.renew()
                trace = start_span()
                try:
                    with within(trace, f"due {self.name}"), database.write(tenant) as tx:
                        self._do(service, tx, trace, id, at)
                except (KontorError, psycopg.IntegrityError) as error:
                    # The rest is not kept waiting by it; it is tried again the next time.
                    logger.warning("a record waits", extra={"job": self.name, "id": str(id), "reason": str(error)})

        work.__name__ = self.name
        return every(seconds=self._seconds)(work)

    def is_late(self, database: Database, now: Callable[[], dt.datetime] = _now) -> bool:
        """Tell whether something is due for more than LATE_SECONDS; what does not depend on the time is left out."""
        values = {"now": now() - dt.timedelta(seconds=LATE_SECONDS), "tenant": _FIRST[0], "id": _FIRST[1], "size": 1}
        with database.read(None) as tx:
            return any(tx.run(statement, values) for statement in self._statements if "now" in statement.names)

    def _found(self, database: Database, now: dt.datetime) -> Iterator[tuple[uuid.UUID, uuid.UUID]]:
        for statement in self._statements:
            last = _FIRST
            while True:
                with database.read(None) as tx:
                    rows = tx.run(statement, {"now": now, "tenant": last[0], "id": last[1], "size": _BATCH})
                yield from ((row[0], row[1]) for row in rows)
                if len(rows) < _BATCH:
                    break
                last = (rows[-1][0], rows[-1][1])


def _find(table: str, key: str, condition: str) -> Statement:
    return Statement(
        sa.text(
            f"SELECT tenant_id, {key} FROM {table} WHERE {condition}"  # noqa: S608  # constants
            f" AND (tenant_id, {key}) > (:tenant, :id) ORDER BY tenant_id, {key} LIMIT :size"
        ).bindparams(
            *([sa.bindparam("now", type_=sa.DateTime(timezone=True))] if ":now" in condition else ()),
            sa.bindparam("tenant", type_=sa.Uuid),
            sa.bindparam("id", type_=sa.Uuid),
            sa.bindparam("size", type_=sa.Integer),
        )
    )
