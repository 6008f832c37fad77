"""Sources: how far each service was followed, for which handlers, and whether something is still to be filled in.

A row belongs to a source and to a set of wishes (which handlers want which types), so that two versions of the code that
run at the same time do not move each other's positions. A position is moved only by who has everything before it: the
change stream, which tells all from the position on; and the broker, as long as nothing is to be filled in.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from kontor_kit.db import Database, Statement, Transaction
from kontor_kit.inbox.events import Handlers
from kontor_kit.tables import KEY_TEXT


class Source(NamedTuple):
    """Where one source stands."""

    position: str
    """To go on from; empty where a snapshot comes first."""
    missing: list[tuple[str, str]]
    """The handlers and types that were not told of the records as they are."""
    wanted: int
    filled: int

    @property
    def is_filled(self) -> bool:
        """Whether nothing before the position of the broker's messages can be missing."""
        return self.wanted == self.filled


class Sources:
    """The sources that `handlers` want something of, as the system role keeps them."""

    def __init__(self, metadata: sa.MetaData, database: Database, handlers: Handlers) -> None:
        self._database = database
        self._pairs = {source: handlers.pairs_of(source) for source in handlers.services()}
        self._sql = _Sql(metadata.tables["inbox_sources"])

    def state(self, source: str) -> Source:
        """Return where a source stands; a new set of wishes goes on from where another one stood."""
        with self._database.write(None) as tx:
            position, covered, wanted, filled = self._row(tx, source)
        return Source(position, [pair for pair in self._pairs[source] if _text(pair) not in covered], wanted, filled)

    def cover(self, source: str) -> None:
        """Note that all handlers were told of the records as they are."""
        with self._database.write(None) as tx:
            tx.run(self._sql.cover, {**self._key(source), "covered": self._texts(source)})

    def forget(self, source: str) -> None:
        """Begin with a snapshot the next time."""
        with self._database.write(None) as tx:
            tx.run(self._sql.move, {**self._key(source), "position": "", "covered": []})

    def fill(self, source: str, wanted: int) -> None:
        """Note that what was to be filled in when `wanted` was read is there."""
        with self._database.write(None) as tx:
            tx.run(self._sql.fill, {**self._key(source), "wanted": wanted})

    def move(self, tx: Transaction, source: str, position: str) -> None:
        """Note how far the change stream has told everything, snapshot included."""
        tx.defer(self._sql.move, {**self._key(source), "position": position, "covered": self._texts(source)})

    def silence(self) -> dict[str, float]:
        """Return for how long nothing came of each source that is followed, in seconds, signs of life included."""
        with self._database.read(None) as tx:
            found = tx.run_all([(self._sql.silence, self._key(source)) for source in self._pairs])
        return {source: rows[0][0] for source, rows in zip(self._pairs, found, strict=True) if rows}

    def want(self, tx: Transaction) -> None:
        """Have all sources followed from their positions up to now: something may have been missed."""
        for source in self._pairs:
            self._row(tx, source)
            tx.defer(self._sql.want, self._key(source))

    def tell(self, tx: Transaction, source: str, position: str, relay: str) -> None:
        """Note what came last from the broker; where it comes from another relay than before, something was missed."""
        if source in self._pairs:
            tx.defer(self._sql.tell, {**self._key(source), "new_position": position, "new_relay": relay})

    def _row(self, tx: Transaction, source: str) -> tuple[str, set[str], int, int]:
        key = self._key(source)
        rows = tx.run(self._sql.rows, {"source": source})
        own = next((row for row in rows if row[0] == key["wishes"]), None)
        if own is None:
            wishes = set(self._texts(source))
            # The newest that has heard all that is wished for here; of any other, what both wish for.
            whole = (row for row in rows if wishes <= set(row[2]))
            position, covered = next(((row[1], row[2]) for row in (*whole, *rows)), ("", []))
            covered = sorted(wishes & set(covered))
            tx.run(self._sql.add, {**key, "position": position, "covered": covered})
            own = (key["wishes"], position, covered, 0, 0)
        return own[1], set(own[2]), own[3], own[4]

    def _key(self, source: str) -> dict[str, str]:
        digest = hashlib.sha256("\n".join(self._texts(source)).encode()).hexdigest()
        return {"source": source, "wishes": digest[:32]}

    def _texts(self, source: str) -> list[str]:
        return [_text(pair) for pair in self._pairs[source]]


class _Sql:
    """The statements."""

    def __init__(self, table: sa.Table) -> None:
        columns = table.c
        source, wishes = (sa.bindparam(name, type_=KEY_TEXT) for name in ("source", "wishes"))
        position = sa.bindparam("new_position", type_=sa.Text)
        relay = sa.bindparam("new_relay", type_=KEY_TEXT)
        own = table.update().where(columns.source == source, columns.wishes == wishes)
        now = sa.func.now()
        self.rows = Statement(
            sa.select(columns.wishes, columns.position, columns.covered, columns.wanted, columns.filled)
            .where(columns.source == source)
            .order_by(columns.update_time.desc())
        )
        silence = sa.cast(sa.extract("epoch", sa.func.clock_timestamp() - columns.update_time), sa.Double)
        self.silence = Statement(sa.select(silence).where(columns.source == source, columns.wishes == wishes))
        given = {name: sa.bindparam(name, type_=columns[name].type) for name in ("position", "covered")}
        add = insert(table).values(source=source, wishes=wishes, wanted=0, filled=0, **given)
        self.add = Statement(add.on_conflict_do_nothing())
        moved = {"position": add.excluded.position, "covered": add.excluded.covered, "update_time": now}
        self.move = Statement(add.on_conflict_do_update(index_elements=["source", "wishes"], set_=moved))
        self.cover = Statement(own.values(covered=given["covered"], update_time=now))
        self.want = Statement(own.values(wanted=columns.wanted + 1))
        self.fill = Statement(own.values(filled=sa.bindparam("wanted", type_=sa.BigInteger)))
        known = columns.relay.is_not_distinct_from(relay)
        whole = sa.and_(columns.wanted == columns.filled, columns.position != "", known)
        self.tell = Statement(
            own.values(
                position=sa.case((whole, position), else_=columns.position),
                wanted=columns.wanted + sa.case((known, 0), else_=1),
                relay=relay,
                update_time=now,
            )
        )


def _text(pair: tuple[str, str]) -> str:
    return " ".join(pair)


def routing_keys(handlers: Handlers) -> list[str]:
    """Return what the queue of a service is bound to: what its handlers want, and the beginnings of the relays."""
    wanted = {kind for source in handlers.services() for kind in handlers.types_of(source)}
    return sorted(wanted | {relay_started(source) for source in handlers.services()})


def relay_started(source: str) -> str:
    """Return the type of the message by which a relay says that it begins anew, and has told nothing of before."""
    return f"kontor.{source}.v1.relay.started"
