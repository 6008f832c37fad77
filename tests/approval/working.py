"""The worker of partners as a process that kills itself at a moment, and one that goes on after it.

Usage: python -m tests.approval.working JSON. Each line of the input is a JSON object; for each it writes a line, which
says whether the first process was killed, once the second one found nothing more to do. Imports are done once, before
it forks.
"""

import itertools
import json
import os
import signal
import sys
import traceback

from kontor_kit.calls import MethodSpec
from kontor_kit.clients import Peers
from kontor_kit.db import Database, Transaction
from kontor_kit.metrics import Metrics
from kontor_kit.operations.runner import Runner
from kontor_kit.service import Runtime
from kontor_kit.testing.databases import ServiceDatabase
from kontor_partners.service import service


def main():
    """Work as told."""
    given = json.loads(sys.argv[1])
    for line in sys.stdin:
        told = json.loads(line)
        killed = fork(lambda told=told: work(given, **told)) == -signal.SIGKILL
        if fork(lambda told=told: work(given, **(told | {"at": 0}))) != 0:
            raise AssertionError("the second process did not come to its end")
        print("killed" if killed else "ended", flush=True)


def fork(run):
    """Run in a process of its own; return its exit code, as subprocess does."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        run()
        code = 0
    except Exception:  # noqa: BLE001  # whatever it is, the process ends, and says why
        traceback.print_exc()
    os._exit(code)


def work(given, *, token, cancel, at):
    """Work until nothing is due; kill this process at the moment `at`, for 0 at none."""
    database = ServiceDatabase(service(), given["database"], given["server"])
    settings = database.settings(peers={"sales": given["sales"]})
    app, system = (Database(database.url(role), pool_size=2, name=f"test-{role}") for role in ("app", "system"))
    app.open()
    system.open()
    runtime = Runtime(settings=settings, database=app, system=system, metrics=Metrics("test"), waker=None)
    runner = Runner(
        "partners.kontor",
        service().operations,
        system=system,
        database=app,
        service=service().use(runtime),
        calls=caller(Peers(settings.peers), token, death(at), database if cancel else None),
        lease_seconds=0.0,
        first_pause=0.0,
    )
    while runner.work_once():
        pass


def caller(peers, token, pass_by, cancelled):
    """Return what calls sales; the operation is cancelled once sales has written, where `cancelled` is its database."""

    def call(method, request, *, tenant_id, subject, request_id):
        pass_by()
        metadata = (("authorization", f"Bearer {token}"), ("idempotency-key", request_id))
        answer = peers.call(method, request, metadata=metadata)
        if cancelled is not None and not MethodSpec.of(method).is_read:
            with cancelled.connect() as connection:
                connection.execute("UPDATE operations SET cancel_requested = true WHERE tenant_id = %s", [tenant_id])
        return answer

    return call


def death(at):
    """Return what is called before each commit and each call to sales, and kills this process the `at`th time.

    There are no other moments: what is done between two of them is undone by the database.
    """
    moments = itertools.count(1)

    def pass_by():
        if next(moments) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    commit = Transaction.commit

    def commit_unless_killed(transaction):
        pass_by()
        commit(transaction)

    Transaction.commit = commit_unless_killed
    return pass_by


if __name__ == "__main__":
    main()
