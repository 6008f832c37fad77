"""A connection that sends several statements in one go, each as prepared SQL, and reads all answers in one go.

psycopg's own pipeline waits for the socket at each statement, and prepares a statement anew for each combination of
types of values, NULL being one. Here all statements are known before the first is sent, and say the types of their
parameters themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import pq
from psycopg.abc import PQGen
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.pq.abc import PGresult
from psycopg.waiting import Ready, Wait

Row = tuple[Any, ...]

MAX_PREPARED: Final = 500
"""So many statements are kept prepared on a connection; then all are forgotten, and what is in use comes back."""

_ROWS: Final = pq.ExecStatus.TUPLES_OK
_FAILED: Final = pq.ExecStatus.FATAL_ERROR
_SYNC: Final = pq.ExecStatus.PIPELINE_SYNC
_LOST: Final = pq.ConnStatus.BAD


class Sent(NamedTuple):
    """A statement on its way, with the values of its parameters `$1`, `$2`, ..."""

    sql: bytes
    values: Sequence[Any] = ()
    formats: Sequence[PyFormat] = ()
    """How each value travels: as text, or binary."""


class Connection(psycopg.Connection[Row]):
    """A connection of psycopg, in autocommit mode, that exchanges statements for rows. Not for several threads."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._transformer = Transformer(self)
        self._names: dict[bytes, bytes] = {}
        self._count = 0

    def exchange(self, statements: Sequence[Sent]) -> list[list[Row]]:
        """Send statements together and return the rows of each.

        The first that fails ends those behind it, and is raised as psycopg.Error. Where no transaction is open and
        none is begun, all together are one.
        """
        if len(self._names) > MAX_PREPARED:
            self._names.clear()
            self.execute(b"DEALLOCATE ALL", prepare=False)
        dump, pgconn = self._transformer.dump_sequence, self.pgconn
        # Before anything is sent: a value that cannot be sent must not leave half of it behind.
        data = [(sql, dump(values, formats), self._transformer.formats) for sql, values, formats in statements]
        pgconn.enter_pipeline_mode()
        try:
            new = self._send(data)
            results = self.wait(self._receive())
        finally:
            if pgconn.status != _LOST:
                try:
                    pgconn.exit_pipeline_mode()
                except psycopg.OperationalError:
                    # Interrupted: what is still to come must not be taken for the answer to something else.
                    self.close()
        failed = next((index for index, result in enumerate(results) if result.status == _FAILED), len(results))
        if failed >= len(new):
            self._names |= new
        if failed < len(results):
            raise error_from_result(results[failed], self._transformer.encoding)
        if pgconn.status == _LOST:
            raise psycopg.OperationalError("the connection was lost")
        rows = [self._rows(result) for result in results[len(new) :]]
        self._transformer.set_pgresult(None)
        return rows

    def _send(self, statements: Sequence[tuple[bytes, Any, Any]]) -> dict[bytes, bytes]:
        """Give the statements to libpq; return the names of those that are prepared ahead of all, by their SQL."""
        pgconn, names = self.pgconn, self._names
        new: dict[bytes, bytes] = {}
        for sql, _, _ in statements:
            if sql not in names and sql not in new:
                self._count += 1
                new[sql] = b"k%d" % self._count
                pgconn.send_prepare(new[sql], sql)
        for sql, values, formats in statements:
            pgconn.send_query_prepared(names.get(sql) or new[sql], values, formats)
        pgconn.pipeline_sync()
        return new

    def _receive(self) -> PQGen[list[PGresult]]:
        """Wait for the answers, and return them; yields what the socket must be ready for."""
        pgconn = self.pgconn
        while pgconn.flush():
            if (yield Wait.RW) & Ready.R:
                pgconn.consume_input()
        results: list[PGresult] = []
        while True:
            while pgconn.is_busy():
                # Woken without anything to read, whoever waits looks whether it was interrupted.
                if (yield Wait.R):
                    pgconn.consume_input()
            result = pgconn.get_result()
            if result is None:  # It stands behind the answer to each statement.
                if pgconn.status == _LOST:
                    return results
            elif result.status == _SYNC:
                return results
            else:
                results.append(result)

    def _rows(self, result: PGresult) -> list[Row]:
        if result.status != _ROWS:
            return []
        self._transformer.set_pgresult(result)
        return self._transformer.load_rows(0, result.ntuples, tuple)
