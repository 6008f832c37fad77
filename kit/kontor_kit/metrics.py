"""Metrics for Prometheus: how many calls, how long, how many at once; served on an address of their own."""

from __future__ import annotations

import platform
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import grpc
from prometheus_client import CollectorRegistry, Gauge, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

# From a read by id to a call that nears its deadline, in seconds.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


_Labels = tuple[str, str, str]
"""Service, method, status code."""


class Metrics(Collector):
    """What a server measures about its calls, in a registry of its own unless one is given.

    Each thread counts for itself and the counts are summed when they are asked for: the locks of the usual histogram
    cost more than the rest of a call's path where many threads meet at them.
    """

    def __init__(self, distribution: str = "kontor-kit", registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._local = threading.local()
        self._threads: list[_Counts] = []
        self._threads_lock = threading.Lock()
        self._registered = Gauge("kontor_threads", "Threads that work on calls.", registry=self.registry)
        self._waiting = Gauge("kontor_rpc_waiting", "Calls that wait for a thread.", registry=self.registry)
        build = Gauge("kontor_build_info", "1, with what runs.", ("version", "python"), registry=self.registry)
        build.labels(_version(distribution), platform.python_version()).set(1)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.registry.register(self)

    def begin(self) -> None:
        """Count a call that begins."""
        self._counts().begun += 1

    def method(self, service: str, method: str) -> Callable[[grpc.StatusCode, float], None]:
        """Return the function that counts a call of `method` that ended, given its code and seconds."""
        keys = {code: (service, method, code.name) for code in grpc.StatusCode}

        def end(code: grpc.StatusCode, seconds: float) -> None:
            counts = self._counts()
            counts.ended += 1
            key = keys[code]
            cells = counts.cells.get(key)
            if cells is None:
                cells = counts.cells[key] = [0.0] * (len(_BUCKETS) + 2)
            cells[bisect_left(_BUCKETS, seconds)] += 1
            cells[-1] += seconds

        return end

    def watch_threads(self, threads: int, waiting: Callable[[], int]) -> None:
        """Report `threads`, and how many calls wait for one of them."""
        self._registered.set(threads)
        self._waiting.set_function(waiting)

    def collect(self) -> Iterator[Metric]:
        """Sum up what the threads counted; called by the registry."""
        with self._threads_lock:
            threads = list(self._threads)
        # Ends before begins: what happens in between must not make the difference negative.
        ended = sum(counts.ended for counts in threads)
        begun = sum(counts.begun for counts in threads)
        yield GaugeMetricFamily("kontor_rpc_in_flight", "Calls being worked on.", begun - ended)
        totals: dict[_Labels, list[float]] = {}
        for counts in threads:
            for key, cells in counts.cells.copy().items():
                totals[key] = [a + b for a, b in zip(totals[key], cells, strict=True)] if key in totals else cells
        family = HistogramMetricFamily(
            "kontor_rpc_seconds",
            "How long calls took, by service, method and status code.",
            labels=("service", "method", "code"),
        )
        bounds = [*map(floatToGoString, _BUCKETS), "+Inf"]
        for labels, cells in totals.items():
            buckets = list(zip(bounds, accumulate(cells[:-1]), strict=True))
            family.add_metric(labels, buckets, cells[-1])
        yield family

    def _counts(self) -> _Counts:
        try:
            counts: _Counts = self._local.counts
        except AttributeError:
            counts = self._local.counts = _Counts()
            with self._threads_lock:
                self._threads.append(counts)
        return counts


class _Counts:
    """What one thread has counted. Only that thread writes here."""

    __slots__ = ("begun", "cells", "ended")

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.cells: dict[_Labels, list[float]] = {}
        """Calls per bucket, and the sum of their seconds at the end."""


class MetricsServer:
    """Serves a registry at `/metrics` on `address` (`host:port`), and tells over HTTP how the process is.

    `/livez` is 200 as long as the process answers at all, `/healthz` while `is_serving`, else 503: for who asks without
    a certificate, which gRPC may want.
    """

    def __init__(
        self, address: str, registry: CollectorRegistry, is_serving: Callable[[], bool] = lambda: True
    ) -> None:
        self._address = address
        self._metrics = make_wsgi_app(registry)
        self._is_serving = is_serving
        self._running: tuple[WSGIServer, threading.Thread] | None = None

    @property
    def port(self) -> int:
        """The port it listens on; 0 while it does not."""
        return self._running[0].server_port if self._running else 0

    def start(self) -> None:
        """Begin to serve."""
        host, _, port = self._address.rpartition(":")
        server = make_server(host.strip("[]"), int(port), self._answer, ThreadingWSGIServer, _Silent)
        thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
        thread.start()
        self._running = server, thread

    def stop(self) -> None:
        """Stop serving."""
        if self._running:
            server, thread = self._running
            server.shutdown()
            server.server_close()
            thread.join()
            self._running = None

    def _answer(self, environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] not in ("/livez", "/healthz"):
            return self._metrics(environ, start_response)
        is_well = environ["PATH_INFO"] == "/livez" or self._is_serving()
        start_response("200 OK" if is_well else "503 Service Unavailable", [("Content-Type", "text/plain")])
        return [b"well" if is_well else b"not serving"]


class _Silent(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing: it is asked every few seconds."""


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
