"""The transport `amqp` with a real RabbitMQ: what is committed arrives once in effect, whatever breaks in between."""

import itertools
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import psycopg
import pytest

from kit.tests import consumer, elsewhere
from kit.tests.consumer import KIND
from kit.tests.elsewhere import Elsewhere, Receiving, Relaying, dead_letters, publishing, start_relay

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
        (((event, parent),)) = run_sql(sink, "SELECT event_id, traceparent FROM inbox LIMIT 1")
        assert parent == f"00-{'ab' * 16}-{event.hex[-16:]}-01"

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
            for _ in range(4):
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
            for _ in range(4):
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


def test_the_receiver_imports_no_grpc():
    script = (
        "import eventlet; eventlet.monkey_patch(); from kontor_kit.amqp import receiver; import sys;"
        "print([name for name in sys.modules if name.split('.')[0] == 'grpc'])"
    )
    command = [sys.executable, "-W", "ignore", "-c", script]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
