"""The data folder: what an instance knows about itself, its secrets, and the lock that keeps it to itself."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kontor_dev.errors import NothingRuns, Refused

# Of the address of a Unix socket, with some room: 108 on Linux, 104 on macOS.
LONGEST_SOCKET_PATH = 100
LOCK_PATIENCE_SECONDS = 0.5


class DataFolder:
    """The folder behind `--data`.

    `state.json` says what runs where, `secrets.json` (0600) holds passwords and keys, `logs/` one file per process.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.logs = self.path / "logs"
        self._guard = threading.Lock()

    def create(self) -> None:
        """Makes the folder where it is missing."""
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            (self.path / "lock").touch()
        except OSError as error:
            raise Refused(
                f"{self.path} cannot be written ({error.strerror}); choose another folder with --data."
            ) from error

    def state(self) -> dict[str, Any]:
        """Returns what is recorded; empty where nothing is."""
        return _read(self.path / "state.json")

    def remember(self, **facts: Any) -> None:
        """Records facts; None removes one."""
        with self._guard:
            known = self.state() | facts
            _write(self.path / "state.json", {key: value for key, value in known.items() if value is not None}, 0o644)

    def secret(self, name: str) -> str:
        """Returns a secret, made when it is first asked for."""
        with self._guard:
            known = _read(self.path / "secrets.json")
            if name not in known:
                known[name] = secrets.token_urlsafe(36)
                _write(self.path / "secrets.json", known, 0o600)
            return str(known[name])

    def processes(self) -> dict[str, Any]:
        """Returns the processes that run, or ran when their supervisor was killed: name to pid, start, signal."""
        return _read(self.path / "processes.json")

    def remember_within(self, fact: str, key: str, value: Any) -> None:
        """Records a value under a key of a fact that is a table."""
        with self._guard:
            known = self.state()
            known[fact] = known.get(fact, {}) | {key: value}
            _write(self.path / "state.json", known, 0o644)

    def remember_process(self, name: str, facts: list[Any] | None) -> None:
        """Records a process, or that it is gone."""
        with self._guard:
            known = self.processes() | {name: facts}
            _write(self.path / "processes.json", {key: value for key, value in known.items() if value}, 0o644)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps others from starting on the same folder; the system gives it back whatever happens to us."""
        with (self.path / "lock").open() as file:
            patience = time.monotonic() + LOCK_PATIENCE_SECONDS
            while not _locked(file.fileno(), fcntl.LOCK_EX):
                if time.monotonic() > patience:
                    raise Refused(self._taken())
                time.sleep(0.05)
            yield

    def _taken(self) -> str:
        state = self.state()
        who = f" (process {state['supervisor']}, {state['url']})" if "supervisor" in state and "url" in state else ""
        return f"An instance runs on {self.path} already{who}. Stop it, or give this one another --data and --port."

    def running(self) -> dict[str, Any]:
        """Returns what is recorded about the instance that runs; raises NothingRuns where none does."""
        with contextlib.suppress(FileNotFoundError), (self.path / "lock").open() as file:
            if not _locked(file.fileno(), fcntl.LOCK_SH):
                return self.state()
        raise NothingRuns(f"Nothing runs on {self.path}. Start it with: kontor dev up --data {self.path}")

    def control_path(self) -> Path:
        """Returns where the control socket goes: into the folder, or to a short place where the path is too long."""
        path = self.path / "control"
        if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
            return path
        return Path(tempfile.mkdtemp(prefix="kontor-")) / "control"

    def keep_last_logs(self) -> None:
        """Sets the logs of the last run aside, so that a log holds one run."""
        for log in self.logs.glob("*.log"):
            shutil.move(log, log.with_suffix(".log.1"))


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return {}
    except PermissionError as error:
        raise Refused(f"{path} belongs to another user; choose another folder with --data.") from error


def _write(path: Path, content: dict[str, Any], mode: int) -> None:
    """Replaces a file as a whole, so that a reader never sees half of it."""
    new = path.with_suffix(".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        json.dump(content, file, indent=2)
    new.replace(path)
