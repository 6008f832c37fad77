"""Turns Ctrl-C and SIGTERM into calls from an ordinary thread, which may take locks; a signal handler may not."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """While it is open, calls back for every signal that asks to stop."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop

    def __enter__(self) -> Self:
        self._read, self._write = socket.socketpair()
        self._write.setblocking(False)
        self._old_descriptor = signal.set_wakeup_fd(self._write.fileno())
        self._old_handlers = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
        threading.Thread(target=self._listen, name="signals", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_descriptor)
        self._write.close()

    def _listen(self) -> None:
        with self._read:
            while byte := self._read.recv(1):
                if byte[0] in SIGNALS:
                    self._stop()
