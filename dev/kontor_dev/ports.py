"""Finds free ports on the loopback interface."""

from __future__ import annotations

import contextlib
import random
import socket

# Below the range that systems take for outgoing connections (32768 on Linux, 49152 on macOS): a port from there could
# be taken while the process that listens on it is being restarted.
RANGE = range(20000, 30000)


def free_ports(count: int) -> list[int]:
    """Returns different ports that nobody listens on now."""
    found: list[int] = []
    candidates = random.sample(RANGE, len(RANGE))
    with contextlib.ExitStack() as held:
        while len(found) < count:
            port = candidates.pop()
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                found.append(port)
    return found


def is_free(port: int) -> bool:
    """Tells whether one could listen on a port; connections of an earlier run that are fading out do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
