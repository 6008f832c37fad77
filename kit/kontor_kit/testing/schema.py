"""What holds for the database of every service: tables as declared, held to the tenant, and the way there and back.

    class TestDatabase(DatabaseChecks):
        made = staticmethod(service)

The fixture `server` is the running service.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
import sqlalchemy as sa
from alembic import autogenerate
from alembic.migration import MigrationContext
from psycopg import sql
from psycopg.types.json import Jsonb
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR

from kontor_kit import migrations
from kontor_kit.forgetting import tables_of
from kontor_kit.service import Service
from kontor_kit.tenants.exporting import columns_of, export, names
from kontor_kit.tenants.restoring import restore
from kontor_kit.testing import TENANT

_TABLES: Final = (
    "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
    " AND relnamespace = 'public'::regnamespace"
)
_INDEXES: Final = (
    "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
    " AND NOT (SELECT relispartition FROM pg_class WHERE oid = tablename::regclass)"
)
_SEARCHES: Final = (
    "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proname LIKE 'search\\_%'"
)
WITHOUT_TENANT: Final = frozenset(
    {
        "change_log_state",
        "change_relay",
        "inbox_bindings",
        "inbox_sources",
        "leases",
    }
)
"""What is no tenant's: how far the log has come and was relayed, how far others were followed, and whose turn a job is."""
ACROSS_TENANTS: Final = frozenset((
    "alembic_version_pkc",
    "change_log_pkey",
    "change_log_state_pkey",
    "change_pending_pkey",
    "change_relay_pkey",
    "inbox_bindings_pkey",
    "inbox_dead",
    "inbox_done",
    "inbox_due",
    "inbox_order",
    "inbox_pkey",
    "inbox_sources_pkey",
    "leases_pkey",
    "operations_due",
    "operations_ended",
    "requests_create_time",
))  # fmt: skip
"""Indexes that begin with no tenant: of what is gone through in the order of all tenants, or dropped by its age."""


class DatabaseChecks:
    """The checks, as the tests of a class that derives from it."""

    made: Callable[[], Service]
    without_tenant: frozenset[str] = WITHOUT_TENANT
    across_tenants: frozenset[str] = ACROSS_TENANTS

    def test_migrations_make_the_tables_as_they_are_declared(self, server: Any) -> None:
        """Alembic finds nothing to do; the partitions of the change log come and go with the months."""
        metadata = self.made().metadata

        def is_declared(item: Any, name: str | None, kind: str, reflected: bool, _: object) -> bool:
            table = (name or "") if kind == "table" else getattr(getattr(item, "table", None), "name", "")
            return not (reflected and table.startswith("change_log_") and table not in metadata.tables)

        url = sa.make_url(server.database.url("owner")).set(drivername="postgresql+psycopg")
        options = {"compare_type": True, "compare_server_default": True, "include_object": is_declared}
        with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
            context = MigrationContext.configure(connection, opts=options)
            assert autogenerate.compare_metadata(context, metadata) == []

    def test_migrations_go_down_and_up_again_and_keep_what_both_schemas_know(self, databases: Any) -> None:
        """One by one, with a row in every table; and end with the tables that are declared."""
        service = self.made()
        database = databases.empty(service)
        assert service.migrations is not None
        steps = sorted(path.name[:4] for path in service.migrations.glob("[0-9]*.py"))
        for revision in steps:
            migrations.migrate(database.settings(), service, revision)
        with database.connect() as connection:
            for table in tables_of(service.metadata):
                if not table.name.startswith("change_log"):
                    insert_row(connection, table)
        after = _known(database)
        for revision in (*["-1"] * (len(steps) - 1), "head"):
            before = after
            migrations.migrate(database.settings(), service, revision)
            after = _known(database)
            for name in before.keys() & after.keys():
                common = before[name].keys() & after[name].keys()
                assert {each: before[name][each] for each in common} == {each: after[name][each] for each in common}
        assert after.keys() == service.metadata.tables.keys() | {"alembic_version"}
        migrations.migrate(database.settings(), service, "base")
        assert _known(database).keys() == {"alembic_version"}

    def test_every_table_is_held_to_the_tenant(self, server: Any) -> None:
        """The app role sees nothing without a tenant, whatever way it looks."""
        with server.database.connect("app") as app, server.database.connect() as superuser:
            for table in self.made().metadata.tables.keys() - self.without_tenant:
                [(secured,)] = superuser.execute(
                    "SELECT relrowsecurity FROM pg_class WHERE oid = %s::regclass", [table]
                )
                assert secured, table
                assert _count(app, sql.Identifier(table)) == 0, table
            for (search,) in superuser.execute(_SEARCHES).fetchall():
                assert _count(app, sql.SQL("{}('a', NULL, NULL, 10)").format(sql.Identifier(search))) == 0
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                app.execute("DELETE FROM alembic_version")

    def test_every_index_begins_with_the_tenant(self, server: Any) -> None:
        """So that tables can be distributed by it."""
        with server.database.connect() as connection:
            found = connection.execute(_INDEXES).fetchall()
        assert {name for name, definition in found if "(tenant_id" not in definition} <= self.across_tenants

    def test_a_tenant_is_the_same_when_it_is_exported_and_restored(self, databases: Any, tmp_path: Path) -> None:
        """Every table has its part in the archive: a row in each of them is exported, and is there again."""
        service = self.made()
        original, copy = databases.new(service), databases.new(service)
        tables = [table for table in tables_of(service.metadata) if not table.name.startswith("change_log")]
        storage = {"storage_url": tmp_path.as_uri()} if hasattr(original.settings(), "storage_url") else {}
        with original.connect() as connection:
            for table in tables:
                insert_row(connection, table)
        manifest = export(service, original.settings(**storage), TENANT, tmp_path / "archive")
        assert {name: part.rows for name, part in manifest.tables.items() if part.rows} == {
            table.name: 1 for table in tables
        }
        restore(service, copy.settings(**storage), tmp_path / "archive")
        for table in tables:
            assert _rows(copy, table) == _rows(original, table), table.name


_TIME: Final = dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC)


def insert_row(connection: Any, table: sa.Table) -> None:
    """Insert a row of the tenant TENANT with a value in every column; all that can refer to a row refers to that one."""
    given = {column.name: _value(column.type) for column in table.c if column.name in columns_of(table)}
    insert = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(table.name),
        sql.SQL(", ").join(map(sql.Identifier, given)),
        sql.SQL(", ").join(sql.Placeholder() * len(given)),
    )
    connection.execute(insert, list(given.values()))


def _value(kind: Any) -> Any:
    """Return a value of a type; all ids are the same one, so that references hold."""
    if isinstance(kind, ARRAY):
        return [_value(kind.item_type)]
    values: dict[type[Any], Any] = {
        JSONB: Jsonb({"text": "\\ \t ä"}),
        sa.Uuid: TENANT,
        sa.Boolean: True,
        sa.DateTime: _TIME,
        sa.Date: _TIME.date(),
        sa.Time: _TIME.time(),
        sa.Interval: dt.timedelta(days=1, microseconds=1),
        sa.LargeBinary: b"\x00\\\xff",
        sa.Integer: 1,
        sa.Float: 0.1,
        sa.Numeric: Decimal("1.10"),
        sa.String: "x",
        TSVECTOR: "x",
    }
    return next(value for base, value in values.items() if isinstance(kind, base))


def _rows(database: Any, table: sa.Table) -> list[tuple[Any, ...]]:
    columns = [name for name in columns_of(table) if (table.name, name) != ("inbox", "done_time")]
    query = sql.SQL("SELECT {} FROM {}").format(names(columns), sql.Identifier(table.name))
    with database.connect() as connection:
        return list(connection.execute(query).fetchall())


def _known(database: Any) -> dict[str, dict[str, list[Any]]]:
    """Return what is there of the tenant TENANT: the values in each column of each table."""
    found = {}
    with database.connect() as connection:
        for (name,) in connection.execute(_TABLES).fetchall():
            cursor = connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(name)))
            columns = [column.name for column in cursor.description]
            rows = [row for row in cursor.fetchall() if TENANT in row]
            found[name] = {column: [row[place] for row in rows] for place, column in enumerate(columns)}
    return found


def _count(connection: Any, source: sql.Composable) -> int:
    [(found,)] = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(source)).fetchall()
    return int(found)
