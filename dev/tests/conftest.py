"""Runs the `kontor` command and its supervisor in processes of their own, and ends what a test leaves."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from kontor_dev.data import DataFolder

FAKES = Path(__file__).parent / "fakes"
PATH = os.pathsep.join([str(FAKES), *(entry for entry in sys.path if entry)])


@pytest.fixture
def eventually():
    """Returns what asks until the answer is true, and returns it."""

    def ask(question, seconds=10.0):
        until = time.monotonic() + seconds
        while not (answer := question()):
            assert time.monotonic() < until, "it did not come to pass"
            time.sleep(0.02)
        return answer

    return ask


class Up:
    """A run of the platform with a fake service and a fake gateway."""

    def __init__(self, data, replicas=1, *broker, python=sys.executable, user=None):
        self.data = Path(data)
        self.process = subprocess.Popen(
            [python, str(FAKES / "run_up.py"), str(data), str(replicas), *broker],
            env=dict(os.environ) | {"PYTHONPATH": PATH},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            **({"user": user.uid, "group": user.gid, "extra_groups": []} if user else {}),
        )
        self.said = ""

    def await_line(self, start):
        for line in self.process.stdout:
            self.said += line
            if line.startswith(start):
                return line.strip()
        raise AssertionError(f"ended without `{start}`:\n{self.said}")

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.said += self.process.communicate(timeout=30)[0]
        return self.process.returncode


@pytest.fixture
def run_up():
    """Returns what starts the platform; all that still runs at the end of a test is ended."""
    runs = []

    def start(*arguments, **keywords):
        runs.append(Up(*arguments, **keywords))
        return runs[-1]

    yield start
    for run in runs:
        with contextlib.suppress(ProcessLookupError):
            run.process.kill()
        run.process.communicate()
        folder = DataFolder(run.data)
        for pid, _, _ in folder.processes().values():
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()


@pytest.fixture
def kontor():
    """Returns what runs the command as a user does."""

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "kontor_dev", *map(str, arguments)],
            env=dict(os.environ) | {"PYTHONPATH": PATH},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def status(kontor):
    """Returns what reads the rows of `kontor dev status` by name."""
    return lambda data: {
        row["name"]: row for row in json.loads(kontor("dev", "status", "--json", "--data", data).stdout)
    }
