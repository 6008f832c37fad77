"""`kontor dev up` and the commands beside it, with a service and a gateway that are fakes and a real PostgreSQL."""

import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from kontor_dev.child import User, run_as

NOBODY = User("nobody", 65534, 65534)


def ended(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.fixture
def folder():
    """A folder that everybody may use, which tmp_path is not."""
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o777)
        yield Path(path)


class TestUp:
    def test_one_run_from_start_to_stop(self, folder, run_up, kontor, status):
        data = folder / "data"
        run = run_up(data, 2)
        url = run.await_line("ready: ").removeprefix("ready: ")
        rows = status(data)
        assert list(rows) == ["postgres", "alpha-serve-1", "alpha-serve-2", "alpha-work-1", "envoy"]
        assert {row["health"] for row in rows.values()} == {"SERVING"}
        assert all(psutil.pid_exists(row["pid"]) for row in rows.values())
        assert "alpha-serve-2" in kontor("dev", "status", "--data", data).stdout
        assert kontor("dev", "url", "gateway", "--data", data).stdout.strip() == url
        assert kontor("dev", "url", "alpha", "--data", data).stdout.strip() == rows["alpha-serve-1"]["address"]
        query = kontor("dev", "psql", "alpha", "--data", data, "--", "-Atc", "SELECT current_user, count(*) FROM note")
        assert (query.returncode, query.stdout) == (0, "alpha_owner|0\n"), query.stderr
        unknown = kontor("dev", "url", "beta", "--data", data)
        assert (unknown.returncode, unknown.stderr) == (1, "kontor: No service `beta` runs here; there are alpha.\n")
        began = time.monotonic()
        assert run.end() == 0
        assert time.monotonic() - began < 20
        assert all(ended(row["pid"]) for row in rows.values())
        after = kontor("dev", "status", "--json", "--data", data)
        assert after.returncode == 1
        assert "Nothing runs on" in after.stderr

    def test_restart_replaces_each_process_of_a_service_and_no_other(self, folder, run_up, kontor, status):
        run = run_up(folder / "data", 2)
        run.await_line("ready: ")
        before = status(folder / "data")
        answer = kontor("dev", "restart", "alpha", "--data", folder / "data")
        assert answer.returncode == 0, answer.stderr
        assert [line.split()[0] for line in answer.stdout.splitlines()[::2]] == list(before)[1:4]
        after = status(folder / "data")
        changed = [name for name in before if before[name]["pid"] != after[name]["pid"]]
        assert changed == ["alpha-serve-1", "alpha-serve-2", "alpha-work-1"]
        assert {row["health"] for row in after.values()} == {"SERVING"}
        assert kontor("dev", "restart", "beta", "--data", folder / "data").returncode == 1

    def test_a_second_one_is_refused_on_the_same_folder_and_runs_on_another(self, folder, run_up):
        run_up(folder / "data").await_line("ready: ")
        second = run_up(folder / "data")
        assert second.process.wait(20) == 1
        assert "runs on" in second.process.stdout.read()
        other = run_up(folder / "other")
        other.await_line("ready: ")
        assert other.end(signal.SIGINT) == 0

    def test_postgres_and_services_come_back_when_they_are_killed(self, folder, run_up, status, eventually):
        run_up(folder / "data").await_line("ready: ")
        before = status(folder / "data")
        for name in ("postgres", "alpha-serve-1"):
            os.kill(before[name]["pid"], signal.SIGKILL)
        eventually(lambda: all(row["health"] == "SERVING" for row in status(folder / "data").values()), 20)
        after = status(folder / "data")
        assert after["postgres"]["pid"] != before["postgres"]["pid"]
        assert after["alpha-serve-1"]["address"] == before["alpha-serve-1"]["address"]

    def test_a_killed_supervisor_leaves_nothing_and_the_folder_starts_again(self, folder, run_up, status, eventually):
        run = run_up(folder / "data")
        run.await_line("ready: ")
        before = status(folder / "data")
        run.process.kill()
        again = run_up(folder / "data")
        again.await_line("ready: ")
        assert "Migrations" not in again.said, "the same code has migrated already"
        eventually(lambda: all(ended(row["pid"]) for row in before.values()))

    def test_a_signal_while_it_starts_stops_it_well(self, folder, run_up):
        run = run_up(folder / "data")
        run.await_line("PostgreSQL")
        assert run.end() == 0
        assert "ready" not in run.said

    def test_over_a_given_broker_who_follows_receives_from_it_and_none_is_started(self, folder, run_up, kontor, status):
        run = run_up(folder / "data", 1, "amqp://broker.test")
        run.await_line("ready: ")
        rows = status(folder / "data")
        assert list(rows) == ["postgres", "alpha-serve-1", "alpha-work-1", "alpha-receive-1", "envoy"]
        assert {row["health"] for row in rows.values()} == {"SERVING"}
        assert "broker.test" not in (folder / "data" / "state.json").read_text()
        assert kontor("dev", "url", "rabbitmq", "--data", folder / "data").returncode == 1

    def test_an_ordinary_user_needs_no_root(self, folder, run_up):
        if os.geteuid() != 0:
            pytest.skip("the other tests run as an ordinary user already")
        pythons = [sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"]
        readable = run_as(NOBODY, ["/usr/bin/test", "-r", __file__])[0] == 0
        usable = [python for python in pythons if Path(python).exists() and run_as(NOBODY, [python, "-c", ""])[0] == 0]
        if not (readable and usable):
            pytest.skip("no ordinary user can read this tree and run a Python of this version")
        run = run_up(folder / "data", python=usable[0], user=NOBODY)
        run.await_line("ready: ")
        assert (folder / "data" / "postgres").stat().st_uid == (folder / "data").stat().st_uid != 0
        assert run.end() == 0
