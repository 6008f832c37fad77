"""`kontor dev` as a whole: instances beside one another, killed processes, restarts under load, nothing left behind."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import httpx
import psutil
import pytest

from kontor_dev.probes import is_in_rotation
from tests.e2e.instance import Instance, environment, eventually, rows
from tests.e2e.load import Load
from tests.e2e.rest import Rest

# What is enough to see how processes live; the machine has other tests to run.
SERVICES = ("identity", "contacts")
# So many seconds may pass between a request to stop and the end.
STOP_SECONDS = 20


@pytest.fixture(scope="module")
def folder():
    """A folder that every user can enter, which tmp_path is not."""
    with tempfile.TemporaryDirectory(prefix="kontor-lifecycle-") as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.fixture(scope="module")
def instance(folder):
    """An instance with two replicas; each test leaves it running."""
    instance = Instance(folder / "data", "--no-demo", "--services", ",".join(SERVICES), "--replicas", "2")
    instance.start()
    yield instance
    instance.clear_away()


@pytest.fixture
def running(instance):
    """The instance as it runs now."""
    return instance.platform


@pytest.fixture
def rest(running):
    with Rest(running) as client:
        yield client


def is_served(rest):
    """Tell whether both services answer through the gateway."""
    with contextlib.suppress(httpx.TransportError):
        return {rest.send("GET", path).status_code for path in ("accounts", "users")} == {200}
    return False


def all_serve(running):
    """Tell whether all processes serve, and the gateway has found back to them."""
    found = rows(running)
    admin = json.loads((running.data / "envoy.json").read_text())["admin"]["address"]["socket_address"]["port_value"]
    ports = [int(row["address"].rpartition(":")[2]) for row in found.values() if row["role"] == "serve"]
    healthy = {row["health"] for row in found.values()} == {"SERVING"}
    return healthy and all(is_in_rotation(admin, port) for port in ports)


def alive(processes):
    return [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def create(rest, name, **headers):
    return rest.send("POST", "accounts", {"displayName": name}, headers=headers, allowDuplicates=True)


class TestCommands:
    def test_status_names_every_process(self, instance, running):
        found = rows(running)
        roles = ("serve-1", "serve-2", "work-1")
        assert set(found) == {"postgres", "envoy", *(f"{name}-{role}" for name in SERVICES for role in roles)}
        assert all(set(row) == {"name", "service", "role", "pid", "address", "health"} for row in found.values())
        assert {row["pid"] for row in found.values()} <= {process.pid for process in instance.members()}
        assert {row["health"] for row in found.values()} == {"SERVING"}

    def test_url_tells_where_gateway_and_services_are(self, running):
        assert running.command("url", "gateway").strip() == running.url
        assert running.address("contacts") == rows(running)["contacts-serve-1"]["address"]

    def test_psql_opens_the_database_of_a_service(self, running):
        query = ["--", "-Atc", "SELECT current_database(), current_user"]
        assert running.command("psql", "contacts", *query).strip() == "contacts|contacts_owner"
        assert running.command("psql", "identity", "--as", "app", *query).strip() == "identity|identity_app"

    def test_token_is_of_the_role_or_the_user_that_is_asked_for(self, running, rest):
        roles = {role["displayName"]: role["name"] for role in rest("GET", "roles")["roles"]}
        user = {"email": f"{uuid.uuid4()}@demo.example", "displayName": "Member", "roles": [roles["Member"]]}
        name = rest("POST", "users", user)["name"]
        for arguments in ({"role": "Member"}, {"role": "Member", "user": user["email"]}):
            headers = {"authorization": f"Bearer {running.token(**arguments)}"}
            assert rest.send("GET", "accounts", headers=headers).status_code == 200
            assert rest.send("POST", "tenants", {}, headers=headers).status_code == 403
            principal = rest.send("GET", "me", headers=headers).json()["principal"]
            assert principal == name or "user" not in arguments

    def test_a_second_up_on_the_same_folder_is_refused(self, instance, running, rest):
        process = subprocess.run(
            [sys.executable, "-m", "kontor_dev", "dev", "up", "--port", "0", "--data", str(instance.data)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert process.returncode == 1
        assert f"An instance runs on {instance.data} already" in process.stderr
        assert is_served(rest)


class TestSecondInstance:
    def test_runs_beside_the_first_and_knows_nothing_of_it(self, platform, running, rest):
        assert platform.url != running.url
        created = create(rest, "Only here").json()["name"]
        with Rest(platform) as other:
            assert other.send("GET", created).status_code == 404
            headers = {"authorization": rest.http.headers["authorization"]}
            assert other.send("GET", "accounts", headers=headers).status_code == 401


class TestKilled:
    def test_one_replica_of_two_is_not_missed_by_readers(self, running):
        # The gateway may have turned away from a replica that was replaced before.
        eventually(lambda: all_serve(running))
        pid = rows(running)["contacts-serve-1"]["pid"]
        with Load(running, ["contacts"]) as load:
            time.sleep(0.3)
            os.kill(pid, signal.SIGKILL)
            eventually(lambda: all_serve(running))
        assert [failure for failure in load.failed if failure[0] == "read"] == []

    @pytest.mark.parametrize("service", ["contacts", "identity"])
    def test_replicas_of_a_service_come_back_where_they_were(self, running, rest, service):
        before = rows(running)
        killed = [name for name in before if name.startswith(f"{service}-serve")]
        for name in killed:
            os.kill(before[name]["pid"], signal.SIGKILL)
        eventually(lambda: is_served(rest))
        eventually(lambda: all_serve(running))
        after = rows(running)
        assert [after[name]["address"] for name in killed] == [before[name]["address"] for name in killed]
        assert {name for name in before if after[name]["pid"] != before[name]["pid"]} == set(killed)

    def test_postgres_comes_back_and_nothing_that_was_promised_is_lost(self, running, rest):
        with Load(running, ["contacts"]) as load:
            eventually(lambda: len(load.made) > 20)
            pid = rows(running)["postgres"]["pid"]
            os.kill(pid, signal.SIGKILL)
            eventually(lambda: rows(running)["postgres"]["pid"] not in (pid, None))
            eventually(lambda: all_serve(running))
            before = len(load.made)
            eventually(lambda: len(load.made) > before + 20)
        stored = {account["name"] for account in rest.all("accounts")}
        assert set(load.made) <= stored
        assert {status for _, status, _ in load.failed} <= {503, 504}, load.failed

    def test_after_the_supervisor_the_next_start_clears_away(self, instance, rest):
        created = create(rest, "Outlives the supervisor").json()["name"]
        left = instance.members()
        instance.end(signal.SIGKILL)
        with Rest(instance.start()) as again:
            assert alive(left) == []
            assert again.send("GET", created).status_code == 200


class TestRestart:
    def test_of_a_service_under_load_fails_no_request(self, running, rest):
        with Load(running, ["contacts"]) as load:
            answer = running.command("restart", "contacts")
        assert re.findall(r"^(\S+) serves", answer, re.MULTILINE) == [
            "contacts-serve-1",
            "contacts-serve-2",
            "contacts-work-1",
        ]
        assert load.failed == []
        assert load.asked > 50
        stored = [account for account in rest.all("accounts") if account["displayName"].startswith("Load ")]
        assert len({account["displayName"] for account in stored}) == len(stored), "a write was done twice"

    def test_of_the_whole_repeats_no_work_and_keeps_the_data(self, instance, running, rest):
        created = create(rest, "Kept").json()
        members = instance.members()
        began = time.monotonic()
        assert instance.end() == 0
        assert time.monotonic() - began < STOP_SECONDS
        assert alive(members) == []
        with Rest(instance.start()) as client:
            assert client("GET", created["name"]) == created
        assert "Migrations" not in instance.said
        assert "First tenant" not in instance.said


class TestOrdinaryUser:
    def test_needs_no_root(self, folder):
        if os.geteuid() != 0:
            pytest.skip("the other tests run as an ordinary user already")
        who = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        python = f"/usr/bin/python3.{sys.version_info.minor}"
        home = folder / "home"
        home.mkdir()
        os.chown(home, 65534, 65534)
        instance = Instance(home / "data", "--no-demo", "--services", ",".join(SERVICES))
        options = {**who, "cwd": home, "env": environment(home)}
        try:
            usable = subprocess.run([python, "-c", "import kontor_dev.up"], check=False, **options).returncode == 0
        except OSError:
            usable = False
        if not usable:
            pytest.skip("no ordinary user can read this tree and run a Python of this version")
        try:
            running = instance.start((python,), **options)
            assert {process.username() for process in instance.members()} == {"nobody"}
            with Rest(running) as rest:
                assert create(rest, "Made by nobody").status_code == 200
            members = instance.members()
            assert instance.end(signal.SIGINT) == 0
            assert alive(members) == []
        finally:
            instance.clear_away()
