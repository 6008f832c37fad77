"""A real Prometheus asks the running platform, understands its rules, and calls when an event is given up."""

import json
import subprocess
import sys
import uuid

import psutil
import psycopg
import pytest

from kontor_kit.testing.missing import go_without
from tests.e2e.instance import eventually
from tests.observability.prometheus import Target, running
from tools.helm import HelmMissing
from tools.prometheus import PrometheusMissing

CHARTS = {"identity", "contacts", "sales", "ticketing", "marketing", "partners", "gateway"}
# As many attempts as the next failure is the last after.
NEARLY_DEAD = 7


@pytest.fixture
def targets(platform):
    """Where the processes of the platform tell how they are."""
    envoy = json.loads((platform.data / "envoy.json").read_text())["admin"]["address"]["socket_address"]
    found = [Target("gateway", "serve", f"127.0.0.1:{envoy['port_value']}")]
    for row in platform.status():
        if row["role"] in ("serve", "work"):
            address = psutil.Process(row["pid"]).environ()["KONTOR_METRICS_LISTEN"]
            found.append(Target(row["service"], row["role"], address))
    return found


@pytest.fixture
def prometheus(targets):
    try:
        with running(targets) as made:
            yield made
    except (HelmMissing, PrometheusMissing) as missing:
        go_without(missing)


def discard(platform, event):
    words = ["events", "--data", str(platform.data), "contacts", "discard", event]
    subprocess.run([sys.executable, "-m", "kontor_dev", *words], check=True, capture_output=True, timeout=60)


def test_event_that_is_given_up_calls_until_somebody_deals_with_it(platform, targets, prometheus):
    eventually(lambda: prometheus.targets() == {target.address: "up" for target in targets})
    eventually(lambda: all(rule["health"] == "ok" for rule in prometheus.rules()))
    assert {target.chart for target in targets} == CHARTS
    wrong = {"KontorDown", "KontorUnhealthy", "KontorMigrationsMissing", "KontorUpstreamMissing"}
    # Before it had asked for the first time, it knew of nobody.
    eventually(lambda: not wrong & {each["labels"]["alertname"] for each in prometheus.ask("alerts")["alerts"]})

    event = str(uuid.uuid4())
    with psycopg.connect(platform.database_url("contacts"), autocommit=True) as connection:
        connection.execute(
            "INSERT INTO inbox (handler, event_id, tenant_id, event_type, resource_name, version, event_time, data,"
            " state, attempts, due_time) VALUES ('nobody.handles.this', %s, %s, 'kontor.identity.v1.user.updated',"
            " 'users/nobody', 1, now(), '', 0, %s, now())",
            [event, uuid.uuid4(), NEARLY_DEAD],
        )
    (alert,) = eventually(lambda: prometheus.firing("KontorInboxDead"))
    assert (alert["labels"]["job"], alert["labels"]["severity"]) == ("contacts", "ticket")
    assert alert["annotations"]["runbook"] == "docs/operations/alerts/KontorInboxDead.md"
    discard(platform, event)
    eventually(lambda: not prometheus.firing("KontorInboxDead"))
