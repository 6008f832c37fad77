"""Exporting a tenant: all its rows in the database of one service, as one snapshot shows them.

Which tables those are, the metadata says: all that have a tenant. The snapshot is the cut: what is in it, and where the
log stood, belong together.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from psycopg import sql

from kontor_kit.config import Settings
from kontor_kit.forgetting import tables_of
from kontor_kit.migrations import MIGRATION_LOCK
from kontor_kit.service import Service
from kontor_kit.tenants.archive import Manifest, Part, Writer

Connection = psycopg.Connection[tuple[Any, ...]]

_PLAIN: Final = {"TimeZone": "UTC", "DateStyle": "ISO", "IntervalStyle": "postgres", "client_encoding": "UTF8"}
"""How values are written, whatever the server is set to."""


def export(service: Service, settings: Settings, tenant_id: uuid.UUID, folder: Path) -> Manifest:
    """Write the tenant's archive into `folder`, as the owner role. Raises FailedPrecondition."""
    writer = Writer(folder)
    with as_owner(settings, shared=True) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with connection.transaction():
            tables = {table.name: _write(connection, writer, table, tenant_id) for table in tables_of(service.metadata)}
            contents = dict(_write_contents(connection, service, settings, writer, tenant_id))
            since = "SELECT min(log_time) FROM change_log WHERE tenant_id = %s"
            manifest = Manifest(
                service=service.name,
                tenant_id=tenant_id,
                revision=revision(connection),
                position=one(connection, "SELECT position FROM change_log_state")[0],
                export_time=dt.datetime.now(dt.UTC),
                log_since=one(connection, since, tenant_id)[0],
                tables=tables,
                contents=contents,
            )
    writer.finish(manifest)
    return manifest


@contextmanager
def as_owner(settings: Settings, *, shared: bool) -> Iterator[Connection]:
    """Yield a connection in autocommit mode; nobody migrates meanwhile, nor restores another tenant unless `shared`."""
    with psycopg.connect(settings.owner_database_url, autocommit=True) as connection:
        for name, value in _PLAIN.items():
            connection.execute("SELECT set_config(%s, %s, false)", [name, value])
        lock = "pg_advisory_lock_shared" if shared else "pg_advisory_lock"
        connection.execute(f"SELECT {lock}(%s)", [MIGRATION_LOCK])
        yield connection


def columns_of(table: sa.Table) -> list[str]:
    """Return the columns that an archive has: all but those that the database counts up or works out by itself."""
    return [column.name for column in table.c if column.identity is None and column.computed is None]


def names(columns: list[str]) -> sql.Composed:
    """Return a list of columns in SQL."""
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def one(connection: Connection, query: Any, *parameters: Any) -> tuple[Any, ...]:
    """Return the only row of a query."""
    [row] = connection.execute(query, parameters).fetchall()
    return row


def revision(connection: Connection) -> str:
    """Return the version of the database's schema."""
    return str(one(connection, "SELECT string_agg(version_num, ',' ORDER BY version_num) FROM alembic_version")[0])


def _write(connection: Connection, writer: Writer, table: sa.Table, tenant_id: uuid.UUID) -> Part:
    columns = columns_of(table)
    query = sql.SQL("COPY (SELECT {} FROM {} WHERE tenant_id = {} ORDER BY {}) TO STDOUT").format(
        names(columns),
        sql.Identifier(table.name),
        sql.Literal(tenant_id),
        names([column.name for column in table.primary_key]),
    )
    cursor = connection.cursor()
    with writer.table(table.name) as file, cursor.copy(query) as rows:
        for row in rows:
            file.write(row)
    return Part(columns, cursor.rowcount, writer.table_digest(table.name))


def _write_contents(
    connection: Connection,
    service: Service,
    settings: Settings,
    writer: Writer,
    tenant_id: uuid.UUID,
) -> Iterator[tuple[str, str]]:
    """Write what the rows refer to outside of the database; what is lost already cannot be exported."""
    contents = service.contents(settings)
    if contents is None:
        return
    query = sql.SQL("SELECT id FROM {} WHERE tenant_id = %s ORDER BY id").format(sql.Identifier(contents.table.name))
    for (id,) in connection.execute(query, [tenant_id]).fetchall():
        key = contents.key(tenant_id, id)
        content = contents.storage.get(key)
        if content is not None:
            yield key, writer.content(key, content)
