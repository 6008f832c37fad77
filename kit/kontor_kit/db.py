"""The database session of a request: compiled statements, pipelined transactions, row security by tenant.

A connection is in autocommit mode. What a transaction has to send is queued and goes out in one pipeline when an
answer is needed, the opening statements included: a read is one round trip, a usual write two. What a read sends
together is an implicit transaction of its own, so that the tenant set in it ends with it.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
import psycopg
import sqlalchemy as sa
from psycopg import pq
from psycopg.adapt import PyFormat
from psycopg.types.json import set_json_dumps, set_json_loads
from psycopg_pool import ConnectionPool, PoolTimeout
from sqlalchemy.dialects.postgresql import psycopg as psycopg_dialect

from kontor_kit.tracing import Attributes, SpanKind, recorded_below, within
from kontor_kit.wire import Connection, Sent
from kontor_kit.wire import Row as Row  # what callers of this module get

logger = logging.getLogger(__name__)

Parameters = Mapping[str, Any]

TENANT_SETTING = "kontor.tenant_id"
"""The run-time setting that every row security policy compares `tenant_id` with."""

_DIALECT = psycopg_dialect.dialect(  # type: ignore[no-untyped-call]
    paramstyle="numeric_dollar", json_serializer=lambda value: orjson.dumps(value).decode()
)


class Statement:
    """A SQLAlchemy Core statement, compiled once, executed many times as prepared SQL.

    Values that stand in the clause are kept; named `bindparam`s are given at each execution. Lists are passed as
    arrays (`= ANY(...)`); `IN` with a bound list is not supported, because its SQL depends on the values.
    """

    __slots__ = ("_clause", "constants", "formats", "names", "processors", "sql")

    sql: bytes
    names: tuple[str, ...]
    """The names of the parameters `$1`, `$2`, ..."""
    constants: dict[str, Any]
    processors: dict[str, Callable[[Any], Any]]
    formats: list[PyFormat]

    def __init__(self, clause: sa.sql.elements.ClauseElement) -> None:
        self._clause = clause

    def __getattr__(self, name: str) -> Any:
        """Compile at the first use, so that a statement can stand at the top of a module at no cost."""
        if name not in self.__slots__:
            raise AttributeError(name)
        compiled: Any = self._clause.compile(dialect=_DIALECT)
        constants: dict[str, Any] = {}
        processors: dict[str, Callable[[Any], Any]] = {}
        for bind, key in compiled.bind_names.items():
            processor = bind.type.dialect_impl(_DIALECT).bind_processor(_DIALECT)
            if processor is not None:
                processors[key] = processor
            if not bind.required:
                value = bind.effective_value
                constants[key] = processor(value) if processor is not None else value
        self.names = tuple(compiled.positiontup or ())
        self.constants, self.processors = constants, processors
        binary = {key for bind, key in compiled.bind_names.items() if isinstance(bind.type, sa.LargeBinary)}
        self.formats = [PyFormat.BINARY if key in binary else PyFormat.TEXT for key in self.names]
        self.sql = compiled.string.encode()
        return getattr(self, name)

    def with_values(self, given: Parameters) -> Sent:
        """Return what is sent to the server: the constants and the values given, each in its wire form."""
        constants, processors = self.constants, self.processors
        values = [
            constants[name]
            if name in constants and name not in given
            else processors[name](given[name])
            if name in processors
            else given[name]
            for name in self.names
        ]
        return Sent(self.sql, values, self.formats)


_LONGEST_SQL = 4000
"""So many characters of SQL a span says."""
_BEGIN = Sent(b"BEGIN")
_COMMIT = Sent(b"COMMIT")
_SAVE = Sent(b"SAVEPOINT part")
_RELEASE = Sent(b"RELEASE SAVEPOINT part")
_SET_TENANT = f"SELECT set_config('{TENANT_SETTING}', $1, true)".encode()
_NOTHING: dict[str, Any] = {}


class Transaction:
    """What one request does in the database. Not for use by several threads.

    `run` sends everything queued and returns the rows of its statement; `defer` queues a statement whose rows nobody
    needs. Made by `Database.read` and `Database.write`.
    """

    def __init__(self, database: Database, tenant_id: uuid.UUID | None, *, writes: bool) -> None:
        self.tenant_id = tenant_id
        self._database = database
        self._writes = writes
        self._connection = database.borrow()
        self._opening = [_BEGIN] if writes else []
        if tenant_id is not None:
            self._opening.append(Sent(_SET_TENANT, (str(tenant_id),), (PyFormat.TEXT,)))
        self._queue = list(self._opening)

    def run(self, statement: Statement, parameters: Parameters = _NOTHING) -> list[Row]:
        """Send what is queued and the statement; return its rows."""
        return self.run_all([(statement, parameters)])[0]

    def run_all(self, statements: Sequence[tuple[Statement, Parameters]]) -> list[list[Row]]:
        """Send what is queued and the statements in one round trip; return the rows of each statement."""
        sent = [statement.with_values(parameters) for statement, parameters in statements]
        if self._writes:
            return self._send(sent)
        try:
            return self._send(sent)
        except psycopg.OperationalError:
            # A connection that ended since it was last used; a read can be sent again.
            if not self._connection.closed:
                raise
            self._database.give_back(self._connection)
            self._connection = self._database.borrow()
            self._queue = list(self._opening)
            return self._send(sent)

    def defer(self, statement: Statement, parameters: Parameters = _NOTHING) -> None:
        """Queue the statement; it is sent with the next `run`, or when the transaction ends."""
        self._queue.append(statement.with_values(parameters))

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what the block did where it raises, and nothing else; what it queued is sent before it ends."""
        self._queue.append(_SAVE)
        try:
            yield
            self._queue.append(_RELEASE)
            self._send([])
        except Exception:
            if _SAVE in self._queue:
                del self._queue[self._queue.index(_SAVE) :]
            else:
                self._queue.clear()
                self._connection.execute(b"ROLLBACK TO SAVEPOINT part")
            raise

    def estimate(self, statement: Statement, parameters: Parameters = _NOTHING) -> int:
        """Return how many rows the planner expects of the statement; it is not executed."""
        sent = statement.with_values(parameters)
        [(plan,)] = self._send([sent._replace(sql=b"EXPLAIN (FORMAT JSON) " + sent.sql)])[0]
        return int(plan[0]["Plan"]["Plan Rows"])

    def _send(self, statements: list[Sent]) -> list[list[Row]]:
        queue = self._queue
        self._queue = [] if self._writes else list(self._opening)
        sent = [*queue, *statements]
        trace = recorded_below()
        if trace is None:
            return self._connection.exchange(sent)[len(queue) :]
        with within(trace, *self._database.describe(sent)):
            return self._connection.exchange(sent)[len(queue) :]

    def commit(self) -> None:
        """Send what is queued and commit. Called by `Database.write` only."""
        if self._queue == self._opening:
            return  # Nothing was ever sent.
        self._queue.append(_COMMIT)
        self._send([])

    def close(self) -> None:
        """Undo what is not committed and give the connection back. Called by `Database` only."""
        self._database.give_back(self._connection)


class Database:
    """A pool of connections to one database as one role."""

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 16,
        name: str = "kontor",
        statement_timeout_seconds: float = 10,
        checkout_timeout_seconds: float = 5,
    ) -> None:
        self._pool = ConnectionPool(
            url,
            connection_class=Connection,
            min_size=1,
            max_size=pool_size,
            open=False,
            name=name,
            timeout=checkout_timeout_seconds,
            kwargs={
                "autocommit": True,
                "application_name": name,
                "prepare_threshold": None,
                "options": (
                    f"-c statement_timeout={int(statement_timeout_seconds * 1000)}"
                    " -c lock_timeout=5000 -c idle_in_transaction_session_timeout=30000"
                ),
            },
            configure=_configure,
            # Nobody waits long for a database that is away: a request has its own, shorter, patience.
            reconnect_timeout=30,
        )
        self._lock = threading.Lock()

    def open(self) -> None:
        """Start to connect. Does not wait for the database."""
        self._pool.open(wait=False)

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    @contextmanager
    def read(self, tenant_id: uuid.UUID | None) -> Iterator[Transaction]:
        """Yield a transaction that reads. Each round trip sees a state of its own."""
        transaction = Transaction(self, tenant_id, writes=False)
        try:
            yield transaction
        finally:
            transaction.close()

    @contextmanager
    def write(self, tenant_id: uuid.UUID | None) -> Iterator[Transaction]:
        """Yield a transaction that is committed where the block ends normally, and undone otherwise."""
        transaction = Transaction(self, tenant_id, writes=True)
        try:
            yield transaction
            transaction.commit()
        finally:
            transaction.close()

    @contextmanager
    def trial(self, tenant_id: uuid.UUID | None) -> Iterator[Transaction]:
        """Yield a transaction that is always undone, with everything queued sent first: for `validate_only`."""
        transaction = Transaction(self, tenant_id, writes=True)
        try:
            yield transaction
            transaction._send([])
        finally:
            transaction.close()

    def borrow(self) -> Connection:
        """Take a connection out of the pool; raises psycopg_pool.PoolTimeout."""
        return self._pool.getconn()

    def give_back(self, connection: Connection) -> None:
        """Return a connection, undoing what it had begun."""
        if connection.closed:
            # The server went away, and took the idle connections with it.
            self._pool.putconn(connection)
            with self._lock:
                self._pool.drain()
            return
        if connection.info.transaction_status != pq.TransactionStatus.IDLE:
            try:
                connection.rollback()
            except psycopg.Error:
                logger.info("a connection was lost while it was rolled back")
                connection.close()
        self._pool.putconn(connection)

    def state(self) -> Mapping[str, int]:
        """Return what the pool says of itself, as psycopg_pool names it; for metrics."""
        return self._pool.get_stats()

    def describe(self, sent: Sequence[Sent]) -> tuple[str, SpanKind, Attributes]:
        """Return what a span says of statements that are sent together: their SQL, which holds no value."""
        words = [each.sql.split(maxsplit=1)[0].decode() for each in sent]
        attributes: Attributes = {
            "db.system.name": "postgresql",
            "db.client.connection.pool.name": self._pool.name,
            "db.query.text": b"; ".join(each.sql for each in sent).decode()[:_LONGEST_SQL],
            "db.operation.batch.size": len(sent),
        }
        return ", ".join(words), SpanKind.CLIENT, attributes

    def is_reachable(self) -> bool:
        """Tell whether the database answers; for health checks."""
        try:
            with self.read(None) as transaction:
                transaction.run(_PING)
        except (psycopg.Error, PoolTimeout):
            return False
        return True


_PING = Statement(sa.select(sa.literal(1)))
_COLUMNS = Statement(
    sa.text(
        "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE pg_table_is_visible(c.oid) AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped"
    )
)


class SchemaCheck:
    """Tells whether a database has the tables and columns of `metadata`; for health checks.

    Whoever is started before the migrations were run must not be let in. Once they are seen, nobody asks again.
    """

    def __init__(self, database: Database, metadata: sa.MetaData) -> None:
        self._database = database
        self._needed = {(table.name, column.name) for table in metadata.tables.values() for column in table.c}

    def __call__(self) -> bool:
        """Look. Raises LookupError with what is missing, and what the database raises."""
        if self._needed:
            with self._database.read(None) as tx:
                missing = sorted(self._needed - {(row[0], row[1]) for row in tx.run(_COLUMNS)})
            if missing:
                names = ", ".join(f"{table}.{column}" for table, column in missing[:5])
                raise LookupError(f"migrations are missing: of {len(missing)} columns there is not {names}")
            self._needed.clear()
        return True


def _configure(connection: Connection) -> None:
    set_json_loads(orjson.loads, connection)
    set_json_dumps(orjson.dumps, connection)
