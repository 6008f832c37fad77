"""The sequencer: moves committed changes into the log, one at a time per database.

Each round is one transaction that holds the row of `change_log_state`. That lock is the lease: a second sequencer skips
the round, one that hangs loses its transaction to the server's time-out (LEASE_SECONDS) and with it everything it meant
to write, so that there is no position twice and none left out.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import threading
import time
import uuid
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from prometheus_client import Gauge
from psycopg_pool import PoolTimeout
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, insert

from kontor_kit.changes.digests import BEGINNING, SALT_BYTES, chain, content_digest
from kontor_kit.db import Database, Row, Statement, Transaction
from kontor_kit.ids import uuid7

logger = logging.getLogger(__name__)

CHANNEL: Final = "change_log"
"""Whoever listens here is told the last position."""
BATCH: Final = 500
LEASE_SECONDS: Final = 5.0
"""So long the server waits for a sequencer that is in the middle of a batch and says nothing."""
_IDLE_SECONDS: Final = 0.005
_IDLE_LONGEST: Final = 0.05
_HOUSEKEEPING_SECONDS: Final = 3600.0

FACTS: Final = (
    "position",
    "tenant_id",
    "event_id",
    "resource_name",
    "version",
    "event_type",
    "subject",
    "actor",
    "client_id",
    "peer",
    "request_id",
    "trace_id",
    "change_time",
)
"""What the digest of a change covers beside its content, in this order."""


class Sequencer:
    """Moves the changes of one database, as its system role."""

    def __init__(
        self,
        metadata: sa.MetaData,
        database: Database,
        lag: Gauge | None = None,
        *,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        """`lag` is told how old the oldest change is that waits, in seconds."""
        pending, log = metadata.tables["change_pending"], metadata.tables["change_log"]
        state, heads = metadata.tables["change_log_state"], metadata.tables["change_log_heads"]
        self._database = database
        self._lag = lag
        self._lease = {"lease": f"{int(lease_seconds * 1000)}ms"}
        self._limit = Statement(sa.select(*_limits(sa.bindparam("lease", type_=sa.Text))))
        # Of the lowest number, which an index finds; the lowest time, hardly another one, would take all rows to find.
        self._oldest = Statement(sa.select(pending.c.create_time).order_by(pending.c.sequence).limit(1))
        self._lock = Statement(
            sa.select(
                state.c.position, state.c.incarnation, state.c.system_identifier, state.c.timeline, *_here()
            ).with_for_update(skip_locked=True)
        )
        self._names = [column.name for column in pending.c]
        first = sa.select(pending).order_by(pending.c.sequence).limit(BATCH).subquery()
        self._first = Statement(
            sa.select(*first.c, heads.c.digest)
            .outerjoin_from(first, heads, heads.c.tenant_id == first.c.tenant_id)
            .order_by(first.c.sequence)
        )
        self._append = Statement(_moving(pending, log))
        head = insert(heads).values(
            {name: sa.bindparam(name, type_=heads.c[name].type) for name in ("tenant_id", "position", "digest")}
        )
        self._move_head = Statement(
            head.on_conflict_do_update(
                index_elements=["tenant_id"], set_={"position": head.excluded.position, "digest": head.excluded.digest}
            )
        )
        self._move = Statement(
            state.update().values({name: sa.bindparam(f"new_{name}", type_=state.c[name].type) for name in _STATE})
        )
        self._notify = Statement(sa.select(sa.func.pg_notify(CHANNEL, sa.bindparam("text", type_=sa.Text))))
        self._prepare = Statement(sa.text("SELECT prepare_change_log()"))
        self._expire = Statement(
            sa.text("SELECT drop_change_log(now() - make_interval(days => :days))").bindparams(
                sa.bindparam("days", type_=sa.Integer)
            )
        )

    def run(self, stopping: threading.Event, *, keep_days: int = 400) -> None:
        """Work until `stopping`; whatever fails in the database is tried again."""
        pause, housekeeping = _IDLE_SECONDS, 0.0
        while not stopping.is_set():
            try:
                if time.monotonic() >= housekeeping:
                    self._keep_house(keep_days)
                    housekeeping = time.monotonic() + _HOUSEKEEPING_SECONDS
                moved = self.advance()
            except (psycopg.OperationalError, PoolTimeout) as error:
                logger.warning("the change log waits for the database", extra={"reason": str(error)})
                stopping.wait(1.0)
                continue
            pause = _IDLE_SECONDS if moved else min(pause * 1.5, _IDLE_LONGEST)
            if moved < BATCH:
                stopping.wait(pause)

    def advance(self) -> int:
        """Move one batch; return how many changes it had. 0 as well where another sequencer is at it."""
        with self._database.read(None) as tx:
            oldest = tx.run(self._oldest)
        if self._lag is not None:
            self._lag.set((dt.datetime.now(dt.UTC) - oldest[0][0]).total_seconds() if oldest else 0.0)
        if not oldest and self._is_settled:
            return 0
        with self._database.write(None) as tx:
            tx.defer(self._limit, self._lease)
            rows, changes = tx.run_all([(self._lock, {}), (self._first, {})])
            if not rows:
                return 0
            self._write(tx, _State.of(rows[0]), changes)
        self._is_settled = True
        return len(changes)

    _is_settled = False
    """Whether this process has seen which history of the database it works on."""

    def _write(self, tx: Transaction, state: _State, changes: list[Row]) -> None:
        entries: list[dict[str, Any]] = [dict(zip(self._names, row, strict=False)) for row in changes]
        heads: dict[uuid.UUID, bytes] = {
            entry["tenant_id"]: row[-1] for entry, row in zip(entries, changes, strict=True) if row[-1] is not None
        }
        for position, entry in enumerate(entries, state.position + 1):
            entry |= {"position": position, "event_id": uuid7(), "change_time": entry["create_time"]}
            self._seal(entry, heads)
        if entries:
            tx.defer(self._append, {name: [entry[name] for entry in entries] for name in _GIVEN})
        for head in {entry["tenant_id"]: entry for entry in entries}.values():
            tx.defer(self._move_head, {name: head[name] for name in ("tenant_id", "position", "digest")})
        if entries or state.is_new:
            position = state.position + len(entries)
            tx.defer(self._move, state.moved(position))
            tx.defer(self._notify, {"text": str(position)})

    @staticmethod
    def _seal(entry: dict[str, Any], heads: dict[uuid.UUID, bytes]) -> None:
        tenant = entry["tenant_id"]
        salt = os.urandom(SALT_BYTES)
        content = content_digest(salt, entry["before"], entry["after"])
        digest = chain(heads.get(tenant, BEGINNING), facts(entry), content)
        heads[tenant] = digest
        entry |= {"salt": salt, "content_digest": content, "digest": digest}

    def _keep_house(self, keep_days: int) -> None:
        with self._database.write(None) as tx:
            tx.defer(self._prepare)
            tx.defer(self._expire, {"days": keep_days})


def facts(entry: dict[str, Any]) -> list[Any]:
    """Return what the digest of a change covers beside its content; times in microseconds since 1970."""
    values = [entry[name] for name in FACTS]
    moment: dt.datetime = values[-1]
    values[-1] = (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    return values


_GIVEN: Final[dict[str, Any]] = {
    "sequence": sa.BigInteger,
    "position": sa.BigInteger,
    "event_id": sa.Uuid,
    "salt": BYTEA,
    "content_digest": BYTEA,
    "digest": BYTEA,
}
"""What the sequencer adds to a change, beside the number that it waits under."""


def _moving(pending: sa.Table, log: sa.Table) -> sa.Insert:
    """The statement that moves changes into the log; it is given lists. What they hold does not leave the server."""
    lists = [sa.bindparam(name, type_=ARRAY(kind)) for name, kind in _GIVEN.items()]
    columns = [sa.column(name, kind) for name, kind in _GIVEN.items()]
    given = sa.func.unnest(*lists).table_valued(*columns).render_derived(name="given")
    taken = (
        pending.delete()
        .where(pending.c.sequence == given.c.sequence)
        .returning(*pending.c, *(given.c[name] for name in _GIVEN if name != "sequence"))
        .cte("taken")
    )
    here: dict[str, Any] = {"log_time": sa.func.now(), "change_time": taken.c.create_time}
    values = [here[column.name] if column.name in here else taken.c[column.name] for column in log.c]
    return log.insert().from_select(list(log.c), sa.select(*values).order_by(taken.c.position))


def _limits(lease: sa.BindParameter[str]) -> list[sa.ColumnElement[Any]]:
    """What makes the server give up a transaction whose client is silent, or, from PostgreSQL 17 on, slow in sending."""
    silent, whole = (
        sa.func.set_config(name, lease, True) for name in ("idle_in_transaction_session_timeout", "transaction_timeout")
    )
    version = sa.cast(sa.func.current_setting("server_version_num"), sa.Integer)
    return [silent, sa.case((version >= 170000, whole))]


_STATE: Final = ("position", "incarnation", "system_identifier", "timeline")


def _here() -> list[sa.ColumnElement[Any]]:
    """What this server says of itself: the cluster, and which of its histories it continues."""
    return [
        sa.cast(sa.literal_column("(SELECT system_identifier FROM pg_control_system())"), sa.Text),
        sa.cast(
            sa.literal_column("('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint"),
            sa.BigInteger,
        ),
    ]


class _State:
    """Where the log stands.

    A cluster that goes on in another timeline was restored to a point in time, or lost its primary: what readers have
    seen may never have happened, so that the log gets another incarnation. Another cluster was filled from a dump; it
    has what the dump has, positions included.
    """

    def __init__(self, position: int, incarnation: int, here: tuple[str, int], *, is_new: bool) -> None:
        self.position = position
        self.incarnation = incarnation
        self.is_new = is_new
        self._here = here

    @classmethod
    def of(cls, row: Row) -> _State:
        position, incarnation, cluster, timeline, this_cluster, this_timeline = row
        is_new = (cluster, timeline) != (this_cluster, this_timeline)
        branched = cluster == this_cluster and timeline != this_timeline
        return cls(position, incarnation + branched, (this_cluster, this_timeline), is_new=is_new)

    def moved(self, position: int) -> dict[str, Any]:
        values = (position, self.incarnation, *self._here)
        return {f"new_{name}": value for name, value in zip(_STATE, values, strict=True)}
