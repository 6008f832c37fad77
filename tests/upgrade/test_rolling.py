"""Every service is replaced, replica by replica, under a load on all of them: no request fails.

Six restarts take minutes: `make rolling` sets KONTOR_ROLLING. Each run of the tests does so with contacts, see
tests/e2e/test_lifecycle.py.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import tempfile
import threading
import time
import uuid
from pathlib import Path

import httpx
import pytest

from kontor_dev.platform import SERVICES
from tests.e2e.instance import Instance
from tests.e2e.rest import Rest

pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not os.environ.get("KONTOR_ROLLING"), reason="six restarts take minutes: make rolling"),
]
# A collection of each service that needs no other, and what a record of it must have beside its name.
COLLECTIONS = {
    "identity": ("teams", {}),
    "contacts": ("accounts", {}),
    "sales": ("territories", {}),
    "ticketing": ("queues", {}),
    "marketing": ("topics", {}),
    "partners": ("programmes", {"currencyCode": "EUR", "levels": [{"id": "silver", "displayName": "Silver"}]}),
}
KINDS = ("read", "write", "write once")


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


class Load:
    """Reads, writes, and writes with a key on all services in turn, a thread each; notes what went wrong."""

    def __init__(self, platform):
        self.failed, self.made, self.asked = [], [], 0
        self._platform = platform
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=[kind]) for kind in KINDS]

    def _run(self, kind):
        with Rest(self._platform) as rest:
            for service in itertools.cycle(COLLECTIONS):
                if self._enough.is_set():
                    return
                try:
                    answer = self._ask(rest, kind, service)
                except httpx.TransportError as error:
                    self.failed.append((service, kind, repr(error)))
                    continue
                self.asked += 1
                if answer.status_code != 200:
                    self.failed.append((service, kind, answer.status_code, answer.text))
                elif kind != "read":
                    self.made.append(answer.json()["name"])

    def _ask(self, rest, kind, service):
        collection, more = COLLECTIONS[service]
        if kind == "read":
            return rest.send("GET", collection, pageSize=1)
        word = uuid.uuid4().hex
        key = {"key": f"load_{word}"} if service == "marketing" else {}
        query = {"allowDuplicates": True} if service == "contacts" else {}
        headers = {"idempotency-key": word} if kind == "write once" else {}
        return rest.send("POST", collection, {"displayName": f"Load {word}", **key, **more}, headers=headers, **query)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._enough.set()
        for thread in self._threads:
            thread.join()


def retries(platform):
    """How often the gateway has sent a request again."""
    address = json.loads((platform.data / "envoy.json").read_text())["admin"]["address"]["socket_address"]
    told = httpx.get(f"http://127.0.0.1:{address['port_value']}/stats?filter=upstream_rq_retry$&format=json")
    with contextlib.suppress(KeyError):
        return sum(each["value"] for each in told.json()["stats"])
    return 0


def test_restart_of_every_service_fails_no_request(platform):
    assert set(COLLECTIONS) == {service.name for service in SERVICES}
    with Load(platform) as load:
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
