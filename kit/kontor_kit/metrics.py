"""Metrics for Prometheus: how many calls, how long, how many at once; served on an address of their own."""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from wsgiref.simple_server import WSGIServer

import grpc
from prometheus_client import CollectorRegistry, Gauge, Histogram, start_http_server
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

# From a read by id to a call that nears its deadline, in seconds.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """What a server measures about its calls; a registry of its own unless one is given."""

    def __init__(self, distribution: str = "kontor-kit", registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._seconds = Histogram(
            "kontor_rpc_seconds",
            "How long calls took, by service, method and status code.",
            ("service", "method", "code"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._in_flight = Gauge("kontor_rpc_in_flight", "Calls being worked on.", registry=self.registry)
        self._threads = Gauge("kontor_threads", "Threads that work on calls.", registry=self.registry)
        self._waiting = Gauge("kontor_rpc_waiting", "Calls that wait for a thread.", registry=self.registry)
        self.begin = self._in_flight.inc
        """Count a call that begins."""
        build = Gauge("kontor_build_info", "1, with what runs.", ("version", "python"), registry=self.registry)
        build.labels(_version(distribution), platform.python_version()).set(1)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def method(self, service: str, method: str) -> Callable[[grpc.StatusCode, float], None]:
        """Return the function that counts a call of `method` that ended, given its code and seconds."""
        observers: dict[grpc.StatusCode, Callable[[float], None]] = {}
        end = self._in_flight.dec

        def observe(code: grpc.StatusCode, seconds: float) -> None:
            end()
            observer = observers.get(code)
            if observer is None:
                observer = observers[code] = self._seconds.labels(service, method, code.name).observe
            observer(seconds)

        return observe

    def watch_threads(self, threads: int, waiting: Callable[[], int]) -> None:
        """Report `threads`, and how many calls wait for one of them."""
        self._threads.set(threads)
        self._waiting.set_function(waiting)


class MetricsServer:
    """Serves a registry at `/metrics` on `address` (`host:port`)."""

    def __init__(self, address: str, registry: CollectorRegistry) -> None:
        self._address = address
        self._registry = registry
        self._running: tuple[WSGIServer, threading.Thread] | None = None

    @property
    def port(self) -> int:
        """The port it listens on; 0 while it does not."""
        return self._running[0].server_port if self._running else 0

    def start(self) -> None:
        """Begin to serve."""
        host, _, port = self._address.rpartition(":")
        self._running = start_http_server(int(port), host.strip("[]"), self._registry)

    def stop(self) -> None:
        """Stop serving."""
        if self._running:
            server, thread = self._running
            server.shutdown()
            server.server_close()
            thread.join()
            self._running = None


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
