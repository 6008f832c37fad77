"""Makes sure that a Prometheus is installed, for the tests of alerts: found, or installed where we are root on Debian.

Usage: python -m tools.prometheus      (for CI, on a machine on which nothing was installed by hand)
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tools.debian import find_or_install

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
    return find_or_install("Prometheus", installed, PrometheusMissing, "prometheus")


if __name__ == "__main__":
    sys.exit(main())
