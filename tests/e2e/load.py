"""A load of reads and writes through the gateway, for tests that kill or replace what serves it."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Sequence
from typing import Any, Self

import httpx

from tests.e2e.rest import Rest
from tests.e2e.support import Platform

# A collection of each service that needs no other, and what a record of it must have beside its name.
COLLECTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "identity": ("teams", {}),
    "contacts": ("accounts", {}),
    "sales": ("territories", {}),
    "ticketing": ("queues", {}),
    "marketing": ("topics", {}),
    "partners": ("programmes", {"currencyCode": "EUR", "levels": [{"id": "silver", "displayName": "Silver"}]}),
}
KINDS = ("read", "write", "write once")


class Load:
    """Reads, writes, and writes with a key on services in turn, a thread each, for as long as the block lasts."""

    def __init__(self, platform: Platform, services: Sequence[str]) -> None:
        self.made: list[str] = []
        """The names of what was created."""
        self.failed: list[tuple[str, int, str]] = []
        """Kind, HTTP status (0 where no answer came) and the service with what was said."""
        self.asked = 0
        self._platform = platform
        self._services = services
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=[kind]) for kind in KINDS]

    def _run(self, kind: str) -> None:
        with Rest(self._platform) as rest:
            for service in itertools.cycle(self._services):
                if self._enough.is_set():
                    return
                try:
                    answer = self._ask(rest, kind, service)
                except httpx.TransportError as error:
                    self.failed.append((kind, 0, f"{service}: {error!r}"))
                    continue
                self.asked += 1
                if answer.status_code != 200:
                    self.failed.append((kind, answer.status_code, f"{service}: {answer.text}"))
                elif kind != "read":
                    self.made.append(answer.json()["name"])

    def _ask(self, rest: Rest, kind: str, service: str) -> httpx.Response:
        collection, more = COLLECTIONS[service]
        if kind == "read":
            return rest.send("GET", collection, pageSize=1)
        word = uuid.uuid4().hex
        key = {"key": f"load_{word}"} if service == "marketing" else {}
        query = {"allowDuplicates": True} if service == "contacts" else {}
        headers = {"idempotency-key": word} if kind == "write once" else {}
        return rest.send("POST", collection, {"displayName": f"Load {word}", **key, **more}, headers=headers, **query)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join()
