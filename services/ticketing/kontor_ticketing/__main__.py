"""The command line: `python -m kontor_ticketing serve | work | migrate`."""

import sys

from kontor_kit.main import run
from kontor_ticketing.service import service

if __name__ == "__main__":
    sys.exit(run("ticketing", service))
