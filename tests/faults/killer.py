"""The killer: picks processes at random, kills, stops or ends them, and measures how long it takes until they serve again."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from kontor_dev import status
from kontor_dev.data import DataFolder
from kontor_dev.errors import Refused
from kontor_dev.supervisor import SERVING

KILL, HANG, END = "SIGKILL", "SIGSTOP", "SIGTERM"
POLL_SECONDS = 0.3
HANG_SECONDS = (2.0, 7.0)
"""The longest is longer than a sequencer's lease."""
OURS = ("serve", "work", "receive", "relay")
"""The roles that run our code, and have something to do at the end."""


@dataclass
class Fault:
    """Something that was done to a process."""

    victim: str
    role: str
    how: str
    pid: int
    began: float
    seconds: float | None = None
    """Until the process, or its successor, served again; None while it does not."""


class Watch(threading.Thread):
    """Sees how the processes are."""

    def __init__(self, data: DataFolder) -> None:
        super().__init__(name="watch", daemon=True)
        self._data = data
        self._enough = threading.Event()
        self.rows: dict[str, dict[str, Any]] = {}
        self.faults: list[Fault] = []

    def run(self) -> None:
        while not self._enough.wait(POLL_SECONDS):
            self.look()

    def look(self) -> None:
        # The supervisor has much to do now and then.
        with contextlib.suppress(Refused, OSError):
            self.rows = {row["name"]: row for row in status.rows(self._data)}
        for fault in self.faults:
            row = self.rows.get(fault.victim, {})
            is_back = row.get("health") == SERVING and (row["pid"] != fault.pid or fault.how == HANG)
            if fault.seconds is None and is_back:
                fault.seconds = time.monotonic() - fault.began

    def is_well(self) -> bool:
        """Tell whether everything serves, and whatever was killed has come back."""
        health = {row["health"] for row in self.rows.values()}
        return health == {SERVING} and all(fault.seconds is not None for fault in self.faults)

    def stop(self) -> None:
        self._enough.set()
        self.join()


class Killer:
    """Does faults, one after the other."""

    def __init__(self, watch: Watch, seed: int, say: Callable[[Fault], None]) -> None:
        self._watch, self._say = watch, say
        self._draw = random.Random(seed)
        self._deck = self._cards()

    def _cards(self) -> Iterator[tuple[str, str]]:
        """Yield victims and what to do: each victim is killed as often, and one in four of our own is hung or ended."""
        while True:
            victims = list(self._watch.rows.values())
            cards = [(row["name"], KILL) for row in victims]
            ours = [row["name"] for row in victims if row["role"] in OURS]
            cards += [(self._draw.choice(ours), how) for how in (HANG, END)]
            self._draw.shuffle(cards)
            yield from cards

    def strike(self, pauses: tuple[float, float]) -> Fault:
        """Wait a while, then do the next fault."""
        time.sleep(self._draw.uniform(*pauses))
        victim, how = next(self._deck)
        while (pid := self._watch.rows[victim]["pid"]) is None or not self.hit(victim, how, pid):
            time.sleep(POLL_SECONDS)
            self._watch.look()
        return self._watch.faults[-1]

    def hit(self, victim: str, how: str, pid: int) -> bool:
        """Do it; tell whether there was still somebody."""
        role = self._watch.rows[victim]["role"]
        fault = Fault(victim, role, how, pid, time.monotonic())
        try:
            os.kill(pid, signal.Signals[how])
        except ProcessLookupError:
            return False
        if how == HANG:
            time.sleep(self._draw.uniform(*HANG_SECONDS))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
            fault.began = time.monotonic()
        self._watch.faults.append(fault)
        self._say(fault)
        return True

    def keep_away(self, victim: str, seconds: float) -> Fault:
        """Kill a process, and each successor, for so many seconds."""
        until = time.monotonic() + seconds
        first: Fault | None = None
        pid = None
        while time.monotonic() < until:
            row = self._watch.rows[victim]
            if row["pid"] not in (None, pid):
                pid = row["pid"]
                if first is None:
                    self.hit(victim, KILL, pid)
                    first = self._watch.faults[-1]
                else:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                    first.pid, first.seconds = pid, None
            time.sleep(0.1)
            self._watch.look()
        assert first is not None, f"{victim} was not there"
        return first
