"""The command line: `python -m kontor_marketing serve | work | migrate`."""

import sys

from kontor_kit.main import run
from kontor_marketing.service import service

if __name__ == "__main__":
    sys.exit(run("marketing", service))
