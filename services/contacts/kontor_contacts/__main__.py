"""The command line: `python -m kontor_contacts serve | work | migrate`."""

import sys

from kontor_contacts.service import service
from kontor_kit.main import run

if __name__ == "__main__":
    sys.exit(run("contacts", service))
