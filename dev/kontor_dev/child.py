"""Starts programs that end with this process, and knows the user that databases and brokers run as."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from kontor_dev.errors import Refused

LAUNCHER = Path(__file__).with_name("launch.py")


class User(NamedTuple):
    """An ordinary user of the operating system."""

    name: str
    uid: int
    gid: int


def ordinary_user(name: str, folder: Path) -> User | None:
    """Returns who a program is to run as: None for whoever we are, an existing ordinary user where we are root.

    What is there in `folder` already stays with its owner; else it is the user `name`, or `nobody`.
    """
    if os.geteuid() != 0:
        return None
    candidates: list[str | int] = [name, "nobody"]
    if folder.exists():
        candidates.insert(0, folder.stat().st_uid)
    for candidate in candidates:
        try:
            entry = pwd.getpwuid(candidate) if isinstance(candidate, int) else pwd.getpwnam(candidate)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return User(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise Refused(f"`{name}` is not to run as root, and there is neither a user `{name}` nor a user `nobody` here.")


def launch(
    argv: Sequence[str],
    *,
    output: IO[bytes] | int,
    errors: IO[bytes] | int = subprocess.STDOUT,
    env: Mapping[str, str] | None = None,
    user: User | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Starts a program in a session of its own; `death_signal` reaches it when the calling thread ends (Linux)."""
    uid, gid = (user.uid, user.gid) if user else (-1, -1)
    shim = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), str(int(death_signal)), str(uid), str(gid)]
    return subprocess.Popen(
        [*shim, *argv],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        env=env,
        # Where we stand may be closed to the other user.
        cwd="/" if user else None,
        start_new_session=True,
    )


def run_as(user: User | None, argv: Sequence[str]) -> tuple[int, str]:
    """Runs a short program and returns its exit code and what it said."""
    process = launch(argv, output=subprocess.PIPE, user=user, env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"})
    said, _ = process.communicate()
    return process.returncode, said.decode(errors="replace").strip()


def can_enter(user: User | None, folder: Path) -> bool:
    """Tells whether a user can get into a folder, by trying."""
    return run_as(user, ["/bin/sh", "-c", 'cd "$1"', "sh", str(folder)])[0] == 0
