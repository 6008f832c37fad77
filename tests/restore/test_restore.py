"""One tenant is taken out of a platform and restored into an empty one: every record is there as it was.

Two platforms, one after the other, take longer than a run of the tests may: `make restore` sets KONTOR_RESTORE.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from itertools import zip_longest
from pathlib import Path

import psutil
import psycopg
import pytest

from kontor_dev.platform import SERVICES, environment
from tests.e2e.instance import Instance, eventually, rows
from tests.e2e.rest import Rest
from tests.restore.collecting import Collector

pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not os.environ.get("KONTOR_RESTORE"), reason="two platforms take minutes: make restore"),
]
WAITING = "SELECT (SELECT count(*) FROM change_pending) + {inbox}"
INBOX = "(SELECT count(*) FROM inbox WHERE state = 0)"


@pytest.fixture
def folder():
    """A folder that every user can enter, which tmp_path is not."""
    with tempfile.TemporaryDirectory(prefix="kontor-restore-") as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.fixture
def start(folder):
    """Start platforms: `start("first", "--demo")`."""
    instances = []

    def run(name, *arguments):
        instances.append(Instance(folder / name, *arguments))
        instances[-1].start()
        return instances[-1]

    yield run
    for instance in instances:
        instance.clear_away()


def ask(platform, service, query):
    with psycopg.connect(platform.database_url(service)) as connection:
        return connection.execute(query).fetchone()[0]


def is_quiet(platform):
    """Tell whether every change is told and handled."""
    return not any(
        ask(platform, service.name, WAITING.format(inbox=INBOX if service.follows else 0)) for service in SERVICES
    )


def become_quiet(platform):
    """Wait until nothing moves for a while: what was handled may be told in turn."""
    eventually(lambda: is_quiet(platform) and (time.sleep(2) or is_quiet(platform)), 180)


class Stopped:
    """Nothing works on changes for as long as the block lasts."""

    def __init__(self, platform):
        self._workers = [psutil.Process(row["pid"]) for row in rows(platform).values() if row["role"] == "work"]

    def __enter__(self):
        for worker in self._workers:
            worker.suspend()

    def __exit__(self, *_):
        for worker in self._workers:
            worker.resume()


def operate(platform, service, *words):
    """Run a command of a service as its operator does."""
    state = platform.folder.running()
    env = environment(platform.folder, service, database_port=state["database_port"], settings=state["trust"])
    done = subprocess.run(service.command(*words), env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    print(done.stdout.strip())  # the figures of the run


def export(platform, tenant, archive):
    for service in reversed(SERVICES):
        operate(platform, service, "tenant", "export", "--tenant", tenant, "--folder", str(archive / service.name))


def restore(platform, archive):
    """Identity last: from then on people come in."""
    for service in reversed(SERVICES):
        operate(platform, service, "tenant", "restore", "--folder", str(archive / service.name))


def collected(platform):
    collector = Collector(platform.url, platform.token())
    began = time.monotonic()
    found = collector.collect()
    collector.close()
    print(f"{sum(map(len, found.values()))} records read in {time.monotonic() - began:.0f} s")
    return found


def differences(left, right):
    """Return the lists that are not the same, with the first record that is not, as it was and as it is."""
    return {
        name: next(((one, other) for one, other in zip_longest(left[name], right[name]) if one != other))
        for name in left.keys() & right.keys()
        if left[name] != right[name]
    } | dict.fromkeys(left.keys() ^ right.keys(), "in one of them only")


def attach(platform):
    """Add a file to a ticket, and return its address."""
    with Rest(platform) as rest:
        ticket = rest("GET", "tickets", pageSize=1)["tickets"][0]["name"]
        answer = rest.http.post(
            "/v1/attachments:upload",
            params={"ticket": ticket, "filename": "plan.txt"},
            content=b"content",
            headers={"content-type": "text/plain"},
        )
        assert answer.status_code == 200, answer.text
        return answer.json()["name"]


def make_room(platform):
    """Give the name of the empty tenant free that every platform here begins with."""
    with psycopg.connect(platform.database_url("identity")) as connection:
        connection.execute("UPDATE tenants SET slug = 'empty' WHERE slug = 'demo'")


def test_restored_tenant_is_what_it_was(start, folder):
    archive = folder / "archive"
    first = start("first")
    attachment = attach(first.platform)
    become_quiet(first.platform)
    with Stopped(first.platform):
        tenant = str(ask(first.platform, "identity", "SELECT id FROM tenants WHERE slug = 'demo'"))
        export(first.platform, tenant, archive)
        original = collected(first.platform)
    assert first.end() == 0
    second = start("second", "--no-demo")
    make_room(second.platform)
    with Stopped(second.platform):
        restore(second.platform, archive)
        restored = collected(second.platform)
    assert differences(original, restored) == {}
    with Rest(second.platform) as rest:
        assert rest.send("GET", f"{attachment}:download").content == b"content"
    become_quiet(second.platform)
    for service in SERVICES:
        operate(second.platform, service, "verify-changes", "--tenant", tenant)
        if service.follows:
            assert ask(second.platform, service.name, "SELECT count(*) FROM inbox WHERE state = 2") == 0
    print("lists that work has changed since:", sorted(differences(original, collected(second.platform))))
