"""Makes sure that a RabbitMQ is installed, for the tests that need one: found, or installed where we are root on Debian.

Usage: python -m tools.rabbitmq      (for CI, on a machine on which nothing was installed by hand)

The package's service is not started, neither now nor when something else is installed meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from kontor_kit.testing.rabbitmq import RabbitMissing, installed

POLICY = Path("/usr/sbin/policy-rc.d")
"""What packages of Debian ask whether they may start their services; code 101 is no."""


def main() -> int:
    """Find or install it; say what to do where neither is possible."""
    try:
        print(f"RabbitMQ: {installed()}")
    except RabbitMissing as missing:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            print(f"{missing} Only root can do so by itself, where there is apt-get.", file=sys.stderr)
            return 1
    else:
        return 0
    try:
        with services_asleep():
            apt("update", "--quiet=2")
            apt("install", "--quiet=2", "--yes", "--no-install-recommends", "rabbitmq-server")
        print(f"RabbitMQ: {installed()}, installed now")
    except (RabbitMissing, subprocess.CalledProcessError) as error:
        print(f"RabbitMQ could not be installed: {error}", file=sys.stderr)
        return 1
    return 0


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


def apt(*words: str) -> None:
    """Run apt-get. Raises CalledProcessError."""
    env: Mapping[str, str] = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # What it says belongs to what people read, not to what programs do.
    subprocess.run(["apt-get", *words], env=env, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=True)


if __name__ == "__main__":
    sys.exit(main())
