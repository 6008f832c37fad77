"""Ends what a supervisor that was killed has left running."""

from __future__ import annotations

import contextlib
import signal

import psutil

from kontor_dev.data import DataFolder

GRACE_SECONDS = 8
# The start time that the system tells moves a little when its clock is set.
TOLERANCE_SECONDS = 2


def remember(data: DataFolder, name: str, pid: int, orphan_signal: signal.Signals) -> None:
    """Records a process that was just started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        data.remember_process(name, [pid, psutil.Process(pid).create_time(), int(orphan_signal)])


def end(data: DataFolder) -> list[str]:
    """Ends the recorded processes that still run and returns their names.

    A process counts as ours only if it started when ours did: its number may belong to a stranger by now.
    """
    ours: dict[str, psutil.Process] = {}
    for name, (pid, started, orphan_signal) in data.processes().items():
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if abs(process.create_time() - started) < TOLERANCE_SECONDS:
                process.send_signal(orphan_signal)
                ours[name] = process
    _, stubborn = psutil.wait_procs(ours.values(), timeout=GRACE_SECONDS)
    for process in stubborn:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(stubborn, timeout=GRACE_SECONDS)
    for name in data.processes():
        data.remember_process(name, None)
    return list(ours)
