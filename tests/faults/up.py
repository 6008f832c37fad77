"""The command `kontor` with a small platform: who tells, who listens, and the ledger, which lies beside this file."""

import sys
from functools import partial

from kontor_dev import cli, up
from kontor_dev.platform import Service, named

SERVICES = (named("identity"), named("contacts"), Service("ledger", roles=("work",), follows=True))

if __name__ == "__main__":
    up.up = partial(up.up, services=SERVICES)
    sys.exit(cli.main())
