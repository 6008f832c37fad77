"""Starting the receiver: this process becomes another one, which is patched before it imports anything else."""

from __future__ import annotations

import json
import os
import sys

from kontor_kit.inbox.events import Handlers


def become_receiver(service: str, handlers: Handlers) -> int:
    """Replace this process by the receiver of `service`, which is told what the handlers want. Does not return.

    Only the declarations go along: the receiver imports nothing of the service, and with it no gRPC, which would hang
    in a patched process.
    """
    wanted = {handler.name: sorted(handler.types) for handler in handlers}
    # psycopg would block all green threads in C; what nameko and eventlet say of their age helps nobody who runs this.
    environ = {**os.environ, "PSYCOPG_WAIT_FUNC": "wait_selector", "PYTHONWARNINGS": "ignore"}
    path = ["-P"] if sys.flags.safe_path else []
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *path, "-m", __package__, service, json.dumps(wanted)], environ)
