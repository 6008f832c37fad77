"""The command line: `python -m kontor_sales serve | work | migrate`."""

import sys

from kontor_kit.main import run
from kontor_sales.service import service

if __name__ == "__main__":
    sys.exit(run("sales", service))
