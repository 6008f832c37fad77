"""Restoring a tenant: what an archive holds, into a database of the same service that has nothing of the tenant.

In one transaction: the tenant is there as a whole, or not at all.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import psycopg
import sqlalchemy as sa
from psycopg import sql

from kontor_kit.config import Settings
from kontor_kit.errors import AlreadyExists, FailedPrecondition
from kontor_kit.forgetting import tables_of
from kontor_kit.service import Service
from kontor_kit.tenants import history
from kontor_kit.tenants.archive import Manifest, Reader
from kontor_kit.tenants.exporting import Connection, as_owner, columns_of, names, one, revision


def restore(service: Service, settings: Settings, folder: Path) -> Manifest:
    """Put what the archive in `folder` holds into the database, as the owner role; return its manifest.

    Raises FailedPrecondition where the archive is broken (ARCHIVE_BROKEN), of another service (OTHER_SERVICE) or of
    another version of the schema (OTHER_SCHEMA), and AlreadyExists where something of the tenant is there
    (TENANT_EXISTS), or another tenant has what must be unique (TAKEN).
    """
    archive = Reader(folder)
    manifest = archive.manifest
    if manifest.service != service.name:
        raise FailedPrecondition(f"{folder} is of {manifest.service}, not of {service.name}", reason="OTHER_SERVICE")
    archive.check()
    tables = tables_of(service.metadata)
    with as_owner(settings, shared=False) as connection:
        _check_schema(connection, manifest, tables)
        if manifest.log_since is not None:
            _prepare_months(connection, manifest.log_since)
        with connection.transaction():
            for table in tables:
                _check_absent(connection, table, manifest)
            _put_contents(service, settings, archive)
            for table in tables:
                if table.name in history.TABLES:
                    connection.execute(history.SET_ASIDE[table.name])
                    _copy(connection, archive, table, sql.Identifier(history.ASIDE + table.name))
                else:
                    _copy(connection, archive, table, sql.Identifier(table.name))
            if "inbox" in service.metadata.tables:
                # What was handled is known for its time from now on: it may be told again.
                handled = "UPDATE inbox SET done_time = now() WHERE tenant_id = %s AND done_time IS NOT NULL"
                connection.execute(handled, [manifest.tenant_id])
            # Last, because nothing of others comes into the log from then on.
            history.take_up(connection, service.metadata.tables["change_log"], manifest)
    return manifest


def _check_schema(connection: Connection, manifest: Manifest, tables: list[sa.Table]) -> None:
    found = revision(connection)
    if found != manifest.revision:
        raise FailedPrecondition(
            f"the archive is of schema {manifest.revision}, the database at {found}", reason="OTHER_SCHEMA"
        )
    wanted = {table.name: columns_of(table) for table in tables}
    if wanted != {name: part.columns for name, part in manifest.tables.items()}:
        raise FailedPrecondition("the archive has other tables or columns than this version", reason="OTHER_SCHEMA")


def _prepare_months(connection: Connection, since: dt.datetime) -> None:
    """Make the partitions that the old changes belong in: in the default one they would be kept for ever.

    Before the long transaction, because readers of the log wait for who makes one.
    """
    month = since.astimezone(dt.UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    while month < dt.datetime.now(dt.UTC):
        following = (month + dt.timedelta(days=32)).replace(day=1)
        name = f"change_log_{month:%Y%m}"
        if one(connection, "SELECT to_regclass(%s)", name) == (None,):
            bounds = (sql.Identifier(name), sql.Literal(month), sql.Literal(following))
            create = sql.SQL("CREATE TABLE {} PARTITION OF change_log FOR VALUES FROM ({}) TO ({})").format(*bounds)
            secure = sql.SQL("ALTER TABLE {} ENABLE ROW LEVEL SECURITY").format(bounds[0])
            with connection.transaction():
                connection.execute("SET LOCAL lock_timeout = '5s'")
                connection.execute(create)
                connection.execute(secure)
        month = following


def _check_absent(connection: Connection, table: sa.Table, manifest: Manifest) -> None:
    query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE tenant_id = %s)").format(sql.Identifier(table.name))
    if one(connection, query, manifest.tenant_id)[0]:
        raise AlreadyExists(f"tenant {manifest.tenant_id} has rows in {table.name}", reason="TENANT_EXISTS")


def _copy(connection: Connection, archive: Reader, table: sa.Table, target: sql.Identifier) -> None:
    part = archive.manifest.tables[table.name]
    cursor = connection.cursor()
    try:
        with cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN").format(target, names(part.columns))) as rows:
            for chunk in archive.chunks(table.name):
                rows.write(chunk)
    except psycopg.errors.UniqueViolation as error:
        raise AlreadyExists(f"{table.name}: {error.diag.message_detail}", reason="TAKEN") from error
    query = sql.SQL("SELECT count(*) FROM {} WHERE tenant_id = %s").format(target)
    [own] = one(connection, query, archive.manifest.tenant_id)
    if not cursor.rowcount == own == part.rows:
        raise FailedPrecondition(
            f"the archive says that {table.name} has {part.rows} rows of the tenant: there are {own}",
            reason="ARCHIVE_BROKEN",
        )


def _put_contents(service: Service, settings: Settings, archive: Reader) -> None:
    """Put back what is kept outside of the database; where this fails, nothing refers to it, and it is removed later."""
    keys = archive.manifest.contents
    contents = service.contents(settings)
    if not keys:
        return
    if contents is None:
        raise FailedPrecondition("the archive has contents, and the service no storage", reason="STORAGE_MISSING")
    for key in keys:
        contents.storage.put(key, archive.content(key))
