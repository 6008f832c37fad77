"""Access tokens: what they say (RFC 9068)."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any, Protocol

from kontor_identity.oauth.rules import ACCESS_TOKEN
from kontor_identity.oauth.subjects import Subject
from kontor_identity.roles.rules import claim


class Keys(Protocol):
    """The keys that sign tokens."""

    def sign(self, claims: dict[str, Any], token_type: str) -> str:
        """Return `claims` as a signed token. Raises Unavailable where there is no key."""

    def published(self) -> dict[str, Any]:
        """Return the public keys as a JWKS document (RFC 7517)."""


class AccessTokens:
    """Makes access tokens."""

    def __init__(self, keys: Keys, *, issuer: str, audience: str, clock: Callable[[], dt.datetime]) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._clock = clock

    def issue(self, subject: Subject, client_id: str, lifetime: dt.timedelta = ACCESS_TOKEN, *, actor: str = "") -> str:
        """Return a token for `subject`, given to the OAuth client `client_id`; `actor` acts on the subject's behalf."""
        now = int(self._clock().timestamp())
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": subject.name,
            "tenant": str(subject.tenant_id),
            "teams": [str(team) for team in subject.teams],
            "perms": claim(subject.permissions),
            "client_id": client_id,
            "iat": now,
            "exp": now + int(lifetime.total_seconds()),
            "jti": str(uuid.uuid4()),
        }
        if actor:
            claims["act"] = {"sub": actor}
        return self._keys.sign(claims, "at+jwt")
