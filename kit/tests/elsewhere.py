"""A service that others follow over the broker, `elsewhere`: a change log without resources, and who relays it."""

from __future__ import annotations

import json
import os
import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import kombu
import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Gauge

from kit.tests import consumer
from kit.tests.consumer import KIND
from kontor_kit.amqp.broker import dead_queue
from kontor_kit.amqp.relay import Relay
from kontor_kit.changes.schema import change_log_tables
from kontor_kit.changes.sequencer import Sequencer
from kontor_kit.changes.waking import Waker
from kontor_kit.db import Database
from kontor_kit.service import Service
from kontor_kit.tables import kit_tables
from kontor_kit.testing import TENANT

ROOT = Path(__file__).parents[2]

metadata = sa.MetaData()
kit_tables(metadata)
change_log_tables(metadata)


def service():
    return Service(
        name="elsewhere",
        package="elsewhere",
        servicers=lambda runtime: [],
        metadata=metadata,
        migrations=Path(__file__).parent / "elsewhere_migrations",
    )


def seal(position):
    """Positions are read by the tests, not sealed."""
    return "{}.{}".format(*position)


class Elsewhere:
    """The service, with a sequencer; changes are written past the kit's resources, as they would write them."""

    def __init__(self, database):
        self.database = database
        self.system = Database(database.url("system"), pool_size=3, name="elsewhere")
        self.system.open()
        self._stopping = threading.Event()
        self._sequencer = threading.Thread(target=Sequencer(metadata, self.system).run, args=(self._stopping,))
        self._sequencer.start()

    def write(self, *changes, kind="updated"):
        """Commit changes, each a pair of name and version."""
        insert = (
            "INSERT INTO change_pending (tenant_id, resource_name, version, event_type, after, subject, trace_id)"
            " VALUES (%s, %s, %s, %s, %s, 'users/a', %s)"
        )
        with self.database.connect() as connection, connection.transaction():
            connection.cursor().executemany(
                insert, [(TENANT, name, version, f"{KIND}.{kind}", b"data", "ab" * 16) for name, version in changes]
            )

    def run(self, statement, *parameters):
        with self.database.connect() as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else None

    def await_relay(self):
        """Wait until a relay has begun: what was written before is the change stream's to tell."""
        while self.run("SELECT run FROM change_relay") == [(None,)]:
            time.sleep(0.02)

    def close(self):
        self._stopping.set()
        self._sequencer.join()
        self.system.close()


def broker(url):
    """Return a connection as relays have it."""
    return kombu.Connection(url, heartbeat=0, connect_timeout=5)


class Relaying:
    """A relay in a thread, of elsewhere unless `more` says of what."""

    def __init__(self, source, url, **more):
        self.lag = Gauge("lag", "Lag.", registry=CollectorRegistry())
        self._waker = Waker(source.database.url("system"))
        self._waker.start()
        self._stopping = threading.Event()
        given = {"metadata": metadata, "service": "elsewhere", "seal": seal, **more}
        relay = Relay(database=source.system, connect=lambda: broker(url), waker=self._waker, lag=self.lag, **given)
        self._thread = threading.Thread(target=relay.run, args=(self._stopping,))
        self._thread.start()

    @property
    def lag_seconds(self):
        return self.lag._value.get()

    def stop(self):
        self._stopping.set()
        self._waker.stop()
        self._thread.join(20)
        assert not self._thread.is_alive()


def relay_forever():
    """Relay until killed; for a process of its own."""
    system = Database(os.environ["SYSTEM_URL"], pool_size=2)
    system.open()
    waker = Waker(os.environ["SYSTEM_URL"])
    waker.start()
    url = os.environ["AMQP_URL"]
    relay = Relay(metadata, system, service="elsewhere", connect=lambda: broker(url), seal=seal, waker=waker)
    relay.run(threading.Event())


def start_relay(elsewhere, url):
    """Start a relay in a process of its own."""
    environ = {**os.environ, "SYSTEM_URL": elsewhere.database.url("system"), "AMQP_URL": url}
    script = "from kit.tests.elsewhere import relay_forever; relay_forever()"
    return subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env=environ)


class Receiving:
    """A receiver of the consumer: the process as `python -m kontor_<name> receive` becomes it."""

    def __init__(self, database, url, log, types=(f"{KIND}.*",), **environ):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        handlers = consumer.plain_handlers(types)
        wanted = json.dumps({handler.name: sorted(handler.types) for handler in handlers})
        settings = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PSYCOPG_WAIT_FUNC": "wait_selector",
            "PYTHONWARNINGS": "ignore",
            "KONTOR_AMQP_URL": url,
            "KONTOR_CONSUMER_SYSTEM_DATABASE_URL": database.url("system"),
            "KONTOR_METRICS_LISTEN": self.address,
            "KONTOR_DRAIN_SECONDS": "5",
            **environ,
        }
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kontor_kit.amqp", "consumer", wanted], env=settings, stderr=output
            )

    def health(self):
        """Return the status of /healthz; 0 where nobody answers."""
        return health(self.address)

    def metric(self, name):
        """Return the value of a line of /metrics; 0 where there is none."""
        with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")), 0.0)

    def end(self, number=signal.SIGTERM):
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(20)


def dead_letters(url):
    """Take the messages that were put aside and return their bodies."""
    found = []
    with broker(url) as connection:
        channel = connection.channel()
        while message := channel.basic_get(dead_queue("consumer").name, no_ack=True):
            body = message.body
            found.append(body.encode(errors="surrogateescape") if isinstance(body, str) else bytes(body))
    return found


@contextmanager
def publishing(url):
    """Yield what publishes a body under a routing key, past the relay."""
    with broker(url) as connection:
        producer = kombu.Producer(connection.channel())

        def publish(body, routing_key=f"{KIND}.updated", **more):
            given = {"content_type": "application/cloudevents+json", "content_encoding": "utf-8", **more}
            producer.publish(body, exchange="kontor.changes", routing_key=routing_key, **given)

        yield publish


def health(address):
    """Return the status of a receiver's /healthz; 0 where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://{address}/healthz", timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@contextmanager
def tls_before(url, authority):
    """Yield the URL of a broker that speaks TLS, and asks for a certificate of the authority."""
    parts = urlsplit(url)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.path)
    context.load_cert_chain(*authority.issue("localhost"))
    context.verify_mode = ssl.CERT_REQUIRED

    class Forward(socketserver.BaseRequestHandler):
        def handle(self):
            with (
                suppress(OSError),
                context.wrap_socket(self.request, server_side=True) as outside,
                socket.create_connection((parts.hostname, parts.port)) as inside,
            ):
                outside.settimeout(0.02)
                inside.settimeout(0.02)
                while all(pass_on(*ends) for ends in ((outside, inside), (inside, outside))):
                    pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Forward) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.server_address[1]
        yield parts._replace(scheme="amqps", netloc=f"{parts.username}:{parts.password}@localhost:{port}").geturl()
        server.shutdown()
        thread.join()


def pass_on(one, other):
    """Pass on what comes from one socket to the other; tell whether it is still open."""
    try:
        data = one.recv(1 << 16)
    except TimeoutError:
        return True
    other.settimeout(10)
    other.sendall(data)
    other.settimeout(0.02)
    return bool(data)
