"""Programs that run beside tests: as an ordinary user, and never longer than the process that started them."""

from __future__ import annotations

import atexit
import os
import random
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

_NOBODY = 65534
"""Databases do not run as root. A number, because images without a user database have no name for it."""

# Below the range that systems take for outgoing connections (32768 on Linux, 49152 on macOS): a port from there could
# be taken while the program that listens on it is being restarted.
_PORTS = range(20000, 30000)

# Waits for a line, or until this process closes the pipe, which it does at its end however that comes, then ends the
# program; without a line nobody is left to clean up.
_GUARD = """
folder=$1; signal=$2; shift 2
"$@" </dev/null >>"$folder/log" 2>&1 &
program=$!
echo $program
read -r _; alone=$?
kill -$signal $program 2>/dev/null; wait $program
[ $alone = 0 ] || rm -rf "$folder"
"""


class Program:
    """A program that runs until `end` or `kill`; what it says is in `folder/log`.

    Where this process ends without either, the program ends too and the folder is removed.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        *,
        end_signal: signal.Signals,
        user: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "sh", str(folder), end_signal.name.removeprefix("SIG"), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            env=env,
            start_new_session=True,
            **as_user(user),
        )
        assert self._guard.stdout is not None
        self.pid = int(self._guard.stdout.readline())

    def is_alive(self) -> bool:
        """Tell whether it has not ended yet."""
        try:
            return psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def end(self) -> None:
        """Ask it to end, and wait until it has."""
        self._guard.communicate(b"\n")

    def kill(self) -> None:
        """End it at once."""
        os.kill(self.pid, signal.SIGKILL)
        self.end()


def ordinary_user() -> int | None:
    """Return who runs programs that do not run as root; None for whoever we are."""
    return _NOBODY if os.geteuid() == 0 else None


def as_user(user: int | None) -> dict[str, Any]:
    """Return the options of Popen that run a program as `user`."""
    return {} if user is None else {"user": user, "group": user, "extra_groups": []}


def free_ports(count: int) -> list[int]:
    """Return different ports of the loopback that nobody listens on now.

    Nobody else is given them until this process ends: what is to listen there may take its time to start.
    """
    found: list[int] = []
    candidates = random.sample(_PORTS, len(_PORTS))
    while len(found) < count:
        port = candidates.pop()
        # The datagram port of the same number, held, tells other processes that this one has given the port away.
        claim = socket.socket(type=socket.SOCK_DGRAM)
        try:
            claim.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        atexit.register(claim.close)
        found.append(port)
    return found
