"""Finds free ports on the loopback interface."""

from __future__ import annotations

import socket

from kontor_kit.testing.programs import free_ports as free_ports


def is_free(port: int) -> bool:
    """Tells whether one could listen on a port; connections of an earlier run that are fading out do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
