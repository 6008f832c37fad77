"""Keeps child processes running: sees a death at once, starts again, stops all in order."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kontor_dev import leftovers
from kontor_dev.child import User, launch
from kontor_dev.data import DataFolder
from kontor_dev.errors import StartFailed, Stopped

SERVING = "SERVING"
NOT_SERVING = "NOT_SERVING"

FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 5.0
# A process that lived this long was well: its next death is a new story.
WELL_AFTER_SECONDS = 10.0
# A process that dies this often before it ever served will not come up.
DEATHS_BEFORE_GIVING_UP = 3
POLL_SECONDS = 0.05
READY_SECONDS = 120.0
LAST_LINES = 15


@dataclass(frozen=True)
class Spec:
    """A process to keep running."""

    name: str
    service: str
    role: str
    argv: tuple[str, ...]
    address: str
    probe: Callable[[], str]
    """Asks the process how it is: SERVING or another word."""
    stage: int
    """The highest stage stops first; within a stage all stop together."""
    env: Mapping[str, str] | None = None
    user: User | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    orphan_signal: signal.Signals = signal.SIGKILL
    """What it gets when its supervisor was killed: there is nobody left to wait for it."""
    stop_seconds: float = 9.0
    """How long it may take to stop before it is killed."""
    is_in_use: Callable[[], bool] = lambda: True
    """Tells whether callers have found back to it after a restart: before that, the next replica must not go."""


class Child:
    """One process and its successors, started and waited for by a thread of their own.

    The thread lives as long as the process, as the parent-death signal of Linux follows the thread, not the process.
    """

    def __init__(self, spec: Spec, data: DataFolder, tell: Callable[[str], None]) -> None:
        self.spec = spec
        self.log = data.logs / f"{spec.name}.log"
        self.deaths = 0
        self._data = data
        self._tell = tell
        self._guard = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._renewing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=spec.name, daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """The process's number; None while there is none."""
        process = self._process
        return process.pid if process else None

    def _run(self) -> None:
        delay = FIRST_DELAY_SECONDS
        while not self._stopping.is_set():
            began = time.monotonic()
            code = self._run_once()
            if self._stopping.is_set():
                return
            if self._renewing.is_set():
                self._renewing.clear()
                continue
            self.deaths += 1
            if time.monotonic() - began > WELL_AFTER_SECONDS:
                delay = FIRST_DELAY_SECONDS
            self._tell(f"{self.spec.name} ended {_how(code)}; starting it again in {delay:.1f} s")
            self._stopping.wait(delay)
            delay = min(delay * 2, LONGEST_DELAY_SECONDS)

    def _run_once(self) -> int:
        spec = self.spec
        with self.log.open("ab") as log, self._guard:
            if self._stopping.is_set():
                return 0
            process = launch(
                spec.argv,
                output=log,
                env=spec.env,
                user=spec.user,
                death_signal=spec.orphan_signal,
            )
            leftovers.remember(self._data, spec.name, process.pid, spec.orphan_signal)
            self._process = process
        code = process.wait()
        with self._guard:
            self._process = None
        self._data.remember_process(spec.name, None)
        return code

    def health(self) -> str:
        """Returns what the process says of itself; NOT_SERVING while there is none."""
        return self.spec.probe() if self.pid is not None else NOT_SERVING

    def renew(self) -> None:
        """Replaces the process by a new one; returns when the old one is gone."""
        with self._guard:
            process = self._process
            if process is None:
                return
            self._renewing.set()
            process.send_signal(self.spec.stop_signal)
        if not self._ended(process, self.spec.stop_seconds, threading.Event()):
            process.kill()
            self._ended(process, self.spec.stop_seconds, threading.Event())

    def stop(self, hurry: threading.Event) -> None:
        """Stops for good: asks, and kills what has not stopped in its time or when `hurry` is set."""
        with self._guard:
            self._stopping.set()
            process = self._process
            if process is not None:
                process.send_signal(self.spec.stop_signal)
        if process is not None and not self._ended(process, self.spec.stop_seconds, hurry):
            process.kill()
        self._thread.join()

    def _ended(self, process: subprocess.Popen[bytes], seconds: float, hurry: threading.Event) -> bool:
        until = time.monotonic() + seconds
        while self._process is process:
            if time.monotonic() > until or hurry.wait(POLL_SECONDS):
                return False
        return True


class Supervisor:
    """The processes of one instance."""

    def __init__(self, data: DataFolder, tell: Callable[[str], None]) -> None:
        self.stopping = threading.Event()
        self.hurry = threading.Event()
        self._data = data
        self._tell = tell
        self._children: dict[str, Child] = {}

    def start(self, specs: Iterable[Spec]) -> list[Child]:
        """Starts processes and returns at once."""
        children = [Child(spec, self._data, self._tell) for spec in specs]
        self._children |= {child.spec.name: child for child in children}
        return children

    def await_ready(self, children: Iterable[Child], ready: Callable[[Child], None] = lambda child: None) -> None:
        """Returns when all serve, calling `ready` for each; raises StartFailed, or Stopped when that was asked for."""
        waiting = list(children)
        with ThreadPoolExecutor(max(1, len(waiting))) as pool:
            list(pool.map(lambda child: self._await_one(child, ready), waiting))

    def _await_one(self, child: Child, ready: Callable[[Child], None]) -> None:
        until = time.monotonic() + READY_SECONDS
        deaths = child.deaths
        while child.health() != SERVING:
            if self.stopping.wait(POLL_SECONDS):
                raise Stopped
            if child.deaths - deaths >= DEATHS_BEFORE_GIVING_UP:
                raise StartFailed(f"{child.spec.name} does not start.\n{last_lines(child.log)}")
            if time.monotonic() > until:
                raise StartFailed(
                    f"{child.spec.name} does not serve {READY_SECONDS:.0f} s after its start.\n{last_lines(child.log)}"
                )
        ready(child)

    def restart(self, service: str) -> Iterator[str]:
        """Replaces the processes of a service one by one, each when the one before serves again; tells what it does."""
        for child in [child for child in self._children.values() if child.spec.service == service]:
            yield f"{child.spec.name} is being replaced"
            child.renew()
            self.await_ready([child])
            until = time.monotonic() + READY_SECONDS
            while not child.spec.is_in_use() and time.monotonic() < until and not self.stopping.wait(POLL_SECONDS):
                pass
            yield f"{child.spec.name} serves, process {child.pid}"

    def services(self) -> list[str]:
        """Returns whose processes run, in the order of their start."""
        return list(dict.fromkeys(child.spec.service for child in self._children.values()))

    def rows(self) -> list[dict[str, Any]]:
        """Returns one row per process: name, service, role, pid, address, health."""
        children = list(self._children.values())
        with ThreadPoolExecutor(max(1, len(children))) as pool:
            health = list(pool.map(Child.health, children))
        return [
            {
                "name": child.spec.name,
                "service": child.spec.service,
                "role": child.spec.role,
                "pid": child.pid,
                "address": child.spec.address,
                "health": word,
            }
            for child, word in zip(children, health, strict=True)
        ]

    def stop(self) -> None:
        """Stops everything, stage by stage."""
        self.stopping.set()
        for stage in sorted({child.spec.stage for child in self._children.values()}, reverse=True):
            members = [child for child in self._children.values() if child.spec.stage == stage]
            with ThreadPoolExecutor(len(members)) as pool:
                list(pool.map(lambda child: child.stop(self.hurry), members))


def last_lines(log: Path) -> str:
    """Returns the end of a log, headed by where it lies."""
    lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:] if log.exists() else []
    return "\n".join([f"The end of {log}:", *(f"  {line}" for line in lines)])


def _how(code: int) -> str:
    return f"with code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
