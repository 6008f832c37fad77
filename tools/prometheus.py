"""Makes sure that a Prometheus is installed, for the tests of alerts: found, or installed where we are root on Debian.

Usage: python -m tools.prometheus      (for CI, on a machine on which nothing was installed by hand)

The package's service is not started, neither now nor when something else is installed meanwhile.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools.rabbitmq import apt, services_asleep

MISSING = "Prometheus is not installed (Debian: apt install prometheus; macOS: brew install prometheus)."


class PrometheusMissing(Exception):
    """There is no Prometheus to run."""


def installed(program: str = "prometheus") -> Path:
    """Return the program `prometheus` or `promtool`. Raises PrometheusMissing."""
    found = shutil.which(program)
    if found is None:
        raise PrometheusMissing(MISSING)
    return Path(found)


def main() -> int:
    """Find or install it; say what to do where neither is possible."""
    try:
        print(f"Prometheus: {installed()}")
    except PrometheusMissing as missing:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            print(f"{missing} Only root can do so by itself, where there is apt-get.", file=sys.stderr)
            return 1
    else:
        return 0
    try:
        with services_asleep():
            apt("update", "--quiet=2")
            apt("install", "--quiet=2", "--yes", "--no-install-recommends", "prometheus")
        print(f"Prometheus: {installed()}, installed now")
    except (PrometheusMissing, subprocess.CalledProcessError) as error:
        print(f"Prometheus could not be installed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
