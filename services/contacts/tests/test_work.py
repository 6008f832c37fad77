"""The process that works: what it was in the middle of when it is asked to end is done later, once."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from kontor_contacts.service import service

EVENTS = 300
HANDLERS = 2


@pytest.fixture
def contacts(serve):
    return serve(service())


@pytest.fixture
def work(contacts, keys):
    """Runs `work` in a process of its own: `with work() as process`."""
    database = contacts.database
    environment = {
        "KONTOR_LISTEN": "127.0.0.1:0",
        "KONTOR_CONTACTS_DATABASE_URL": database.url("app"),
        "KONTOR_CONTACTS_SYSTEM_DATABASE_URL": database.url("system"),
        "KONTOR_PAGE_TOKEN_KEY": contacts.runtime.settings.page_token_key,
        "KONTOR_JWKS_FILE": str(keys),
        "KONTOR_CLIENT_ID": "contacts",
        "KONTOR_CLIENT_SECRET": "secret",
        # Nobody is there: what is to be done lies in the inbox.
        "KONTOR_PEERS": "identity=127.0.0.1:1",
        "KONTOR_ISSUER": "http://127.0.0.1:1",
    }

    @contextlib.contextmanager
    def run():
        command = [sys.executable, "-m", "kontor_contacts", "work"]
        with subprocess.Popen(command, env={**os.environ, **environment}) as process:
            try:
                yield process
            finally:
                process.kill()

    return run


def await_that(condition, seconds=40):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.01)


def test_who_is_asked_to_end_finishes_what_is_begun_and_the_rest_is_done_later_once(contacts, work):
    anna = contacts.caller()
    leavers = [contacts.caller(tenant=anna.tenant) for _ in range(EVENTS)]
    with contacts.database.connect() as connection:
        first = anna("CreateAccount", account={"display_name": "Left behind", "owner": leavers[0].user}).name
        columns = [row.name for row in connection.execute("SELECT * FROM accounts LIMIT 0").description]
        others = ", ".join(name for name in columns if name not in ("id", "owner"))
        users = [leaver.user.partition("/")[2] for leaver in leavers]
        connection.execute(
            f"INSERT INTO accounts (id, owner, {others}) SELECT gen_random_uuid(), leaver, {others}"
            " FROM accounts, unnest(%s::uuid[]) AS leaver WHERE id = %s",
            [users[1:], first.partition("/")[2]],
        )
        connection.execute(
            "INSERT INTO inbox (handler, event_id, tenant_id, event_type, resource_name, version, event_time, data,"
            " state, attempts, due_time) SELECT handler, gen_random_uuid(), %s, 'kontor.identity.v1.user.deactivated',"
            " 'users/' || leaver, 2, now(), '', 0, 0, now()"
            " FROM unnest(%s::uuid[]) AS leaver, unnest(%s::text[]) AS handler",
            [
                anna.tenant,
                users,
                [handler.name for handler in service().handlers.wanting("kontor.identity.v1.user.deactivated")],
            ],
        )

        def done():
            return connection.execute("SELECT count(*) FROM inbox WHERE state = 1").fetchone()[0]

        def handed_over():
            return connection.execute("SELECT count(*) FROM accounts WHERE owner IS NULL AND version = 2").fetchone()[0]

        with work() as process:
            await_that(lambda: done() > EVENTS / 10)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        handler = "SELECT count(*) FROM inbox WHERE state = 1 AND handler LIKE '%accounts'"
        assert connection.execute(handler).fetchone()[0] == handed_over()
        assert connection.execute("SELECT DISTINCT attempts FROM inbox").fetchall() == [(0,)]
        with work() as process:
            await_that(lambda: done() == EVENTS * HANDLERS)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        assert handed_over() == EVENTS
