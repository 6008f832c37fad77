"""Two processes that prepare and send campaigns; a line on the standard input kills one of them, which is begun again.

Usage: python -m tests.sending.working JSON, with what they need in the JSON. Imports are done once, before it forks. It
ends, with nobody running, where the input ends; it writes a line for each process that was killed.
"""

import json
import os
import random
import signal
import sys
import threading

from kontor_kit.db import Database
from kontor_kit.metrics import Metrics
from kontor_kit.operations.runner import Runner
from kontor_kit.service import Runtime
from kontor_kit.testing.databases import ServiceDatabase
from kontor_marketing.recipients.mail import Post
from kontor_marketing.recipients.sending import Sending
from kontor_marketing.service import service

PROCESSES = 2
THREADS = 2
"""Of each process; so many mails of it can be under way when it is killed."""
LEASE_SECONDS = 3.0


def main():
    """Keep two processes at work, and kill as told."""
    given = json.loads(sys.argv[1])
    random.seed(given["seed"])
    children = [fork(given) for _ in range(PROCESSES)]
    for _line in sys.stdin:
        place = random.randrange(PROCESSES)
        kill(children[place])
        print("killed", flush=True)
        children[place] = fork(given)
    for child in children:
        kill(child)


def fork(given):
    child = os.fork()
    if child:
        return child
    try:
        work(given)
    finally:
        os._exit(1)


def kill(child):
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def work(given):
    """Prepare and send, until somebody kills us."""
    made = service()
    database = ServiceDatabase(made, given["database"], given["server"])
    settings = database.settings(smtp_url=given["smtp"])
    app, system = (Database(database.url(role), pool_size=6, name=f"test-{role}") for role in ("app", "system"))
    app.open()
    system.open()
    runtime = Runtime(settings=settings, database=app, system=system, metrics=Metrics("test"), waker=None)
    records = made.use(runtime)
    runner = Runner(
        "marketing.kontor",
        made.operations,
        system=system,
        database=app,
        service=records,
        lease_seconds=LEASE_SECONDS,
        first_pause=0.05,
    )
    stopping = threading.Event()
    jobs = [runner.run]
    for _ in range(THREADS):
        post = Post(given["smtp"], timeout=5)
        sender = Sending(records["campaignRecipients"], system, post, lease_seconds=LEASE_SECONDS, pause_seconds=0.2)
        jobs.append(sender.run)
    threads = [threading.Thread(target=job, args=(stopping,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
