"""Migrations come one after the other, and may make an index while others write."""

import dataclasses
import threading

import pytest

from kit.tests import consumer
from kontor_kit import migrations

CONCURRENT = """
from alembic import op

revision, down_revision, branch_labels, depends_on = "0002", "0001", None, None


def upgrade():
    with op.get_context().autocommit_block():
        op.create_index("effects_event", "effects", ["tenant_id", "event_id"], postgresql_concurrently=True)
"""


@pytest.fixture
def service(tmp_path):
    """A service whose second revision makes an index without a lock."""
    for path in consumer.service().migrations.glob("0*.py"):
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "0002_index.py").write_text(CONCURRENT)
    return dataclasses.replace(consumer.service(), migrations=tmp_path)


def test_index_is_made_without_a_lock(databases, service):
    database = databases.empty(service)
    migrations.migrate(database.settings(), service)
    with database.connect() as connection:
        assert connection.execute("SELECT to_regclass('effects_event')::text").fetchone() == ("effects_event",)


def test_two_runs_come_one_after_the_other(databases, service):
    database, failed = databases.empty(service), []

    def run():
        try:
            migrations.migrate(database.settings(), service, "0001")
        except Exception as error:  # noqa: BLE001  # told below
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_statements_are_written_down_without_a_database(databases, service):
    settings = databases.empty(service).settings()
    written = migrations.statements(settings, service, "0001:0002")
    assert "CREATE INDEX CONCURRENTLY effects_event ON effects (tenant_id, event_id)" in written
    assert settings.app_role in migrations.statements(settings, service, "base:0001")
