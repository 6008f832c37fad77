"""Health that tells the truth: SERVING while what a service needs can be reached, NOT_SERVING before, else and after."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

logger = logging.getLogger(__name__)

Check = Callable[[], object]
"""Raises, or returns False, where something that is needed cannot be used."""

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """The health of a server: the overall one (``""``) and that of each of its gRPC services.

    `checks` are run every `interval` seconds by one thread; all are needed by every service. `tell` is told what became
    of each.
    """

    def __init__(
        self,
        services: Iterable[str],
        checks: Mapping[str, Check],
        interval: float = 5.0,
        *,
        tell: Callable[[str, bool], object] = lambda check, passes: None,
    ) -> None:
        self._tell = tell
        self._servicer = _Servicer()
        self._services = ("", *services)
        self._checks = dict(checks)
        self._failing: set[str] = set()
        self._interval = interval
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="health", daemon=True)
        self._set(_NOT_SERVING)

    def register(self, server: grpc.Server) -> None:
        """Add the service `grpc.health.v1.Health` to `server`."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    def start(self) -> None:
        """Begin to run the checks in the background."""
        self._thread.start()

    def drain(self) -> None:
        """Say NOT_SERVING from now on, and let go of those who watch."""
        self._stopping.set()
        self._servicer.enter_graceful_shutdown()
        self._servicer.end_watches()

    @property
    def is_serving(self) -> bool:
        """Whether the server as a whole is said to be SERVING."""
        return bool(self._servicer.status("") == _SERVING)

    def check(self) -> bool:
        """Run the checks now; return whether all is well."""
        failing = {name for name, check in self._checks.items() if not self._passes(name, check)}
        for name in self._failing - failing:
            logger.info("health check passes again", extra={"check": name})
        self._failing = failing
        self._set(_NOT_SERVING if failing else _SERVING)
        return not failing

    def _passes(self, name: str, check: Check) -> bool:
        try:
            passed, error = check() is not False, ""
        except Exception as failure:  # noqa: BLE001  # whatever went wrong, it cannot be used
            passed, error = False, f"{type(failure).__name__}: {failure}"
        if not passed and name not in self._failing:
            logger.warning("health check fails", extra={"check": name, "reason": error})
        self._tell(name, passed)
        return passed

    def _poll(self) -> None:
        while not self._stopping.is_set():
            self.check()
            self._stopping.wait(self._interval)

    def _set(self, status: health_pb2.HealthCheckResponse.ServingStatus.ValueType) -> None:
        for service in self._services:
            self._servicer.set(service, status)


class _Servicer(health.HealthServicer):
    """The common servicer, which sends a watcher changes only; a repeated status would wake it for nothing."""

    def set(self, service: str, status: health_pb2.HealthCheckResponse.ServingStatus.ValueType) -> None:
        """Set the status of `service`, if it is another than before."""
        with self._lock:
            if self._server_status.get(service) != status:
                super().set(service, status)

    def status(self, service: str) -> health_pb2.HealthCheckResponse.ServingStatus.ValueType | None:
        """Return what is said of `service`; None where it is not known."""
        with self._lock:
            return self._server_status.get(service)

    def end_watches(self) -> None:
        """End the streams of those who watch: a server that drains would wait for them until its time is over."""
        with self._lock:
            callbacks = [callback for watchers in self._send_response_callbacks.values() for callback in watchers]
        for callback in callbacks:
            callback(None)
