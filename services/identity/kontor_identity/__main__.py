"""The command line: `python -m kontor_identity serve | work | migrate | bootstrap | token | rotate-keys`."""

import sys

from kontor_identity.service import service
from kontor_kit.main import run

if __name__ == "__main__":
    sys.exit(run("identity", service))
