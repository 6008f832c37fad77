"""The command line: `python -m kontor_ledger work | migrate`."""

import sys

from kontor_kit.main import run
from kontor_ledger.service import service

if __name__ == "__main__":
    sys.exit(run("ledger", service))
