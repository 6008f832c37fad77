"""The transport `amqp` with a real RabbitMQ: what is committed arrives once in effect, whatever breaks in between."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter

import psycopg
import pytest

from kit.tests import consumer, elsewhere
from kit.tests.certificates import Authority
from kit.tests.consumer import KIND
from kit.tests.elsewhere import (
    Elsewhere,
    Receiving,
    Relaying,
    broker,
    dead_letters,
    publishing,
    start_relay,
    tls_before,
)
from kontor_kit.amqp.broker import connection, queue
from kontor_kit.amqp.relay import Publisher, Relay
from kontor_kit.changes.waking import Waker
from kontor_kit.config import Settings
from kontor_kit.tracing import change_span

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def source(databases):
    made = Elsewhere(databases.new(elsewhere.service()))
    yield made
    made.close()


@pytest.fixture
def sink(databases):
    """The database of the consumer."""
    return databases.new(consumer.service())


@pytest.fixture
def relay(source, rabbitmq_url):
    """Start relays: `relay()`; they end with the test."""
    started = []

    def start():
        started.append(Relaying(source, rabbitmq_url))
        source.await_relay()
        return started[-1]

    yield start
    for each in started:
        each.stop()


@pytest.fixture
def receive(sink, rabbitmq_url, tmp_path):
    """Start receivers, and wait until they receive: `receive()`; they end with the test, and log no error."""
    started = []

    def start(*, wait=True, url=rabbitmq_url, **more):
        started.append(Receiving(sink, url, tmp_path / f"receiver-{len(started)}", **more))
        if wait:
            await_that(lambda: started[-1].health() == 200 or started[-1].process.poll() is not None)
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()
    for each in started:
        print(each.log.read_text())


def await_that(condition, seconds=30):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.05)


def received(sink):
    """Return what lies in the inbox, in the order in which it came to be seen: pairs of name and version."""
    with sink.connect() as connection:
        return connection.execute(
            "SELECT resource_name, version FROM inbox ORDER BY xmin::text::bigint, version"
        ).fetchall()


def run_sql(database, statement):
    with database.connect() as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else None


class Writer:
    """Writes changes of a few records in a thread, as fast as it is told to, until it is stopped."""

    def __init__(self, source, pause=0.002):
        self.written = []
        self.slowest = 0.0
        self._source, self._pause = source, pause
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        self._thread.join()

    def _run(self):
        for version in itertools.count(1):
            changes = [(f"things/{name}", version) for name in "abc"]
            began = time.monotonic()
            self._source.write(*changes)
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.written += changes
            if self._stopping.wait(self._pause):
                return


def require_all_in_order(sink, written):
    await_that(lambda: len(received(sink)) >= len(written))
    found = received(sink)
    assert Counter(found) == Counter(written)
    for name in {name for name, _ in found}:
        versions = [version for each, version in found if each == name]
        assert versions == sorted(versions)


class TestArrival:
    def test_changes_arrive_as_they_were_written(self, source, sink, relay, receive):
        receive()
        relay()
        source.write(("things/a", 1), ("things/b", 1))
        source.write(("things/a", 2), kind="deleted")
        require_all_in_order(sink, [("things/a", 1), ("things/b", 1), ("things/a", 2)])
        logged = source.run(
            "SELECT event_id, tenant_id, event_type, resource_name, version, change_time, after FROM change_log"
        )
        columns = "event_id, tenant_id, event_type, resource_name, version, event_time, data"
        assert sorted(run_sql(sink, f"SELECT {columns} FROM inbox")) == sorted(logged)
        ((*told, parent),) = run_sql(sink, "SELECT resource_name, version, event_type, traceparent FROM inbox LIMIT 1")
        assert parent == f"00-{'ab' * 16}-{change_span(*told)}-01"

    def test_what_nobody_wants_is_not_sent(self, source, sink, relay, receive):
        process = receive(types=[f"{KIND}.created"])
        relay()
        source.write(("things/a", 1), kind="created")
        source.write(("things/a", 2))
        source.write(("things/b", 1), kind="created")
        require_all_in_order(sink, [("things/a", 1), ("things/b", 1)])
        # The beginning of the relay, and two events.
        assert process.metric('kontor_amqp_received_total{outcome="stored"}') == 3

    def test_two_relays_and_two_receivers_keep_the_order(self, source, sink, relay, receive):
        receive()
        receive(wait=False)
        relay()
        relay()
        with Writer(source) as writer:
            time.sleep(2)
        require_all_in_order(sink, writer.written)


class TestKills:
    def test_of_relays_lose_nothing_and_repeat_nothing(self, source, sink, rabbitmq_url, receive):
        receive()
        begun = start_relay(source, rabbitmq_url)
        source.await_relay()
        begun.kill()
        begun.wait()
        with Writer(source) as writer:
            for _ in range(2):
                process = start_relay(source, rabbitmq_url)
                seen = len(received(sink))
                await_that(lambda seen=seen: len(received(sink)) > seen + 20)
                process.send_signal(signal.SIGKILL)
                process.wait()
        process = start_relay(source, rabbitmq_url)
        require_all_in_order(sink, writer.written)
        process.kill()
        process.wait()

    def test_of_receivers_lose_nothing_and_repeat_nothing(self, source, sink, relay, receive):
        relay()
        receive().end(signal.SIGKILL)
        with Writer(source) as writer:
            for _ in range(2):
                seen = len(received(sink))
                process = receive(wait=False)
                await_that(lambda seen=seen: len(received(sink)) > seen + 20)
                assert process.end(signal.SIGKILL) == -signal.SIGKILL
        receive()
        require_all_in_order(sink, writer.written)

    def test_a_receiver_that_is_asked_to_end_acknowledges_what_it_has(self, source, sink, relay, receive):
        relay()
        process = receive()
        with Writer(source) as writer:
            await_that(lambda: len(received(sink)) > 50)
            assert process.end(signal.SIGTERM) == 0
        stored = len(received(sink))
        again = receive()
        require_all_in_order(sink, writer.written)
        # What was stored was acknowledged too: it did not come again.
        assert again.metric('kontor_amqp_received_total{outcome="stored"}') == len(writer.written) - stored


class TestRuns:
    """A relay that cannot go on from where the last one was begins at the end, and says so."""

    @pytest.fixture
    def run(self, source, rabbitmq_url):
        """Relay until there is nothing to relay; return the run and the position."""

        def relay_all():
            with broker(rabbitmq_url) as connection:
                relay = Relay(
                    elsewhere.metadata,
                    source.system,
                    service="elsewhere",
                    connect=lambda: connection,
                    seal=elsewhere.seal,
                    waker=Waker(source.database.url("system")),
                )
                publisher = Publisher(connection)
                while relay.advance(publisher):
                    pass
            return source.run("SELECT run, position, incarnation FROM change_relay")[0]

        return relay_all

    def write(self, source, *versions):
        source.write(*(("things/a", version) for version in versions))
        await_that(lambda: source.run("SELECT count(*) FROM change_pending") == [(0,)])

    def test_the_first_begins_at_the_end_and_the_next_goes_on(self, source, run):
        self.write(source, 1, 2)
        first = run()
        assert first[1:] == (2, 1)
        self.write(source, 3)
        assert run() == (first[0], 3, 1)

    def test_a_restored_log_is_another_run(self, source, run):
        self.write(source, 1)
        first = run()
        self.write(source, 2)
        source.run("UPDATE change_log_state SET incarnation = 2")
        second = run()
        assert second[1:] == (2, 2)
        assert second[0] != first[0]

    def test_what_is_kept_no_longer_is_left_to_the_stream(self, source, run):
        self.write(source, 1)
        first = run()
        self.write(source, 2, 3)
        source.run("DELETE FROM change_log WHERE position = 2")
        source.run("INSERT INTO change_log_seals SELECT tenant_id, 2, digest FROM change_log_heads")
        second = run()
        assert second[1:] == (3, 1)
        assert second[0] != first[0]

    def test_where_another_one_is_at_it_there_is_nothing_to_do(self, source, run):
        self.write(source, 1)
        first = run()
        self.write(source, 2)
        with source.database.connect() as other, other.transaction():
            other.execute("SELECT FROM change_relay FOR UPDATE")
            assert run() == first
        assert run()[1] == 2


class TestBindings:
    def test_what_nobody_wishes_for_is_unbound_after_a_day(self, source, sink, rabbitmq_url, relay, receive):
        receive(types=[f"{KIND}.created", f"{KIND}.updated"]).end()
        relay()
        with broker(rabbitmq_url) as connection:
            bound = queue("consumer")(connection.channel())
            for number, (age, arriving) in enumerate([("1 hour", 2), ("2 days", 1)], 1):
                run_sql(sink, f"UPDATE inbox_bindings SET wish_time = now() - interval '{age}'")
                receive(types=[f"{KIND}.created"]).end()
                bound.purge()
                source.write((f"things/{number}", 1))
                source.write((f"parts/{number}", 1), kind="created")
                await_that(lambda done=2 * number: source.run("SELECT position FROM change_relay") == [(done,)])
                assert bound.queue_declare(passive=True).message_count == arriving


class TestTls:
    def test_both_sides_show_certificates(self, source, sink, rabbitmq_url, receive, tmp_path):
        authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
        certificate, key = authority.issue("receiver")
        with tls_before(rabbitmq_url, authority) as url:
            shown = {"KONTOR_AMQP_CERTIFICATE_FILE": str(certificate), "KONTOR_AMQP_KEY_FILE": str(key)}
            receive(url=url, KONTOR_AMQP_CA_FILE=str(authority.path), **shown)
            refusing = receive(url=url, wait=False, KONTOR_AMQP_CA_FILE=str(stranger.path), **shown)
            await_that(lambda: "certificate verify failed" in refusing.log.read_text())
            environ = {"KONTOR_AMQP_URL": url, "KONTOR_AMQP_CA_FILE": str(authority.path)}
            named = {**environ, **shown}
            with connection(Settings.load("elsewhere", named)) as relaying:
                relaying.ensure_connection(max_retries=1)
                Publisher(relaying).publish([("kontor.elsewhere.v1.thing.updated", b"no json")])
            await_that(lambda: dead_letters(rabbitmq_url) == [b"no json"])
            with pytest.raises(OSError), connection(Settings.load("elsewhere", environ)) as unnamed:
                unnamed.connect()


class TestCommand:
    def test_receive_waits_for_whatever_is_away_and_ends_when_it_is_asked_to(self, tmp_path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        script = (
            "import dataclasses, sys; from kit.tests import consumer; from kontor_kit.main import run\n"
            "made = dataclasses.replace(consumer.service(), handlers=consumer.plain_handlers())\n"
            "sys.exit(run('consumer', lambda: made, ['receive']))"
        )
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(elsewhere.ROOT),
            "KONTOR_AMQP_URL": "amqp://127.0.0.1:1",
            "KONTOR_CONSUMER_SYSTEM_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
            "KONTOR_METRICS_LISTEN": address,
            "KONTOR_DRAIN_SECONDS": "1",
        }
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen([sys.executable, "-c", script], env=environ, stderr=log)
        try:
            await_that(lambda: elsewhere.health(address) == 503)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()
        assert "Warning" not in (tmp_path / "log").read_text()


class TestBrokerAway:
    def test_writes_go_on_and_everything_arrives_afterwards(
        self, source, sink, rabbitmq_server, rabbitmq_url, relay, receive
    ):
        process = receive()
        relaying = relay()
        with Writer(source, pause=0.02) as writer:
            await_that(lambda: len(received(sink)) > 20)
            rabbitmq_server.stop()
            before = len(writer.written)
            await_that(lambda: process.health() == 503)
            await_that(lambda: relaying.lag_seconds > 1)
            assert len(writer.written) > before + 20
            assert writer.slowest < 2
            rabbitmq_server.start()
            await_that(lambda: process.health() == 200)
        require_all_in_order(sink, writer.written)
        await_that(lambda: relaying.lag_seconds == 0)


class TestPoison:
    def test_is_put_aside_and_holds_up_nobody(self, source, sink, rabbitmq_url, relay, receive):
        process = receive()
        relay()
        source.write(("things/a", 1))
        require_all_in_order(sink, [("things/a", 1)])
        bad = [b"no json", b"[]", b'{"specversion": "1.0"}', b"\xff\xfe"]
        with publishing(rabbitmq_url) as publish:
            for body in bad:
                publish(body)
            publish(b"packed, they say", compression=None, headers={"compression": "application/x-gzip"})
        source.write(("things/a", 2))
        require_all_in_order(sink, [("things/a", 1), ("things/a", 2)])
        await_that(lambda: process.metric('kontor_amqp_received_total{outcome="rejected"}') == 5)
        assert sorted(dead_letters(rabbitmq_url)) == sorted([*bad, b"packed, they say"])
        assert process.health() == 200


class TestDatabaseAway:
    def test_puts_nothing_aside_and_loses_nothing(self, source, sink, rabbitmq_url, relay, receive, postgres_url):
        process = receive()
        relay()
        with Writer(source) as writer, psycopg.connect(postgres_url, autocommit=True) as server:
            await_that(lambda: len(received(sink)) > 20)
            for _ in range(2):
                server.execute(f"ALTER DATABASE {sink.name} ALLOW_CONNECTIONS false")
                server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [sink.name])
                await_that(lambda: process.health() == 503)
                time.sleep(1)
                server.execute(f"ALTER DATABASE {sink.name} ALLOW_CONNECTIONS true")
                await_that(lambda: process.health() == 200)
        require_all_in_order(sink, writer.written)
        assert dead_letters(rabbitmq_url) == []
        assert process.process.poll() is None


def run_patched(script):
    """Return what a script prints that runs in a patched process, as the receiver does."""
    patch = "import eventlet; eventlet.monkey_patch()\n"
    command = [sys.executable, "-W", "ignore", "-c", patch + script]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=elsewhere.ROOT).stdout


def test_the_receiver_imports_no_grpc():
    script = "import sys; from kontor_kit.amqp import receiver; print([n for n in sys.modules if n[:4] == 'grpc'])"
    assert run_patched(script) == "[]\n"


def test_what_the_database_refuses_is_told_from_what_came_with_it():
    script = """
from types import SimpleNamespace
import psycopg
from kontor_kit.amqp.envelope import Malformed
from kontor_kit.amqp.receiver import Deposit

class Store:
    away = 1
    def put(self, messages):
        if self.away:
            self.away -= 1
            raise psycopg.errors.UndefinedTable("not migrated yet")
        if "bad" in messages:
            raise psycopg.errors.ProgramLimitExceeded("index row size exceeds maximum")
        print("stored", *messages)

deposit = Deposit(Store())
deposit.container = SimpleNamespace(spawn_managed_thread=eventlet.spawn)
deposit.start()
put = deposit.get_dependency(None)

def give(message):
    try:
        put(message)
    except Malformed as problem:
        print("refused", message)

waiting = [eventlet.spawn(give, message) for message in ("a", "bad", "b")]
with eventlet.Timeout(10):
    [each.wait() for each in waiting]
deposit.stop()
"""
    assert sorted(run_patched(script).splitlines()) == ["refused bad", "stored a", "stored b"]
