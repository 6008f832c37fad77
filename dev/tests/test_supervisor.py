"""Children are watched, started again, and stopped in order."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import psutil
import pytest

from kontor_dev import leftovers
from kontor_dev.data import DataFolder
from kontor_dev.errors import StartFailed, Stopped
from kontor_dev.supervisor import NOT_SERVING, SERVING, Spec, Supervisor

WAIT = "import time; time.sleep(60)"
DEAF = """
    import signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("deaf", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def data(tmp_path):
    folder = DataFolder(tmp_path / "data")
    folder.create()
    return folder


@pytest.fixture
def told():
    return []


@pytest.fixture
def supervisor(data, told):
    supervisor = Supervisor(data, told.append)
    yield supervisor
    supervisor.hurry.set()
    supervisor.stop()


def spec(name, code=WAIT, *, service="alpha", stage=1, probe=lambda: SERVING, **more):
    argv = (sys.executable, "-I", "-S", "-c", textwrap.dedent(code))
    return Spec(name, service, "serve", argv, "127.0.0.1:1", probe, stage, env=dict(os.environ), **more)


def says(child, word):
    return child.log.exists() and word in child.log.read_text()


class TestWatching:
    def test_a_child_runs_again_when_it_was_killed(self, eventually, supervisor, told):
        (child,) = supervisor.start([spec("one")])
        first = eventually(lambda: child.pid)
        os.kill(first, signal.SIGKILL)
        assert eventually(lambda: child.pid not in {first, None} and child.pid) != first
        assert told == ["one ended by SIGKILL; starting it again in 0.1 s"]

    def test_its_number_is_none_and_it_does_not_serve_while_it_is_away(self, eventually, supervisor):
        (child,) = supervisor.start([spec("one", "raise SystemExit(3)")])
        eventually(lambda: child.deaths > 2)
        (row,) = supervisor.rows()
        assert row == {
            "name": "one",
            "service": "alpha",
            "role": "serve",
            "pid": None,
            "address": "127.0.0.1:1",
            "health": NOT_SERVING,
        }

    def test_a_start_fails_with_the_end_of_the_log_when_a_child_dies_again_and_again(self, supervisor):
        children = supervisor.start([spec("one", "raise SystemExit('no such table')", probe=lambda: NOT_SERVING)])
        with pytest.raises(StartFailed, match=r"one does not start\.\n.*one\.log:\n.*no such table"):
            supervisor.await_ready(children)

    def test_a_start_ends_when_it_is_asked_to_stop(self, supervisor):
        children = supervisor.start([spec("one", probe=lambda: NOT_SERVING)])
        threading.Timer(0.1, supervisor.stopping.set).start()
        with pytest.raises(Stopped):
            supervisor.await_ready(children)


class TestRestart:
    def test_replicas_are_replaced_one_after_the_other(self, eventually, supervisor):
        children = supervisor.start([spec("a-1"), spec("a-2"), spec("b-1", service="beta")])
        eventually(lambda: all(child.pid for child in children))
        before = [child.pid for child in children]
        seen = []
        for text in supervisor.restart("alpha"):
            seen.append((text.split()[0], [child.pid == pid for child, pid in zip(children, before, strict=True)]))
        assert seen == [
            ("a-1", [True, True, True]),
            ("a-1", [False, True, True]),
            ("a-2", [False, True, True]),
            ("a-2", [False, False, True]),
        ]

    def test_a_restart_counts_as_no_death(self, eventually, supervisor, told):
        (child,) = supervisor.start([spec("a-1")])
        eventually(lambda: child.pid)
        list(supervisor.restart("alpha"))
        assert (child.deaths, told) == (0, [])


class TestStop:
    LEAVE_A_MARK = """
        import signal, sys, time
        def leave(*_):
            time.sleep({delay})
            open({path!r}, "a").write({name!r})
            sys.exit()
        signal.signal(signal.SIGTERM, leave)
        print("armed", flush=True)
        time.sleep(60)
    """

    def test_stages_stop_from_the_highest_each_after_the_other(self, eventually, supervisor, tmp_path):
        path = str(tmp_path / "marks")
        children = supervisor.start(
            spec(name, self.LEAVE_A_MARK.format(path=path, name=name, delay=stage * 0.1), stage=stage)
            for stage, name in enumerate(("postgres ", "alpha ", "envoy "), 1)
        )
        eventually(lambda: all(says(child, "armed") for child in children))
        supervisor.stop()
        assert (tmp_path / "marks").read_text() == "envoy alpha postgres "

    def test_who_does_not_listen_is_killed(self, eventually, supervisor):
        (child,) = supervisor.start([spec("one", DEAF, stop_seconds=0.3)])
        eventually(lambda: says(child, "deaf"))
        supervisor.stop()
        assert child.pid is None

    def test_hurry_does_not_wait(self, eventually, supervisor):
        (child,) = supervisor.start([spec("one", DEAF, stop_seconds=30)])
        eventually(lambda: says(child, "deaf"))
        began = time.monotonic()
        supervisor.hurry.set()
        supervisor.stop()
        assert time.monotonic() - began < 5

    def test_nothing_is_recorded_as_running_afterwards(self, eventually, supervisor, data):
        (child,) = supervisor.start([spec("one")])
        eventually(lambda: "one" in data.processes())
        supervisor.stop()
        assert data.processes() == {}
        assert child.pid is None


class TestLeftovers:
    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
    def test_children_end_with_a_supervisor_that_is_killed(self, eventually, data):
        code = f"""
            import sys, time
            from pathlib import Path
            from kontor_dev.data import DataFolder
            from kontor_dev.supervisor import Spec, Supervisor
            supervisor = Supervisor(DataFolder(Path({str(data.path)!r})), print)
            argv = (sys.executable, "-c", "import time; time.sleep(60)")
            supervisor.start([Spec("one", "alpha", "serve", argv, "", lambda: "SERVING", 1)])
            time.sleep(60)
        """
        environment = dict(os.environ) | {"PYTHONPATH": os.pathsep.join(sys.path)}
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], env=environment)
        pid = eventually(lambda: data.processes().get("one"))[0]
        process.kill()
        process.wait()
        eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)

    def test_what_is_recorded_and_runs_is_ended(self, data):
        process = subprocess.Popen([sys.executable, "-c", WAIT])
        leftovers.remember(data, "one", process.pid, signal.SIGTERM)
        assert leftovers.end(data) == ["one"]
        assert not psutil.pid_exists(process.pid)
        process.wait()
        assert data.processes() == {}

    def test_a_stranger_with_the_same_number_is_left_alone(self, data):
        process = subprocess.Popen([sys.executable, "-c", WAIT])
        data.remember_process("one", [process.pid, time.time() - 1000, int(signal.SIGTERM)])
        assert leftovers.end(data) == []
        assert process.poll() is None
        assert data.processes() == {}
        process.kill()
        process.wait()
