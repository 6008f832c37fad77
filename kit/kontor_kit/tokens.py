"""Access tokens: who calls, as signed by identity. Checked once per token, then remembered until it ends."""

from __future__ import annotations

import json
import logging
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, Protocol

from joserfc import jwt
from joserfc.errors import ClaimError, ExpiredTokenError, JoseError
from joserfc.jwk import GuestProtocol, Key, KeySet

from kontor_kit.errors import Unauthenticated, Unavailable
from kontor_kit.principals import Principal, parse_permissions
from kontor_kit.tls import Watched, web_context

logger = logging.getLogger(__name__)

# Ed25519 is EdDSA as RFC 9864 names it. Neither `none` nor any algorithm with a shared secret can be let in by a header.
ALGORITHMS: Final = ("ES256", "Ed25519")
_MAX_LENGTH: Final = 16_384
_FIRST_PAUSE: Final = 0.1
_FAILED: Final = (OSError, ValueError, JoseError)
"""What the fetching of keys can come to."""


class KeySource(Protocol):
    """Where the public keys come from."""

    def find(self, key_id: str) -> Key | None:
        """Return the key with this id; None where there is none. Raises Unavailable where no keys are known at all."""


class FixedKeys:
    """Keys that are given."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = _by_id(keys)

    def find(self, key_id: str) -> Key | None:
        """Return the key with this id."""
        return self._keys.get(key_id)


class FileKeys:
    """Keys of a JWKS file, read again when it changed."""

    def __init__(self, path: Path) -> None:
        self._watched = Watched(lambda: _parse(path.read_bytes()), [path])

    def find(self, key_id: str) -> Key | None:
        """Return the key with this id."""
        self._watched.refresh()
        return self._watched.value.get(key_id)


class UrlKeys:
    """Keys published at a URL.

    They are fetched when they are older than `max_age` seconds, and when an unknown id appears, yet never twice within
    `pause` seconds, so that forged ids cannot make us flood identity. The last good ones stay while it is away.
    """

    def __init__(
        self,
        url: str,
        *,
        max_age: float = 300.0,
        pause: float = 3.0,
        ca: Path | None = None,
        fetch: Callable[[str], bytes] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ca` (PEM) has authorities for the server's certificate, beside those of the system."""
        self._url = url
        self._max_age = max_age
        self._pause = pause
        self._fetch = fetch or _fetching(ca)
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[str, Key] | None = None
        self._tried = float("-inf")
        self._fetched = float("-inf")

    def fetch_ahead(self) -> None:
        """Begin to fetch, again and again until the keys are there: who is new can then do while identity is away."""
        threading.Thread(target=self._fetch_first, name="keys", daemon=True).start()

    def are_there(self) -> bool:
        """Tell whether keys were ever fetched."""
        return self._keys is not None

    def _fetch_first(self) -> None:
        pause = _FIRST_PAUSE
        while not self.are_there():
            try:
                self._load()
            except _FAILED:
                time.sleep(pause)
                pause = min(2 * pause, self._pause)

    def find(self, key_id: str) -> Key | None:
        """Return the key with this id, asking for the keys where that can help. Raises Unavailable without any keys."""
        known = self._keys is not None and key_id in self._keys
        if not known:
            with self._lock:
                self._refresh(key_id)
        elif self._clock() - self._fetched > self._max_age and self._lock.acquire(blocking=False):
            # One thread asks; the others go on with what is known.
            try:
                self._refresh()
            finally:
                self._lock.release()
        if self._keys is None:
            raise Unavailable("the keys that sign tokens cannot be fetched", reason="KEYS_UNAVAILABLE")
        return self._keys.get(key_id)

    def _refresh(self, wanted: str = "") -> None:
        now = self._clock()
        if now - self._tried < self._pause or (self._keys is not None and wanted in self._keys):
            return
        self._tried = now
        try:
            self._load()
        except _FAILED as error:
            logger.warning("keys cannot be fetched", extra={"url": self._url, "reason": str(error)})

    def _load(self) -> None:
        now = self._clock()
        self._keys = _parse(self._fetch(self._url))
        self._fetched = now


def _fetching(ca: Path | None) -> Callable[[str], bytes]:
    # Identity is a neighbour: a proxy for the outside world, set in the environment, is not for it.
    direct = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=web_context(ca))
    )

    def fetch(url: str) -> bytes:
        with direct.open(url, timeout=2.0) as response:
            body: bytes = response.read(1 << 20)
            return body

    return fetch


def _parse(document: bytes) -> dict[str, Key]:
    try:
        return _by_id(KeySet.import_key_set(json.loads(document)))
    except (KeyError, TypeError) as error:
        raise ValueError("not a JWKS document") from error


def _by_id(keys: Iterable[Key]) -> dict[str, Key]:
    return {str(key.kid): key for key in keys}


class TokenVerifier:
    """Tells who a bearer token belongs to."""

    def __init__(
        self,
        issuer: str,
        audience: str,
        keys: KeySource,
        *,
        leeway: int = 5,
        capacity: int = 10_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._leeway = leeway
        self._clock = clock
        self._capacity = capacity
        self._known: dict[str, tuple[Principal, float]] = {}
        self._lock = threading.Lock()
        self._claims = jwt.JWTClaimsRegistry(
            now=lambda: int(clock()),
            leeway=leeway,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience},
            sub={"essential": True},
            exp={"essential": True},
        )

    def verify(self, token: str) -> Principal:
        """Return who the token belongs to.

        Raises Unauthenticated with the reason TOKEN_EXPIRED, TOKEN_AUDIENCE, TOKEN_ISSUER or TOKEN_INVALID, and
        Unavailable where no key could be fetched yet.
        """
        known = self._known.get(token)
        if known is None:
            known = self._read(token)
            self._remember(token, known)
        if known[1] + self._leeway <= self._clock():
            raise _refuse("TOKEN_EXPIRED")
        return known[0]

    def _remember(self, token: str, known: tuple[Principal, float]) -> None:
        with self._lock:
            self._known[token] = known
            if len(self._known) > self._capacity:
                # The oldest, not the least used: keeping track of use would put a lock into the path of every call.
                del self._known[next(iter(self._known))]

    def _read(self, token: str) -> tuple[Principal, float]:
        if len(token) > _MAX_LENGTH:
            raise _refuse("TOKEN_INVALID")
        try:
            claims = jwt.decode(token, self._key, algorithms=ALGORITHMS).claims
            self._claims.validate(claims)
            return _principal(claims), float(claims["exp"])
        except ExpiredTokenError as error:
            raise _refuse("TOKEN_EXPIRED") from error
        except ClaimError as error:
            reasons = {"aud": "TOKEN_AUDIENCE", "iss": "TOKEN_ISSUER"}
            raise _refuse(reasons.get(error.claim, "TOKEN_INVALID")) from error
        except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise _refuse("TOKEN_INVALID") from error

    def _key(self, signature: GuestProtocol) -> Key:
        key_id = signature.headers().get("kid")
        key = self._keys.find(key_id) if isinstance(key_id, str) else None
        if key is None:
            raise ValueError("unknown key")
        return key


def _principal(claims: dict[str, Any]) -> Principal:
    actor = claims.get("act") or {}
    return Principal(
        tenant_id=uuid.UUID(claims["tenant"]),
        subject=claims["sub"],
        permissions=parse_permissions(claims["perms"]),
        teams=frozenset(map(uuid.UUID, claims.get("teams") or ())),
        client_id=str(claims.get("client_id") or ""),
        actor=str(actor.get("sub") or ""),
        expires=float(claims["exp"]),
    )


def _refuse(reason: str) -> Unauthenticated:
    return Unauthenticated(_MESSAGES[reason], reason=reason)


_MESSAGES: Final = {
    "TOKEN_EXPIRED": "the access token has expired",
    "TOKEN_AUDIENCE": "the access token is for another audience",
    "TOKEN_ISSUER": "the access token is of another issuer",
    "TOKEN_INVALID": "the access token is not valid",
}
