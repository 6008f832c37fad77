"""A sequencer that hangs: it stops itself while it holds the lease, in the middle of its first batch."""

import os
import signal
import threading

from kontor_contacts.tables import metadata
from kontor_kit.changes.sequencer import Sequencer
from kontor_kit.db import Database

LEASE_SECONDS = 0.5


class HangingSequencer(Sequencer):
    hung = False

    def _write(self, tx, state, changes):
        if changes and not self.hung:
            self.hung = True
            os.kill(os.getpid(), signal.SIGSTOP)
        super()._write(tx, state, changes)


def main():
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    database = Database(os.environ["SYSTEM_URL"], pool_size=2)
    database.open()
    HangingSequencer(metadata, database, lease_seconds=LEASE_SECONDS).run(stopping)
    database.close()


if __name__ == "__main__":
    main()
