"""What skaffold starts beside the platform fits to it."""

from __future__ import annotations

import psycopg
import pytest

from kontor_kit.migrations import migrate
from kontor_kit.testing import postgres
from tests.charts.live import make_databases
from tests.charts.rendering import SERVICES
from tools.charts import secret_keys, service_of

CASE = ("dev-infra", ("dev-infra/ci/minimal-values.yaml",))


@pytest.fixture(scope="module")
def secrets(charts):
    """The keys of each service's Secret."""
    found = (each for each in charts.rendered(CASE) if each["kind"] == "Secret")
    return {each["metadata"]["name"].removeprefix("kontor-"): each["stringData"] for each in found}


def test_every_service_finds_its_keys(secrets):
    """A bucket is not there: no attachments are taken."""
    bucket = {"storage-access-key", "storage-secret-key"}
    assert {name: set(keys) for name, keys in secrets.items()} == {
        name: set(secret_keys(name)) - bucket for name in SERVICES
    }


@pytest.mark.usefixtures("postgres_url")
def test_databases_are_such_that_they_can_be_migrated(charts, secrets):
    with postgres.running() as url:
        where = make_databases(url, charts.rendered(CASE))
        keys = {key: value.replace("dev-postgresql:5432", where) for key, value in secrets["contacts"].items()}
        service = service_of("contacts")
        environ = {f"KONTOR_CONTACTS_{key.upper().replace('-', '_')}": keys[key] for key in keys if "database" in key}
        settings = service.settings.load("contacts", environ, need=["owner_database_url"])
        migrate(settings, service)
        with psycopg.connect(settings.database_url) as connection:
            assert connection.execute("SELECT count(*) FROM accounts").fetchone() == (0,)
