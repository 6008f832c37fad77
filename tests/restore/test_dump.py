"""The database of each service is dumped and restored by the scripts that operators have, as the owner role."""

import importlib
import os
import subprocess
from pathlib import Path

import pytest
from psycopg import sql

from kontor_dev.platform import SERVICES
from kontor_dev.postgres import installed_programs
from kontor_kit import migrations
from kontor_kit.forgetting import tables_of
from kontor_kit.testing import TENANT
from kontor_kit.testing.schema import insert_row

ROOT = Path(__file__).parents[2]
SCHEMA = """
SELECT 'column', table_name || '.' || column_name || ' ' || data_type FROM information_schema.columns
WHERE table_schema = 'public'
UNION ALL SELECT 'index', indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT 'policy', tablename || ' ' || policyname || ' ' || roles::text || COALESCE(qual, '') FROM pg_policies
UNION ALL SELECT 'row security', relname FROM pg_class WHERE relrowsecurity
UNION ALL SELECT 'right', oid::regclass || ' ' || relacl::text FROM pg_class WHERE relacl IS NOT NULL
    AND relnamespace = 'public'::regnamespace
UNION ALL SELECT 'function', proname || ' ' || prosecdef || ' ' || COALESCE(proconfig::text, '') || proacl::text
    FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proacl IS NOT NULL
ORDER BY 1, 2
"""


def script(name, *arguments):
    environ = {**os.environ, "PATH": f"{installed_programs()}:{os.environ['PATH']}"}
    done = subprocess.run(
        [ROOT / "deploy" / "backup" / name, *arguments], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def asked(database, query):
    with database.connect() as connection:
        return connection.execute(query).fetchall()


def counts(service, database):
    query = "SELECT count(*) FROM {} WHERE tenant_id = {}"
    return {
        table.name: asked(database, sql.SQL(query).format(sql.Identifier(table.name), sql.Literal(TENANT)))
        for table in tables_of(service.metadata)
    }


@pytest.mark.parametrize("name", [service.name for service in SERVICES])
def test_restored_database_is_what_was_dumped(databases, tmp_path, name):
    service = importlib.import_module(f"kontor_{name}.service").service()
    original, restored = databases.new(service), databases.empty(service)
    with original.connect() as connection:
        for table in tables_of(service.metadata):
            if not table.name.startswith("change_log"):
                insert_row(connection, table)
    script("dump.sh", original.url("owner"), str(tmp_path / "dump"))
    script("restore.sh", restored.url("owner"), str(tmp_path / "dump"))
    assert asked(restored, SCHEMA) == asked(original, SCHEMA)
    assert counts(service, restored) == counts(service, original)
    migrations.migrate(restored.settings(), service)
    with restored.connect("app") as connection:
        assert connection.execute("SELECT count(*) FROM terms").fetchone() == (0,), "rows are seen without a tenant"
