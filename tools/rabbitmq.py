"""Makes sure that a RabbitMQ is installed, for the tests that need one: found, or installed where we are root on Debian.

Usage: python -m tools.rabbitmq      (for CI, on a machine on which nothing was installed by hand)
"""

from __future__ import annotations

import sys

from kontor_kit.testing.rabbitmq import RabbitMissing, installed
from tools.debian import find_or_install


def main() -> int:
    """Find or install it; say what to do where neither is possible."""
    return find_or_install("RabbitMQ", installed, RabbitMissing, "rabbitmq-server")


if __name__ == "__main__":
    sys.exit(main())
