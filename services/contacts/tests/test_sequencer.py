"""The sequencer: no gap, no repeat, order for each record, whoever hangs, commits late or restores the database."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import psycopg
import pytest
import sqlalchemy as sa

from kontor.contacts.v1 import account_pb2
from kontor_contacts.service import service
from kontor_contacts.tables import metadata
from kontor_kit.changes.sequencer import Sequencer
from kontor_kit.changes.upkeep import Upkeep
from kontor_kit.db import Database, Statement
from kontor_kit.testing import answer
from kontor_kit.testing.databases import Databases
from kontor_kit.testing.postgres import installed
from kontor_kit.testing.running import running
from kontor_kit.tracing import start_span
from services.contacts.tests import hanging
from services.contacts.tests.test_changes import Subscription, create


class Log:
    """The change log of a database, as its system role."""

    def __init__(self, database):
        self.system = Database(database.url("system"), pool_size=2)
        self.system.open()
        self.sequencer = Sequencer(metadata, self.system)
        self.upkeep = Upkeep(metadata, self.system)

    def sequence(self):
        while self.sequencer.advance():
            pass

    def told(self, caller):
        """What the log has of a tenant: (name, version), in order; the chain verifies."""
        assert [verdict.broken_at for verdict in self.upkeep.verify(caller.tenant)] == [None]
        return [(row["resource_name"], row["version"]) for row in self.upkeep.rows(caller.tenant)]

    def close(self):
        self.system.close()


@pytest.fixture(scope="module")
def contacts(serve):
    return serve(service())


@pytest.fixture
def log(contacts):
    made = Log(contacts.database)
    yield made
    made.close()


class TestOrder:
    def test_late_commit_is_told_after_the_earlier_ones(self, contacts, log):
        anna = contacts.caller()
        account = create(anna, "0").name
        late = "accounts/00000000-0000-7000-8000-000000000001"
        with psycopg.connect(contacts.database.url("superuser")) as connection:
            connection.execute(
                "INSERT INTO change_pending (tenant_id, resource_name, version, event_type, after, subject)"
                " VALUES (%s, %s, 1, 'kontor.contacts.v1.account.created', '', 'users/x')",
                (anna.tenant, late),
            )
            for number in range(1, 4):
                anna("UpdateAccount", account={"name": account, "display_name": str(number)})
            log.sequence()
            assert log.told(anna) == [(account, version) for version in range(1, 5)]
        log.sequence()
        assert log.told(anna) == [*((account, version) for version in range(1, 5)), (late, 1)]

    def test_two_updates_of_one_record_are_told_as_they_came_when_their_transactions_began_the_other_way(
        self, contacts, log
    ):
        anna = contacts.caller()
        account = create(anna, "Begun").name
        accounts = service().use(contacts.runtime)["accounts"]
        with contacts.runtime.database.write(anna.tenant) as first:
            first.run(Statement(sa.text("SELECT pg_current_xact_id()")))
            anna("UpdateAccount", account={"name": account, "display_name": "By who began later"})
            log.sequence()
            call = accounts.own_call(first, start_span("", ""))
            locked = accounts.lock(first, call, account, "name")
            after = type(locked.message)()
            after.CopyFrom(locked.message)
            after.display_name = "By who began first"
            accounts.save(first, call, locked, after, "updated")
        log.sequence()
        assert log.told(anna) == [(account, version) for version in (1, 2, 3)]

    def test_an_open_transaction_in_another_database_holds_nothing_back(self, contacts, log, postgres_url):
        anna = contacts.caller()
        with psycopg.connect(postgres_url) as elsewhere:
            elsewhere.execute("SELECT pg_current_xact_id()")
            account = create(anna, "Not held back").name
            log.sequence()
            assert log.told(anna) == [(account, 1)]


class TestLease:
    def test_several_sequencers_leave_no_gap_and_no_repeat(self, contacts):
        anna = contacts.caller()
        names = [create(anna, f"Account {number}").name for number in range(40)]
        logs = [Log(contacts.database) for _ in range(3)]

        def work(sequencer):
            for _ in range(30):
                sequencer.advance()

        threads = [threading.Thread(target=work, args=(one.sequencer,)) for one in logs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert logs[0].told(anna) == [(name, 1) for name in names]
        for one in logs:
            one.close()

    def test_one_that_hangs_loses_its_lease_and_writes_nothing_twice(self, contacts, log):
        anna = contacts.caller()
        names = [create(anna, f"Before {number}").name for number in range(10)]
        with subprocess.Popen(
            [sys.executable, "-m", hanging.__name__],
            cwd=Path(hanging.__file__).parents[3],
            env={**os.environ, "SYSTEM_URL": contacts.database.url("system")},
        ) as process:
            # It stops itself in the middle of its first batch.
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            names += [create(anna, f"Meanwhile {number}").name for number in range(10)]
            await_that(log.sequencer.advance)
            assert log.told(anna) == [(name, 1) for name in names]
            process.send_signal(signal.SIGCONT)
            names += [create(anna, f"After {number}").name for number in range(10)]
            await_that(lambda: len(log.told(anna)) == len(names))
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        assert log.told(anna) == [(name, 1) for name in names]


def await_that(condition, seconds=30):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.02)


class TestRetention:
    @pytest.fixture
    def expire(self, contacts, log):
        """Have the sequencer drop what was logged so far for a tenant, as what was kept for long enough."""

        def run(caller):
            with contacts.database.connect("owner") as connection:
                connection.execute(
                    "CREATE TABLE change_log_202401 PARTITION OF change_log"
                    " FOR VALUES FROM ('2024-01-01Z') TO ('2024-02-01Z')"
                )
                statement = "UPDATE change_log SET log_time = '2024-01-15Z' WHERE tenant_id = %s"
                connection.execute(statement, [caller.tenant])
            stopping = threading.Event()
            threading.Timer(0.3, stopping.set).start()
            log.sequencer.run(stopping)

        return run

    def test_a_position_older_than_what_is_kept_is_refused_and_the_earliest_is_told(self, contacts, log, expire):
        anna = contacts.caller()
        gone = [create(anna, f"Gone {number}").name for number in range(3)]
        log.sequence()
        subscription = Subscription(anna, start="START_EARLIEST")
        first, _, last = (subscription.next_change().position for _ in gone)
        subscription.cancel()
        expire(anna)
        kept = create(anna, "Kept").name
        log.sequence()
        with pytest.raises(grpc.RpcError) as error:
            Subscription(anna, position=first).next()
        refused = answer(error.value)
        assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "POSITION_NOT_KEPT")
        for start in ({"position": refused.metadata["earliest"]}, {"position": last}, {"start": "START_EARLIEST"}):
            subscription = Subscription(anna, **start)
            assert subscription.next_change().change.resource_name == kept
            subscription.cancel()
        assert log.told(anna) == [(kept, 1)]

    def test_a_position_from_before_the_first_change_of_a_tenant_is_good(self, contacts, log):
        anna = contacts.caller()
        subscription = Subscription(anna, start="START_LATEST")
        position = subscription.next().position
        subscription.cancel()
        stranger = contacts.caller()
        for number in range(3):
            create(stranger, f"Another tenant's {number}")
        first = create(anna, "First").name
        log.sequence()
        subscription = Subscription(anna, position=position)
        assert subscription.next_change().change.resource_name == first
        subscription.cancel()


class TestRestore:
    """In clusters of their own."""

    @pytest.fixture
    def installation(self):
        with installed() as made:
            yield made

    @pytest.fixture
    def start(self, signer, keys, peer):
        """Runs contacts on a database, with its log."""
        with contextlib.ExitStack() as stack:

            def run(database):
                now = stack.enter_context(running(service(), database, signer, keys, peers={"identity": peer.address}))
                log = Log(database)
                stack.callback(log.close)
                return now, log

            yield run

    def test_a_subscriber_goes_on_after_dump_and_restore_into_another_cluster(self, contacts, installation, start):
        anna, log = contacts.caller(), Log(contacts.database)
        before = create(anna, "Before").name
        log.sequence()
        subscription = Subscription(anna, start="START_EARLIEST")
        position = subscription.next_change().position
        subscription.cancel()
        log.close()
        dump = installation.folder / "dump"
        installation.run("pg_dump", "-Fc", "-f", str(dump), contacts.database.url("superuser"))
        with installation.serving(installation.initialise()) as url:
            restored = Databases(url).empty(service())
            installation.run("pg_restore", "-d", restored.url("superuser"), str(dump))
            now, log = start(restored)
            anna = now.caller(tenant=anna.tenant)
            after = create(anna, "After").name
            log.sequence()
            assert log.told(anna) == [(before, 1), (after, 1)]
            subscription = Subscription(anna, position=position)
            assert subscription.next_change().change.resource_name == after
            subscription.cancel()

    def test_a_subscriber_is_told_to_take_a_snapshot_after_a_restore_to_a_point_in_time(self, installation, start):
        archive, base = installation.folder / "archive", installation.folder / "base"
        archive.mkdir()
        archive.chmod(0o777)  # the server is somebody else
        settings = {
            "wal_level": "replica",
            "archive_mode": "on",
            "archive_command": f"cp %p {archive}/%f",
            "restore_command": f"cp {archive}/%f %p",
        }
        with installation.serving(installation.initialise(), **settings) as url:
            database = Databases(url).new(service())
            now, log = start(database)
            anna = now.caller()
            kept = create(anna, "Kept").name
            log.sequence()
            subscription = Subscription(anna, start="START_EARLIEST")
            position = subscription.next_change().position
            subscription.cancel()
            installation.run("pg_basebackup", "-d", url, "-D", str(base), "-X", "none", "-c", "fast")
            with psycopg.connect(url, autocommit=True) as server:
                server.execute("SELECT pg_create_restore_point('here')")
                create(anna, "Lost")
                log.sequence()
                server.execute("SELECT pg_switch_wal()")
        (base / "recovery.signal").touch()
        (base / "recovery.signal").chmod(0o666)
        target = {"recovery_target_name": "here", "recovery_target_action": "promote"}
        with installation.serving(base, **settings, **target) as url:
            now, log = start(dataclasses.replace(database, server_url=url))
            await_that(lambda: is_promoted(url))
            anna = now.caller(tenant=anna.tenant)
            log.sequence()
            with pytest.raises(grpc.RpcError) as error:
                Subscription(anna, position=position).next()
            refused = answer(error.value)
            assert (refused.code, refused.reason) == (
                grpc.StatusCode.FAILED_PRECONDITION,
                "POSITION_OF_ANOTHER_INCARNATION",
            )
            assert log.told(anna) == [(kept, 1)]
            subscription = Subscription(anna, start="START_SNAPSHOT")
            found = subscription.next().snapshot
            subscription.cancel()
            assert account_pb2.Account.FromString(found.value).name == kept


def is_promoted(url):
    with psycopg.connect(url) as server:
        return server.execute("SELECT NOT pg_is_in_recovery()").fetchone() == (True,)
