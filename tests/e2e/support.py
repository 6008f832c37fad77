"""The whole platform, as `kontor dev up` runs it, for tests that cross services."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from kontor_dev.data import DataFolder
from kontor_dev.platform import database_url

START_SECONDS = 240
STOP_SECONDS = 120


class Platform:
    """An instance that runs on the data folder `data`, with the empty tenant `demo`."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.folder = DataFolder(data)
        self.url: str = self.folder.running()["url"]
        """Where the gateway answers, `http://127.0.0.1:{port}`."""
        self.token = cache(self._token)

    def address(self, service: str) -> str:
        """Return where a service answers gRPC, `host:port`, past the gateway."""
        return self.command("url", service).strip()

    def _token(self, *, tenant: str = "demo", role: str = "admin", user: str = "") -> str:
        """Return a bearer token of 12 hours; the same one for the same arguments."""
        named = ["--user", user] if user else []
        return self.command("token", "--tenant", tenant, "--role", role, *named).strip()

    def status(self) -> list[dict[str, Any]]:
        """Return the rows of `kontor dev status --json`."""
        return json.loads(self.command("status", "--json"))

    def database_url(self, service: str, role: str = "owner") -> str:
        """Return the libpq URL of a service's database for owner (whom row security does not bind), app or system."""
        return database_url(self.folder, self.folder.running()["database_port"], service, role)

    def command(self, verb: str, *arguments: str) -> str:
        """Run `kontor dev VERB --data DATA ARGUMENT...` and return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "kontor_dev", "dev", verb, "--data", str(self.data), *arguments],
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextlib.contextmanager
def shared_platform(home: Path) -> Iterator[Platform]:
    """Give the platform of a test run: the process that needs it first starts it, and stops it after all others left.

    `home` is a folder that is the same for all processes of the run, and is removed in the end.
    """
    home.mkdir(mode=0o755, exist_ok=True)
    data = home / "data"
    with (home / "users").open("a") as users:
        with _turn(home):
            fcntl.flock(users, fcntl.LOCK_SH)
            started = None if data.exists() else _start(data)
        try:
            yield Platform(data)
        finally:
            if started is not None:
                with _turn(home):
                    fcntl.flock(users, fcntl.LOCK_EX)  # waits for the others
                    _stop(started)
                    shutil.rmtree(home)


@contextlib.contextmanager
def _turn(home: Path) -> Iterator[None]:
    """Let the processes of a run start and stop one after the other."""
    with (home / "turn").open("a") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


def _start(data: Path) -> subprocess.Popen[bytes]:
    """Start it, and wait until it is ready."""
    said = data.with_name("said.txt")
    with said.open("w") as output:
        # A session of its own: Ctrl-C is for pytest, which then stops it in order.
        process = subprocess.Popen(
            [sys.executable, "-m", "kontor_dev", "dev", "up", "--no-demo", "--port", "0", "--data", str(data)],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Campaigns can start, and no mail goes anywhere.
            env={**os.environ, "KONTOR_MARKETING_SMTP_URL": "smtp://127.0.0.1:9"},
        )
    until = time.monotonic() + START_SECONDS
    while "\nready: " not in f"\n{said.read_text()}":
        if process.poll() is not None or time.monotonic() > until:
            _stop(process)
            raise AssertionError(f"the platform did not start:\n{said.read_text()}\nits logs: {data / 'logs'}")
        time.sleep(0.05)
    return process


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(STOP_SECONDS)
