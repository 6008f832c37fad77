"""Waking whoever waits for changes: one listener a process, on a connection of its own."""

from __future__ import annotations

import logging
import threading

import psycopg

from kontor_kit.changes.sequencer import CHANNEL

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0


class Waker:
    """Listens for the sequencer, and wakes those who wait. A part of the server: `start` and `stop`."""

    def __init__(self, url: str) -> None:
        """`url` leads to the database directly: a pooler by transaction does not pass notifications on."""
        self._url = url
        self._condition = threading.Condition()
        self._told = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="change-log-listener", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def release(self) -> None:
        """Wake everybody for the last time: the process is about to end."""
        self._stopping.set()
        self._wake()

    def stop(self) -> None:
        """End."""
        self.release()
        self._thread.join(timeout=5)

    @property
    def is_stopping(self) -> bool:
        """Whether the process is about to end."""
        return self._stopping.is_set()

    def mark(self) -> int:
        """Return a number to give to `wait`, taken before one looks into the log."""
        return self._told

    def wait(self, mark: int, seconds: float) -> None:
        """Wait until something was told after `mark` was taken, at most for `seconds`."""
        with self._condition:
            self._condition.wait_for(lambda: self._told != mark or self._stopping.is_set(), seconds)

    def _wake(self) -> None:
        with self._condition:
            self._told += 1
            self._condition.notify_all()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with psycopg.connect(self._url, autocommit=True) as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    self._wake()  # What came while nobody listened.
                    while not self._stopping.is_set():
                        if any(True for _ in connection.notifies(timeout=0.5, stop_after=1)):
                            self._wake()
            except psycopg.Error as error:
                logger.info("nobody tells of changes for now", extra={"reason": str(error)})
                self._stopping.wait(_RETRY_SECONDS)
