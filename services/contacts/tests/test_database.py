"""The database of the service: tables as declared, held to the tenant, and the way there and back."""

from __future__ import annotations

import psycopg
import pytest
import sqlalchemy as sa
from alembic import autogenerate
from alembic.migration import MigrationContext

from kontor_contacts.service import service
from kontor_contacts.tables import metadata
from kontor_kit import migrations

TABLES = (
    "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
    " AND relnamespace = 'public'::regnamespace"
)
# What is no tenant's: how far the log has come, how far other services were followed, and whose turn a job is. The app
# role may read the first, and not even that of the others.
WITHOUT_TENANT = {"change_log_state", "change_relay", "inbox_bindings", "inbox_sources", "leases"}
# Indexes that begin with no tenant: of what the sequencer, the inbox and the operations go through in the order of all
# tenants, and of what is dropped by its age.
ACROSS_TENANTS = {
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
}


def is_declared(item, name, kind, reflected, compared):
    """The partitions of the change log come and go with the months."""
    table = name if kind == "table" else getattr(getattr(item, "table", None), "name", "")
    return not (reflected and table.startswith("change_log_") and table not in metadata.tables)


def test_migrations_make_the_tables_as_they_are_declared(server):
    url = sa.make_url(server.database.url("owner")).set(drivername="postgresql+psycopg")
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True, "include_object": is_declared}
        )
        assert autogenerate.compare_metadata(context, metadata) == []


def test_migrations_go_down_and_up_again_one_by_one(databases):
    database = databases.empty(service())
    steps = sorted(path.name[:4] for path in service().migrations.glob("[0-9]*.py"))
    for revision in (*steps, *["-1"] * len(steps), *steps):
        migrations.migrate(database.settings(), service(), revision)
    with database.connect() as connection:
        assert {name for (name,) in connection.execute(TABLES)} == {*metadata.tables, "alembic_version"}


def test_every_table_is_held_to_the_tenant(server, anna):
    anna("CreateContact", contact={"family_name": "A", "emails": [{"address": "a@b.example"}]}, request_id="r")
    with server.database.connect("app") as app, server.database.connect() as superuser:
        for table in metadata.tables.keys() - WITHOUT_TENANT:
            [(secured,)] = superuser.execute("SELECT relrowsecurity FROM pg_class WHERE oid = %s::regclass", [table])
            assert secured, table
            assert app.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
        for search in ("search_accounts", "search_contacts"):
            assert app.execute(f"SELECT count(*) FROM {search}('a', NULL, NULL, 10)").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute("DELETE FROM alembic_version")


def test_every_index_begins_with_the_tenant(server):
    with server.database.connect() as connection:
        found = connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
            " AND NOT (SELECT relispartition FROM pg_class WHERE oid = tablename::regclass)"
        ).fetchall()
    assert {name for name, definition in found if "(tenant_id" not in definition} <= ACROSS_TENANTS
