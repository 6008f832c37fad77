"""Metrics for Prometheus: how many calls, how long, how many at once; served on an address of their own.

No label names a tenant or a record, so that the number of series depends on the code alone.
"""

from __future__ import annotations

import platform
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Gauge, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

CALL_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Buckets from a read by id to a call that nears its deadline."""
STREAM_SECONDS: Final = (1.0, 10.0, 60.0, 600.0, 3600.0)
"""Buckets of streams, which live until their token expires."""
RPC_LABELS: Final = ("rpc_service", "method", "code")
"""Not `service`: Prometheus calls the target so on Kubernetes."""


class Durations(Collector):
    """A histogram of how long something took, in seconds, by `labels`, whose last one is what became of it.

    Each thread counts for itself and the counts are summed when they are asked for: the locks of the usual histogram
    cost more than the rest of a call's path where many threads meet at them.
    """

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str], buckets: Sequence[float] = CALL_SECONDS
    ) -> None:
        self._name, self._documentation, self._labels = name, documentation, labels
        self._buckets = tuple(buckets)
        self._local = threading.local()
        self._threads: list[_Counts] = []
        self._threads_lock = threading.Lock()

    def begin(self) -> None:
        """Count something that begins; for `in_flight`, which is of no use without."""
        self._counts().begun += 1

    def of(self, *labels: str) -> Callable[[str, float], None]:
        """Return the function that counts what ended, given the last label and seconds."""

        def end(outcome: str, seconds: float) -> None:
            counts = self._counts()
            counts.ended += 1
            key = (*labels, outcome)
            cells = counts.cells.get(key)
            if cells is None:
                cells = counts.cells[key] = [0.0] * (len(self._buckets) + 2)
            cells[bisect_left(self._buckets, seconds)] += 1
            cells[-1] += seconds

        return end

    @property
    def in_flight(self) -> int:
        """How many have begun and not ended."""
        threads = self._known()
        # Ends before begins: what happens in between must not make the difference negative.
        ended = sum(counts.ended for counts in threads)
        return sum(counts.begun for counts in threads) - ended

    def collect(self) -> Iterator[Metric]:
        """Sum up what the threads counted; called by the registry."""
        totals: dict[tuple[str, ...], list[float]] = {}
        for counts in self._known():
            for key, cells in counts.cells.copy().items():
                totals[key] = [a + b for a, b in zip(totals[key], cells, strict=True)] if key in totals else cells
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        bounds = [*map(floatToGoString, self._buckets), "+Inf"]
        for labels, cells in totals.items():
            buckets = list(zip(bounds, accumulate(cells[:-1]), strict=True))
            family.add_metric(labels, buckets, cells[-1])
        yield family

    def _known(self) -> list[_Counts]:
        with self._threads_lock:
            return list(self._threads)

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
        self.cells: dict[tuple[str, ...], list[float]] = {}
        """How many per bucket, and the sum of their seconds at the end."""


class Metrics(Collector):
    """What a process measures about its calls and what they need, in a registry of its own unless one is given."""

    def __init__(self, distribution: str = "kontor-kit", registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.calls = Durations("kontor_rpc_seconds", "How long calls took.", RPC_LABELS)
        self.streams = Durations("kontor_rpc_stream_seconds", "How long streams lasted.", RPC_LABELS, STREAM_SECONDS)
        self._registered = Gauge("kontor_threads", "Threads that work on calls.", registry=self.registry)
        self._waiting = Gauge("kontor_rpc_waiting", "Calls that wait for a thread.", registry=self.registry)
        self._health = Gauge("kontor_health", "1 while a health check passes.", ("check",), registry=self.registry)
        self._pools: dict[str, Callable[[], Mapping[str, int]]] = {}
        describe_process(self.registry, distribution)
        for collector in (self.calls, self.streams, self):
            self.registry.register(collector)

    def watch_threads(self, threads: int, waiting: Callable[[], int]) -> None:
        """Report `threads`, and how many calls wait for one of them."""
        self._registered.set(threads)
        self._waiting.set_function(waiting)

    def watch_pool(self, name: str, state: Callable[[], Mapping[str, int]]) -> None:
        """Report a pool of connections; `state` says what psycopg_pool's `get_stats` does."""
        self._pools[name] = state

    def tell_health(self, check: str, passes: bool) -> None:
        """Report what became of a health check."""
        self._health.labels(check).set(passes)

    def collect(self) -> Iterator[Metric]:
        """Look at what changes from moment to moment; called by the registry."""
        yield GaugeMetricFamily("kontor_rpc_in_flight", "Calls being worked on.", self.calls.in_flight)
        yield GaugeMetricFamily("kontor_rpc_streams", "Streams being served.", self.streams.in_flight)
        used = GaugeMetricFamily("kontor_pool_used", "Connections to the database in use.", labels=("pool",))
        size = GaugeMetricFamily("kontor_pool_size", "Connections that there may be at most.", labels=("pool",))
        waiting = GaugeMetricFamily("kontor_pool_waiting", "Who waits for a connection.", labels=("pool",))
        for name, state in self._pools.items():
            stats = state()
            used.add_metric([name], stats["pool_size"] - stats["pool_available"])
            size.add_metric([name], stats["pool_max"])
            waiting.add_metric([name], stats.get("requests_waiting", 0))
        yield from (used, size, waiting)


def describe_process(registry: CollectorRegistry, distribution: str) -> None:
    """Report what runs, and what the operating system says of it."""
    build = Gauge("kontor_build_info", "1, with what runs.", ("version", "python"), registry=registry)
    build.labels(version_of(distribution), platform.python_version()).set(1)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)


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


def version_of(distribution: str) -> str:
    """Return the version of an installed distribution; `unknown` where it is none."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
