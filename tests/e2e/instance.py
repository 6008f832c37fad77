"""An instance of the platform that belongs to one test: started, killed, stopped and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from kontor_dev.data import DataFolder
from tests.e2e.support import Platform

START_SECONDS = 240
STOP_SECONDS = 30


class Instance:
    """`kontor dev up` on the data folder `data`, with the arguments given; `command` is what stands for `kontor`."""

    def __init__(self, data: Path, *arguments: str, command: tuple[str, ...] = ("-m", "kontor_dev")) -> None:
        self.data = data
        self.arguments = ("dev", "up", "--port", "0", "--data", str(data), *arguments)
        self._command = command
        self._log = data.with_name(f"{data.name}.said")
        self._process: subprocess.Popen[bytes] | None = None
        self._platform: Platform | None = None

    @property
    def process(self) -> psutil.Process:
        """The supervisor."""
        assert self._process is not None, "it was not started"
        return psutil.Process(self._process.pid)

    def launch(self, program: tuple[str, ...] = (sys.executable,), **options: Any) -> subprocess.Popen[bytes]:
        """Start the command and return at once; `options` are those of Popen."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*program, *self._command, *self.arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **options,
            )
        return self._process

    def start(self, program: tuple[str, ...] = (sys.executable,), **options: Any) -> Platform:
        """Start the command and return when it says that it is ready."""
        process = self.launch(program, **options)
        until = time.monotonic() + START_SECONDS
        while "\nready: " not in f"\n{self.said}":
            assert process.poll() is None, self.said
            assert time.monotonic() < until, self.said
            time.sleep(0.05)
        self._platform = Platform(self.data)
        return self._platform

    @property
    def platform(self) -> Platform:
        """What speaks with the instance as it runs now."""
        assert self._platform is not None, "it is not ready"
        return self._platform

    @property
    def said(self) -> str:
        """What the command has printed."""
        return self._log.read_text(errors="replace")

    def members(self) -> list[psutil.Process]:
        """Return all processes of the instance, the supervisor first."""
        return [self.process, *self.process.children(recursive=True)]

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, and return its exit code."""
        assert self._process is not None, "it was not started"
        self._process.send_signal(number)
        return self._process.wait(STOP_SECONDS)

    def clear_away(self) -> None:
        """End everything, whatever a test has left."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.end()
            self._process.kill()
            self._process.wait()
        for pid, _, _ in DataFolder(self.data).processes().values():
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()


def rows(platform: Platform) -> dict[str, dict[str, Any]]:
    """Return the rows of `status --json` by the processes' names."""
    return {row["name"]: row for row in platform.status()}


def eventually(question: Any, seconds: float = 60) -> Any:
    """Ask until the answer is true, and return it."""
    until = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.05)
    return answer


def environment(home: Path) -> dict[str, str]:
    """Return an environment for another user's Python: it finds what this one does, and writes to `home`."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return {"HOME": str(home), "PATH": os.defpath, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
