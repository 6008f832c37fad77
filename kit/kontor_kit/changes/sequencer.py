"""The sequencer: moves committed changes into the log, one at a time per database.

Each round is one transaction that holds the row of `change_log_state`. That lock is the lease: a second sequencer skips
the round, one that hangs loses its transaction to the server's time-out and with it everything it meant to write, so
that there is no position twice and none left out.
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
from sqlalchemy.dialects.postgresql import ARRAY, insert

from kontor_kit.changes.digests import BEGINNING, SALT_BYTES, chain, content_digest
from kontor_kit.db import Database, Row, Statement, Transaction
from kontor_kit.ids import uuid7

logger = logging.getLogger(__name__)

CHANNEL: Final = "change_log"
"""Whoever listens here is told the last position."""
BATCH: Final = 500
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

    def __init__(self, metadata: sa.MetaData, database: Database, lag: Gauge | None = None) -> None:
        """`lag` is told how old the oldest change is that waits, in seconds."""
        pending, log = metadata.tables["change_pending"], metadata.tables["change_log"]
        state, heads = metadata.tables["change_log_state"], metadata.tables["change_log_heads"]
        self._database = database
        self._lag = lag
        self._oldest = Statement(sa.select(sa.func.min(pending.c.create_time)))
        self._lock = Statement(
            sa.select(
                state.c.position, state.c.incarnation, state.c.system_identifier, state.c.timeline, *_here()
            ).with_for_update(skip_locked=True)
        )
        first = sa.select(pending.c.sequence).order_by(pending.c.sequence).limit(BATCH)
        self._taken = [column for column in pending.c if column.name != "sequence"]
        self._take = Statement(
            pending.delete().where(pending.c.sequence.in_(first)).returning(pending.c.sequence, *self._taken)
        )
        tenants = sa.bindparam("tenants", type_=ARRAY(sa.Uuid))
        self._heads = Statement(
            sa.select(heads.c.tenant_id, heads.c.digest).where(heads.c.tenant_id == sa.any_(tenants))
        )
        self._append = Statement(
            log.insert().values({column.name: sa.bindparam(column.name, type_=column.type) for column in log.c})
        )
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
            [(oldest,)] = tx.run(self._oldest)
        if self._lag is not None:
            self._lag.set((dt.datetime.now(dt.UTC) - oldest).total_seconds() if oldest is not None else 0.0)
        if oldest is None and self._is_settled:
            return 0
        with self._database.write(None) as tx:
            rows = tx.run(self._lock)
            if not rows:
                return 0
            state = _State.of(rows[0])
            changes = sorted(tx.run(self._take))
            self._write(tx, state, changes)
        self._is_settled = True
        return len(changes)

    _is_settled = False
    """Whether this process has seen which history of the database it works on."""

    def _write(self, tx: Transaction, state: _State, changes: list[Row]) -> None:
        names = [column.name for column in self._taken]
        entries: list[dict[str, Any]] = [dict(zip(names, row[1:], strict=True)) for row in changes]
        tenants = {entry["tenant_id"] for entry in entries}
        heads: dict[uuid.UUID, bytes] = dict(tx.run(self._heads, {"tenants": list(tenants)})) if tenants else {}
        now = dt.datetime.now(dt.UTC)
        moved: dict[uuid.UUID, dict[str, Any]] = {}
        position = state.position
        for entry in entries:
            position += 1
            entry |= {
                "position": position,
                "log_time": now,
                "event_id": uuid7(),
                "change_time": entry.pop("create_time"),
            }
            self._seal(entry, heads)
            moved[entry["tenant_id"]] = {name: entry[name] for name in ("tenant_id", "position", "digest")}
            tx.defer(self._append, entry)
        for head in moved.values():
            tx.defer(self._move_head, head)
        if entries or state.is_new:
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
