"""The credentials of a service that calls others by itself: an access token for the client credentials grant (RFC 6749)."""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import quote_plus

from kontor_kit.errors import Unavailable
from kontor_kit.tls import web_context

_TIMEOUT: Final = 5.0
_MARGIN: Final = 30.0
"""So many seconds before it expires a token is not used any more, at most a quarter of its life."""


class ClientToken:
    """Gives an access token, and gets a new one shortly before it expires. Safe for threads."""

    def __init__(
        self,
        token_url: str,
        client_id: str,
        client_secret: str,
        *,
        ca: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ca` (PEM) has authorities for the server's certificate, beside those of the system."""
        pair = f"{quote_plus(client_id)}:{quote_plus(client_secret)}".encode()
        self._request = urllib.request.Request(  # noqa: S310  # the configuration allows http and https
            token_url,
            data=b"grant_type=client_credentials",
            headers={"authorization": f"Basic {base64.b64encode(pair).decode()}"},
        )
        # Identity is a neighbour: a proxy for the outside world, set in the environment, is not for it.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=web_context(ca))
        )
        self._clock = clock
        self._lock = threading.Lock()
        self._token = ""
        self._until = 0.0

    def __call__(self) -> str:
        """Return a token that is good for a while. Raises Unavailable where none can be had."""
        with self._lock:
            if self._clock() >= self._until:
                asked = self._clock()
                self._token, lifetime = self._ask()
                self._until = asked + lifetime - min(_MARGIN, lifetime / 4)
            return self._token

    def _ask(self) -> tuple[str, float]:
        try:
            with self._opener.open(self._request, timeout=_TIMEOUT) as response:
                answer = json.load(response)
            return str(answer["access_token"]), float(answer["expires_in"])
        except (OSError, ValueError, KeyError) as error:
            raise Unavailable(f"no access token for this service: {error}") from error
