"""The credentials of a service that calls others by itself: access tokens, got with its client id and secret."""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote_plus, urlencode

from kontor_kit.errors import PermissionDenied, Unavailable
from kontor_kit.tls import web_context

OWN: Final = {"grant_type": "client_credentials"}
"""The grant by which a service gets a token of its own (RFC 6749, 4.4)."""
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
        grant: Mapping[str, str] = OWN,
        ca: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ca` (PEM) has authorities for the server's certificate, beside those of the system."""
        pair = f"{quote_plus(client_id)}:{quote_plus(client_secret)}".encode()
        self._request = urllib.request.Request(  # noqa: S310  # the configuration allows http and https
            token_url,
            data=urlencode(grant).encode(),
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
        """Return a token that is good for a while.

        Raises Unavailable where none can be had, PermissionDenied where that is because of whom it would speak for.
        """
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
        except urllib.error.HTTPError as error:
            with error:
                if b'"invalid_grant"' in error.read(10_000):
                    raise PermissionDenied("who asked for this is not let in", reason="SUBJECT_NOT_LET_IN") from error
            raise Unavailable(f"no access token for this service: {error}") from error
        except (OSError, ValueError, KeyError) as error:
            raise Unavailable(f"no access token for this service: {error}") from error
