"""What is measured of the requests over HTTP: how many, how long, and what became of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

from kontor_kit.metrics import Durations, Metrics

Application = Callable[..., Iterable[bytes]]


class Measured:
    """A WSGI application (PEP 3333) whose requests are counted by path; those of no path in `paths` together."""

    def __init__(self, application: Application, paths: Collection[str], metrics: Metrics) -> None:
        self._application = application
        self._durations = Durations("kontor_http_seconds", "How long requests took.", ("route", "code"))
        self._ends = {path: self._durations.of(path) for path in (*paths, "other")}
        metrics.registry.register(self._durations)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request."""
        began = time.monotonic()
        end = self._ends.get(environ["PATH_INFO"], self._ends["other"])

        def start(status: str, *more: Any) -> Any:
            end(status.partition(" ")[0], time.monotonic() - began)
            return start_response(status, *more)

        return self._application(environ, start)
