"""Every service is replaced, replica by replica, under a load on all of them: no request fails.

Six restarts take minutes: `make rolling` sets KONTOR_ROLLING. Each run of the tests does so with contacts, see
tests/e2e/test_lifecycle.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from pathlib import Path

import httpx
import pytest

from kontor_dev.platform import SERVICES
from tests.e2e.instance import Instance
from tests.e2e.load import COLLECTIONS, Load
from tests.e2e.rest import Rest

pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not os.environ.get("KONTOR_ROLLING"), reason="six restarts take minutes: make rolling"),
]


@pytest.fixture
def platform():
    """A platform with two replicas of each service, in a folder that every user can enter."""
    with tempfile.TemporaryDirectory(prefix="kontor-rolling-") as path:
        Path(path).chmod(0o755)
        instance = Instance(Path(path) / "data", "--no-demo", "--replicas", "2")
        try:
            yield instance.start()
        finally:
            instance.clear_away()


def retries(platform):
    """How often the gateway has sent a request again."""
    address = json.loads((platform.data / "envoy.json").read_text())["admin"]["address"]["socket_address"]
    told = httpx.get(f"http://127.0.0.1:{address['port_value']}/stats?filter=upstream_rq_retry$&format=json")
    with contextlib.suppress(KeyError):
        return sum(each["value"] for each in told.json()["stats"])
    return 0


def test_restart_of_every_service_fails_no_request(platform):
    assert set(COLLECTIONS) == {service.name for service in SERVICES}
    with Load(platform, [*COLLECTIONS]) as load:
        for service in COLLECTIONS:
            before, asked, began = retries(platform), load.asked, time.monotonic()
            platform.command("restart", service)
            figures = f"{load.asked - asked} requests, {retries(platform) - before} sent again by the gateway"
            print(f"{service}: {figures}, {len(load.failed)} failed, {time.monotonic() - began:.0f} s")
    assert load.failed == []
    assert len(set(load.made)) == len(load.made)
    with Rest(platform) as rest:
        for service, (collection, _) in COLLECTIONS.items():
            names = [each["displayName"] for each in rest.all(collection) if each["displayName"].startswith("Load ")]
            assert len(set(names)) == len(names), f"{service} did a write twice"
            assert len(names) > 10
