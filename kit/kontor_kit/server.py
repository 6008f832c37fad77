"""The gRPC server of a process: its services on the one path of calls, health, reflection, metrics, and a calm end."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

import grpc
from grpc_reflection.v1alpha import reflection

from kontor_kit.calls import CallPath, MethodSpec, Servicer
from kontor_kit.config import Settings
from kontor_kit.health import Check, Health
from kontor_kit.metrics import MetricsServer
from kontor_kit.tls import server_credentials

logger = logging.getLogger(__name__)

_METADATA_BYTES: Final = 320 * 1024
"""More than the headers that the gateway takes, so that nothing is refused in another form than its own."""


class Part(Protocol):
    """Something else that runs beside the gRPC server, for example one for HTTP."""

    def start(self) -> None:
        """Begin; returns at once."""

    def stop(self) -> None:
        """End, and wait until it has."""


class Server:
    """Serves `servicers` on `settings.listen` until it is stopped.

    `checks` are what health depends on; `parts` start before and stop after the gRPC server; `drainers` are called when
    the end begins, for example to end streams; `closers` are called last, for example to close connection pools. Raises ValueError where a method of the contract has no handler.
    """

    def __init__(
        self,
        settings: Settings,
        path: CallPath,
        servicers: Iterable[Servicer],
        *,
        checks: Mapping[str, Check] | None = None,
        parts: Sequence[Part] = (),
        drainers: Sequence[Callable[[], object]] = (),
        closers: Sequence[Callable[[], object]] = (),
    ) -> None:
        self._settings = settings
        self._drainers = drainers
        self._closers = closers
        self._parts = [*parts]
        pool = ThreadPoolExecutor(settings.threads, thread_name_prefix="call")
        # The queue of the executor is the only place that knows how many calls wait.
        path.metrics.watch_threads(settings.threads, pool._work_queue.qsize)
        self._grpc = grpc.server(pool, options=_options(settings))
        handlers = {servicer.SERVICE.full_name: _handlers(servicer, path) for servicer in servicers}
        for service, methods in handlers.items():
            self._grpc.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
            self._grpc.add_registered_method_handlers(service, methods)  # type: ignore[attr-defined]  # not in the stubs
        self.health = Health(handlers, checks or {}, tell=path.metrics.tell_health)
        self.health.register(self._grpc)
        if settings.metrics_listen:
            registry = path.metrics.registry
            self._parts.append(MetricsServer(settings.metrics_listen, registry, lambda: self.health.is_serving))
        # Health stands first in what reflection lists, as is usual.
        reflection.enable_server_reflection([*handlers, "grpc.health.v1.Health", reflection.SERVICE_NAME], self._grpc)
        self.port = 0
        """The port it listens on, once started."""

    def start(self) -> None:
        """Begin to serve. Raises OSError where the address cannot be used."""
        self._listen()
        for part in self._parts:
            part.start()
        self._grpc.start()
        self.health.start()
        logger.info("serving", extra={"address": f"{self._settings.listen.rpartition(':')[0]}:{self.port}"})

    def stop(self) -> None:
        """Say NOT_SERVING, let running calls end as long as the settings allow, then close everything."""
        logger.info("draining")
        self.health.drain()
        threading.Event().wait(self._settings.drain_delay)
        for drain in self._drainers:
            drain()
        self._grpc.stop(self._settings.drain).wait()
        for part in reversed(self._parts):
            part.stop()
        for close in self._closers:
            close()
        logger.info("stopped")

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then stop. For the main thread."""
        wanted = stop_signal()
        self.start()
        wanted.wait()
        self.stop()

    def _listen(self) -> None:
        settings = self._settings
        try:
            if settings.tls_certificate_file and settings.tls_key_file:
                credentials = server_credentials(
                    settings.tls_certificate_file, settings.tls_key_file, settings.tls_client_ca_file
                )
                self.port = self._grpc.add_secure_port(settings.listen, credentials)
            else:
                self.port = self._grpc.add_insecure_port(settings.listen)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {settings.listen}") from error


def stop_signal() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set. For the main thread."""
    wanted = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: wanted.set())
    return wanted


def _handlers(servicer: Servicer, path: CallPath) -> dict[str, grpc.RpcMethodHandler[bytes, bytes]]:
    specs = [MethodSpec.of(method) for method in servicer.SERVICE.methods]
    behaviors = {spec: servicer.handler(spec.name) for spec in specs}
    missing = [spec.full_name for spec, behavior in behaviors.items() if behavior is None]
    if missing:
        raise ValueError(f"nothing serves {', '.join(missing)}")
    return {spec.name: path.handler(spec, behavior) for spec, behavior in behaviors.items() if behavior is not None}


def _options(settings: Settings) -> list[tuple[str, Any]]:
    return [
        # A second process on the same port is a mistake to be told of, not a second half of the calls.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.max_request_bytes),
        ("grpc.max_send_message_length", -1),
        # A token says each permission by name: soon more than the 8 KiB from which on gRPC refuses some calls by chance.
        ("grpc.max_metadata_size", _METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", _METADATA_BYTES),
        # Connections through silent load balancers stay open, and dead ones are noticed.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ]
