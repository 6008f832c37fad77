"""The command line: `python -m kontor_partners serve | work | migrate`."""

import sys

from kontor_kit.main import run
from kontor_partners.service import service

if __name__ == "__main__":
    sys.exit(run("partners", service))
