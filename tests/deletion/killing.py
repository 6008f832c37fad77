"""Runs contacts, and the worker of identity, as processes that are killed at some moment and started again.

Usage: python -m tests.deletion.killing KILLS JSON, with everything that the processes need in the JSON. Imports are done
once, before it forks. It ends with nobody running.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from threading import Event

from kontor_contacts import service as contacts
from kontor_identity import service as identity
from kontor_kit.forgetting import Forgetting
from kontor_kit.operations.runner import Runner
from kontor_kit.testing import Signer
from kontor_kit.testing.databases import ServiceDatabase
from kontor_kit.testing.running import running
from tests.deletion.working import deletion


def main():
    """Kill one of the two so many times."""
    given = json.loads(sys.argv[2])
    # So that the deletion takes many calls, each of them several transactions, and some seconds.
    Forgetting.advance.__kwdefaults__.update(seconds=0.1, size=2)
    delete = Forgetting._delete  # to slow it down
    Forgetting._delete = lambda *given: time.sleep(0.01) or delete(*given)
    random.seed(11)
    begin = {"contacts": lambda: serve(given), "identity": lambda: work(given)}
    children = {name: fork(start) for name, start in begin.items()}
    for _ in range(int(sys.argv[1])):
        time.sleep(random.uniform(0.02, 0.4))
        name = random.choice(list(children))
        kill(children[name])
        children[name] = fork(begin[name])
    for child in children.values():
        kill(child)


def fork(start):
    child = os.fork()
    if child:
        return child
    start()
    os._exit(1)


def kill(child):
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def serve(given):
    """Serve contacts."""
    service = contacts.service()
    database = ServiceDatabase(service, given["contacts"], given["server"])
    with running(service, database, Signer(), Path(given["keys"]), listen=given["listen"]):
        time.sleep(600)


def work(given):
    """Work on the operations of identity."""
    service = identity.service()
    database = ServiceDatabase(service, given["identity"], given["server"])
    with deletion(database, {"contacts": given["listen"]}, given["token"]) as (made, system, app):
        runner = Runner(
            "identity.kontor",
            service.operations,
            system=system,
            database=app,
            service=made,
            lease_seconds=0.3,
            first_pause=0.05,
        )
        runner.run(Event())


if __name__ == "__main__":
    main()
