"""Runs the short commands of a service's package: migrate, bootstrap, token."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping

from kontor_dev.child import launch
from kontor_dev.data import DataFolder
from kontor_dev.errors import StartFailed, Stopped
from kontor_dev.platform import Service
from kontor_dev.supervisor import POLL_SECONDS, last_lines


def run(
    data: DataFolder, service: Service, *arguments: str, env: Mapping[str, str], stopping: threading.Event | None = None
) -> str:
    """Runs the package of a service with arguments and returns its standard output; its errors go to a log.

    Raises StartFailed with the end of the log where it fails, Stopped when `stopping` is set meanwhile.
    """
    path = data.logs / f"{service.name}-{arguments[0]}.log"
    with path.open("ab") as log:
        process = launch(service.command(*arguments), output=subprocess.PIPE, errors=log, env=env)
        while True:
            try:
                said, _ = process.communicate(timeout=POLL_SECONDS)
                break
            except subprocess.TimeoutExpired:
                if stopping is not None and stopping.is_set():
                    process.terminate()
                    process.communicate()
                    raise Stopped from None
        if process.returncode != 0:
            log.write(said)
    if process.returncode != 0:
        raise StartFailed(f"`{service.name} {arguments[0]}` failed with code {process.returncode}.\n{last_lines(path)}")
    return said.decode()
