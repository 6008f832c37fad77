"""Installs packages of Debian where we are root, for what tests need and a new machine lacks.

No package's service is started, neither now nor when something else is installed meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

POLICY = Path("/usr/sbin/policy-rc.d")
"""What packages of Debian ask whether they may start their services; code 101 is no."""


def find_or_install(name: str, installed: Callable[[], Path], missing: type[Exception], *packages: str) -> int:
    """Find or install the program `name`, and return an exit code; say what to do where neither is possible.

    `installed` returns where it is, or raises `missing`.
    """
    try:
        print(f"{name}: {installed()}")
    except missing as problem:
        if not is_possible():
            print(f"{problem} Only root can do so by itself, where there is apt-get.", file=sys.stderr)
            return 1
    else:
        return 0
    try:
        install(*packages)
        print(f"{name}: {installed()}, installed now")
    except (missing, subprocess.CalledProcessError) as error:
        print(f"{name} could not be installed: {error}", file=sys.stderr)
        return 1
    return 0


def is_possible() -> bool:
    """Tell whether we may install anything."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(*packages: str) -> None:
    """Install packages. Raises CalledProcessError."""
    with services_asleep():
        _apt("update", "--quiet=2")
        _apt("install", "--quiet=2", "--yes", "--no-install-recommends", *packages)


@contextlib.contextmanager
def services_asleep() -> Iterator[None]:
    """Keep packages from starting services while the block runs; a rule that is there already stays."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


def _apt(*words: str) -> None:
    env: Mapping[str, str] = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # What it says belongs to what people read, not to what programs do.
    subprocess.run(["apt-get", *words], env=env, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=True)
