"""The log of a tenant that is restored: taken up behind and before what the log of the database has.

Positions are the database's own, and the chain of digests goes over them. So the archived chain is verified, and a new
one goes on from its last digest, under new positions. What followers have had for long lies before the beginning of the
log, at positions below zero, where nobody but who asks for the history of a record comes by. What they may not have had
is told to them behind its end, under the ids that it had: whoever had it knows it by its id. Positions that the tenant's
own subscribers hold are of another past; `change_log_heads.restore_position` has them begin with a snapshot.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from psycopg import sql

from kontor_kit.changes.digests import BEGINNING, chain, content_digest
from kontor_kit.changes.sequencer import CHANNEL, facts
from kontor_kit.errors import FailedPrecondition
from kontor_kit.tenants.archive import Manifest
from kontor_kit.tenants.exporting import Connection, names, one

TABLES: Final = ("change_log", "change_log_heads", "change_log_seals")
ASIDE: Final = "archived_"
SET_ASIDE: Final = {
    name: sql.SQL("CREATE TEMPORARY TABLE {} (LIKE {}) ON COMMIT DROP").format(
        sql.Identifier(ASIDE + name), sql.Identifier(name)
    )
    for name in TABLES
}
"""What makes the tables that the archived log is read from."""
TOLD_AGAIN: Final = dt.timedelta(days=7)
"""What was put into the log so long before the export is told again: no follower lags further behind, and inboxes know
what they had for longer."""
_BATCH: Final = 1000
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1


def take_up(connection: Connection, log: sa.Table, manifest: Manifest) -> None:
    """Put the archived log into the log. Raises FailedPrecondition (ARCHIVE_BROKEN) where its chain is not whole."""
    sealed = connection.execute(
        "SELECT digest FROM archived_change_log_seals ORDER BY position DESC LIMIT 1"
    ).fetchone() or (BEGINNING,)
    head = connection.execute("SELECT digest FROM archived_change_log_heads").fetchone() or (BEGINNING,)
    chains = _Chains(sealed[0], head[0])
    told = "SELECT COALESCE(min(position), %s) FROM archived_change_log WHERE log_time >= %s"
    [told_from] = one(connection, told, _HIGHEST, manifest.export_time - TOLD_AGAIN)
    begin = _lowest(connection) - 1
    [old] = one(connection, "SELECT count(*) FROM archived_change_log WHERE position < %s", told_from)
    begin -= old
    _move(connection, log, chains, _Stretch(_LOWEST, told_from, "log_time"), begin)
    # From here on no sequencer works, until this is committed.
    [end] = one(connection, "SELECT position FROM change_log_state FOR UPDATE")
    restored = end + 1
    # What is told again is kept as long as what is new, or its month would go with positions near the end of the log.
    end = _move(connection, log, chains, _Stretch(told_from, _HIGHEST, "now()"), restored)
    if chains.old != head[0]:
        raise FailedPrecondition("the chain of the archived log is broken", reason="ARCHIVE_BROKEN")
    last = end if end > restored else begin + old
    connection.execute(
        "INSERT INTO change_log_seals (tenant_id, position, digest) VALUES (%s, %s, %s)",
        [manifest.tenant_id, begin, head[0]],
    )
    connection.execute(
        "INSERT INTO change_log_heads (tenant_id, position, digest, restore_position) VALUES (%s, %s, %s, %s)",
        [manifest.tenant_id, last, chains.new, restored],
    )
    connection.execute("UPDATE change_log_state SET position = %s", [end])
    connection.execute("SELECT pg_notify(%s, %s)", [CHANNEL, str(end)])


def _lowest(connection: Connection) -> int:
    """Return a position below which nothing is, zero at most."""
    lowest = "LEAST(0, (SELECT min(position) FROM change_log), (SELECT min(position) FROM change_log_seals))"
    return int(one(connection, f"SELECT {lowest}")[0])


def _move(connection: Connection, log: sa.Table, chains: _Chains, stretch: _Stretch, position: int) -> int:
    """Put archived changes into the log, at the positions behind `position`; return the last position."""
    columns = [column.name for column in log.c]
    query = sql.SQL("COPY change_log ({}) FROM STDIN").format(names(columns))
    for batch in _batches(connection, columns, stretch):
        with connection.cursor().copy(query) as rows:
            for entry in batch:
                position += 1
                chains.renew(entry, position)
                rows.write_row([entry[name] for name in columns])
    return position


def _batches(connection: Connection, columns: list[str], stretch: _Stretch) -> Iterator[list[dict[str, Any]]]:
    values = [sql.SQL(stretch.log_time) if column == "log_time" else sql.Identifier(column) for column in columns]
    query = sql.SQL(
        "SELECT {} FROM archived_change_log WHERE position >= %s AND position < %s ORDER BY position"
    ).format(sql.SQL(", ").join(values))
    with connection.cursor("archived") as cursor:
        cursor.execute(query, (stretch.first, stretch.end))
        while rows := cursor.fetchmany(_BATCH):
            yield [dict(zip(columns, row, strict=True)) for row in rows]


class _Stretch(NamedTuple):
    """Archived changes by their positions: from `first` to below `end`."""

    first: int
    end: int
    log_time: str
    """When they count as put into the log, in SQL."""


class _Chains:
    """The chain as it was, and as it goes on."""

    def __init__(self, old: bytes, new: bytes) -> None:
        self.old, self.new = old, new

    def renew(self, entry: dict[str, Any], position: int) -> None:
        """Give an entry its new position and digest; its content must be what was digested."""
        content = entry["content_digest"]
        if entry["salt"] is not None and content != content_digest(entry["salt"], entry["before"], entry["after"]):
            raise FailedPrecondition(f"the change {entry['event_id']} is not what was written", reason="ARCHIVE_BROKEN")
        self.old = chain(self.old, facts(entry), content)
        entry["position"] = position
        self.new = entry["digest"] = chain(self.new, facts(entry), content)
