"""The receiver: puts what comes from the broker into the inbox, and acknowledges it then.

This is the only module of nameko and eventlet, so that another AMQP client could take their place. It runs in a process
that was patched before anything was imported, and imports no gRPC.

Messages that came together go into the inbox in one transaction, in the order in which they came. While the database is
away they stay unacknowledged, and the broker sends no more than were asked for; only what cannot be read is rejected.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import eventlet
import eventlet.event
import eventlet.queue
import eventlet.wsgi
import psycopg
import sqlalchemy as sa
from amqp.exceptions import AMQPError
from nameko.extensions import DependencyProvider
from nameko.messaging import Consumer, QueueConsumer
from nameko.runners import ServiceRunner
from prometheus_client import CollectorRegistry, Counter, Gauge, make_wsgi_app
from psycopg_pool import PoolTimeout

from kontor_kit import logs
from kontor_kit.amqp.bindings import Bindings
from kontor_kit.amqp.broker import CHANGES, DEAD, dead_queue, queue, ssl_options
from kontor_kit.amqp.envelope import Malformed, Message, parse
from kontor_kit.config import ConfigurationError, Settings
from kontor_kit.db import Database
from kontor_kit.inbox.events import Handlers
from kontor_kit.inbox.receiving import Inbox
from kontor_kit.inbox.schema import inbox_tables
from kontor_kit.inbox.sources import routing_keys
from kontor_kit.metrics import describe_process

logger = logging.getLogger(__name__)

PREFETCH: Final = 200
"""So many messages are here at most, unacknowledged."""
_HEARTBEAT_SECONDS: Final = 20
_RETRY_SECONDS: Final = 1.0
_WISH_SECONDS: Final = 3600.0
_REFUSED: Final = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded)
"""What the database says of a message that it will never take."""
_AWAY: Final = (psycopg.Error, PoolTimeout)


class Measures:
    """What is measured of a receiver."""

    def __init__(self, service: str) -> None:
        self.registry = CollectorRegistry()
        describe_process(self.registry, f"kontor-{service}")
        self.received = Counter(
            "kontor_amqp_received", "Messages by what became of them.", ("outcome",), registry=self.registry
        )
        for outcome in ("stored", "rejected"):
            self.received.labels(outcome)  # From nought on: what begins with one never rises.
        self.connected = Gauge("kontor_amqp_connected", "1 while messages can come.", registry=self.registry)
        self.connected.set(0)


class Store:
    """The inbox, as the receiver fills it."""

    def __init__(self, settings: Settings, handlers: Handlers) -> None:
        metadata = sa.MetaData()
        inbox_tables(metadata)
        self.database = Database(settings.system_database_url, pool_size=2, name=f"kontor-{settings.service}-receive")
        self.bindings = Bindings(metadata, routing_keys(handlers))
        self._inbox = Inbox(metadata, self.database, handlers)
        self._is_first = True

    def connected(self) -> list[str]:
        """Have the change stream followed up to now, and return the routing keys that are no longer wished for.

        Called when the queue is bound and before anything is taken from it: it may have been made just now.
        """
        with self.database.write(None) as tx:
            self._inbox.sources.want(tx)
            self.bindings.wish(tx)
            stale = self.bindings.forget(tx)
        self._is_first = True
        return stale

    def keep_wishing(self) -> None:
        """Say every hour what is wished for, without end."""
        while True:
            eventlet.sleep(_WISH_SECONDS)
            with suppress(*_AWAY), self.database.write(None) as tx:
                self.bindings.wish(tx)

    def put(self, messages: Sequence[Message]) -> None:
        """Put events into the inbox, and note how far they bring it."""
        with self.database.write(None) as tx:
            if self._is_first:
                # Another receiver had its turn until now, perhaps of a version that did not wish for all of this.
                self._inbox.sources.want(tx)
            for message in messages:
                if message.event is not None:
                    self._inbox.put(tx, message.event)
            for last in _ends(messages):
                self._inbox.sources.tell(tx, last.source, last.position, last.relay)
        self._is_first = False


def _ends(messages: Sequence[Message]) -> Iterator[Message]:
    """Yield the last message of each stretch that one run of a relay told; the sources side by side."""
    last: dict[str, Message] = {}
    for message in messages:
        before = last.get(message.source)
        if before is not None and before.relay != message.relay:
            yield before
        last[message.source] = message
    yield from last.values()


class Deposit(DependencyProvider):  # type: ignore[misc]  # nameko has no types
    """Gives the service what puts a message into the inbox, together with others that wait."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: Any = eventlet.queue.LightQueue()

    def start(self) -> None:
        """Begin to work."""
        self._thread = self.container.spawn_managed_thread(self._run)

    def stop(self) -> None:
        """End; nothing waits any more."""
        self._thread.kill()

    def get_dependency(self, worker_ctx: Any) -> Callable[[Message], None]:
        """Return the function."""
        return self._put

    def _put(self, message: Message) -> None:
        """Return when the message is in the inbox. Raises Malformed where it can never be."""
        done = eventlet.event.Event()
        self._waiting.put((message, done))
        done.wait()

    def _run(self) -> None:
        while True:
            batch = [self._waiting.get()]
            while not self._waiting.empty():
                batch.append(self._waiting.get())
            self._store_all(batch)

    def _store_all(self, batch: list[tuple[Message, Any]]) -> None:
        while True:
            try:
                self._store.put([message for message, _ in batch])
            except _REFUSED as error:
                if len(batch) == 1:
                    batch[0][1].send_exception(Malformed("", f"the database refuses it: {error}"))
                    return
                for one in batch:
                    self._store_all([one])
                return
            except _AWAY as error:
                logger.warning("receiving waits for the database", extra={"reason": str(error)})
                eventlet.sleep(_RETRY_SECONDS)
            else:
                for _, done in batch:
                    done.send()
                return


class CalmConsumer(QueueConsumer):  # type: ignore[misc]  # nameko has no types
    """Takes messages from the queue, and ends only when all that it took are acknowledged."""

    def __init__(self) -> None:
        super().__init__()
        self._in_flight = 0

    def get_consumers(self, consumer_cls: Any, channel: Any) -> list[Any]:
        """Declare everything and return the consumers; called after each connection."""
        self._measures.connected.set(0)
        for provider in self._providers:
            provider.declare(channel)
            taken = partial(self._take, provider)
            consumer = consumer_cls(queues=[provider.queue], on_message=taken, accept=None, auto_declare=False)
            consumer.qos(prefetch_count=self.prefetch_count)
            self._consumers[provider] = consumer
        return list(self._consumers.values())

    def on_consume_ready(self, connection: Any, channel: Any, consumers: Any, **more: Any) -> None:
        """Note that messages can come."""
        self._measures.connected.set(1)
        super().on_consume_ready(connection, channel, consumers, **more)

    def on_connection_error(self, exc: Exception, interval: float) -> None:
        """Note that no messages can come."""
        self._measures.connected.set(0)
        logger.warning("receiving waits for the broker", extra={"reason": str(exc)})

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Reject a message whose headers say what nobody can undo."""
        self.reject(message, Malformed("", str(exc)))

    def on_iteration(self) -> None:
        """Stop taking messages where that was asked for; end when nothing is in flight."""
        self._cancel_consumers_if_requested()
        if not self._consumers and not self._in_flight:
            self.should_stop = True

    def ack_message(self, message: Any) -> None:
        """Acknowledge a message; where the connection was lost, it comes again."""
        with suppress(AMQPError, OSError):
            message.ack()

    def reject(self, message: Any, problem: Malformed) -> None:
        """Have the broker put a message aside."""
        logger.error("a message cannot be read", extra={"reason": str(problem), "attribute": problem.attribute})
        self._measures.received.labels("rejected").inc()
        with suppress(AMQPError, OSError):
            message.reject(requeue=False)

    def done(self) -> None:
        """Note that one message is out of hands."""
        self._in_flight -= 1

    @property
    def _measures(self) -> Measures:
        measures: Measures = self.container.config["measures"]
        return measures

    def _take(self, provider: Any, message: Any) -> None:
        self._in_flight += 1
        self.handle_message(provider, None, message)


class Changes(Consumer):  # type: ignore[misc]  # nameko has no types
    """The entrypoint: the queue of a consumer."""

    queue_consumer = CalmConsumer()

    def __init__(self, service: str, store: Store, **more: Any) -> None:
        super().__init__(queue(service), **more)
        self._service = service
        self._store = store

    def declare(self, channel: Any) -> None:
        """Declare exchanges, queues and bindings, and say that something may have been missed."""
        for entity in (CHANGES, DEAD, dead_queue(self._service), self.queue):
            entity(channel).declare()
        bound = self.queue(channel)
        for routing_key in self._store.bindings.wanted:
            bound.bind_to(CHANGES, routing_key)
        for routing_key in self._retried(self._store.connected):
            bound.unbind_from(CHANGES, routing_key)

    def handle_message(self, body: Any, message: Any) -> None:
        """Read a message and hand it to the service; what cannot be read is rejected."""
        try:
            parsed = parse(message.body)
        except Malformed as problem:
            self.queue_consumer.reject(message, problem)
            self.queue_consumer.done()
            return
        self.container.spawn_worker(self, (parsed,), {}, handle_result=partial(self.handle_result, message))

    def handle_message_processed(self, message: Any, result: Any = None, exc_info: Any = None) -> None:
        """Acknowledge what is in the inbox; what failed stays unacknowledged, and comes again."""
        problem = exc_info[1] if exc_info else None
        if problem is None:
            self.queue_consumer._measures.received.labels("stored").inc()
            self.queue_consumer.ack_message(message)
        elif isinstance(problem, Malformed):
            self.queue_consumer.reject(message, problem)
        self.queue_consumer.done()

    @staticmethod
    def _retried(work: Callable[[], list[str]]) -> list[str]:
        while True:
            try:
                return work()
            except _AWAY as error:
                logger.warning("receiving waits for the database", extra={"reason": str(error)})
                eventlet.sleep(_RETRY_SECONDS)


def run(service: str, wanted: str) -> int:
    """Receive for `service` until SIGTERM or SIGINT; `wanted` is JSON, the types by the names of the handlers."""
    try:
        settings = Settings.load(service, need=("amqp_url", "system_database_url"))
    except ConfigurationError as error:
        sys.stderr.write(f"receive: {error}\n")
        return 2
    logs.configure(service, settings.log_level, settings.log_format)
    measures = Measures(service)
    store = Store(settings, Handlers.declared(json.loads(wanted)))
    store.database.open()
    runner = ServiceRunner(
        {
            "AMQP_URI": settings.amqp_url,
            "AMQP_SSL": ssl_options(settings),
            "HEARTBEAT": _HEARTBEAT_SECONDS,
            "max_workers": PREFETCH,
            "measures": measures,
        }
    )
    runner.add_service(_service(service, store))
    ended = eventlet.event.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: eventlet.spawn_n(_send, ended, 0))
    if settings.metrics_listen:
        eventlet.spawn_n(_serve_http, settings.metrics_listen, store, measures)
    eventlet.spawn_n(store.keep_wishing)
    eventlet.spawn_n(_run_until_it_dies, runner, ended)
    code: int = ended.wait()
    logger.info("draining")
    with eventlet.Timeout(settings.drain, False):
        runner.stop()
    store.database.close()
    logger.info("stopped")
    return code


def _service(name: str, store: Store) -> type:
    changes = Changes.decorator(name, store)

    class Receiver:
        """The service, as nameko sees it."""

        deposit = Deposit(store)

        @changes  # type: ignore[untyped-decorator]  # nameko has no types
        def receive(self, message: Message) -> None:
            """Put a message into the inbox."""
            self.deposit(message)

    Receiver.name = f"kontor-{name}"  # type: ignore[attr-defined]
    return Receiver


def _run_until_it_dies(runner: Any, ended: Any) -> None:
    try:
        runner.start()
        logger.info("receiving")
        runner.wait()
    except Exception:
        logger.exception("the receiver failed")
        _send(ended, 1)


def _send(ended: Any, code: int) -> None:
    if not ended.ready():
        ended.send(code)


def _serve_http(address: str, store: Store, measures: Measures) -> None:
    """Answer /metrics, and /healthz with 200 while messages can come and the database answers."""
    metrics = make_wsgi_app(measures.registry)

    def answer(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/healthz":
            return metrics(environ, start_response)
        problems = [
            *(["the broker is away"] if not measures.connected._value.get() else []),
            *(["the database is away"] if not store.database.is_reachable() else []),
        ]
        status = "503 Service Unavailable" if problems else "200 OK"
        start_response(status, [("Content-Type", "text/plain")])
        return [("; ".join(problems) or "serving").encode()]

    host, _, port = address.rpartition(":")
    listener = eventlet.listen((host.strip("[]"), int(port)))
    eventlet.wsgi.server(listener, answer, log=logging.getLogger("kontor_kit.amqp.http"), log_output=False)
