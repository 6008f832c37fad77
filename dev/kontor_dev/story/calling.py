"""Somebody who calls the gateway, and does not mind when a part of the platform dies and comes back meanwhile."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any, Final, Self, TypeVar

import httpx

T = TypeVar("T")

PATIENCE_SECONDS: Final = 90.0
"""So long a part may be away."""
# What Envoy and gRPC make of a part that dies in the middle of an answer is 500.
_AWAY: Final = (500, 502, 503, 504)
_PAUSE_SECONDS: Final = 0.2


class RefusedByService(Exception):
    """What a service answered that did not do what it was asked to."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"{status}: {said}")
        self.status = status


class Caller:
    """Calls REST with a token, or without one as the public does."""

    def __init__(self, url: str, token: Callable[[], str] | None = None) -> None:
        """`token` returns the bearer token of a call, which may be another one each time."""
        self._http = httpx.Client(base_url=url, timeout=30)
        self._token = token

    def __call__(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """Return the JSON that is answered. Raises RefusedByService.

        What cannot be reached is asked again for a while: what changes something bears a key, so that it does so once.
        The public has no keys, see `once`.
        """
        key = str(uuid.uuid4())
        until = time.monotonic() + (PATIENCE_SECONDS if self._token or method == "GET" else 0)
        while True:
            try:
                headers = {"authorization": f"Bearer {self._token()}", "idempotency-key": key} if self._token else {}
                answer = self._http.request(method, f"/v1/{path}", json=body, params=query, headers=headers)
            except httpx.HTTPError:
                if time.monotonic() > until:
                    raise
            else:
                if answer.status_code < 400:
                    return answer.json()
                if answer.status_code not in _AWAY or time.monotonic() > until:
                    raise RefusedByService(answer.status_code, answer.text)
            time.sleep(_PAUSE_SECONDS)

    def once(self, is_done: Callable[[], T | None], act: Callable[[Caller], Any]) -> T:
        """Do what cannot have a key: again only while `is_done` says that it was not done; return what that says."""
        until = time.monotonic() + PATIENCE_SECONDS
        while not (found := is_done()):
            try:
                act(self)
            except (httpx.HTTPError, RefusedByService):
                if time.monotonic() > until:
                    raise
                time.sleep(_PAUSE_SECONDS)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()


def wait_for(question: Callable[[], T | None], what: str, seconds: float = PATIENCE_SECONDS) -> T:
    """Ask until the answer is true, and return it. Raises TimeoutError that says `what` did not come."""
    until = time.monotonic() + seconds
    while not (answer := question()):
        if time.monotonic() > until:
            raise TimeoutError(f"{what} did not come")
        time.sleep(_PAUSE_SECONDS)
    return answer
