"""Keyset pages: how many rows a page has, and the opaque token that says where the next one begins."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import json
import os
import uuid
from collections.abc import Sequence
from typing import Any, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kontor_kit.errors import InvalidArgument

PositionValue: TypeAlias = str | int | float | bool | dt.datetime | dt.date | decimal.Decimal | uuid.UUID | None

_NONCE_BYTES = 12
_MAX_TOKEN_LENGTH = 8192
_READERS: dict[str, Any] = {
    "datetime": dt.datetime.fromisoformat,
    "date": dt.date.fromisoformat,
    "Decimal": decimal.Decimal,
    "UUID": uuid.UUID,
}
_encoder = json.JSONEncoder(separators=(",", ":"), default=lambda value: {type(value).__name__: str(value)})


def page_size(value: int, default: int = 50, maximum: int = 1000) -> int:
    """Return how many rows to read (AIP-158): `default` for 0, never more than `maximum`.

    Raises InvalidArgument for the field `page_size` where it is negative.
    """
    if value < 0:
        raise InvalidArgument(("page_size", "must not be negative"))
    return min(value, maximum) or default


class PageTokens:
    """Seals the position of the last row of a page, and opens it again.

    A token is encrypted and bound to the arguments it was made for by AES-GCM-SIV (RFC 8452), whose random nonces may
    repeat without harm: all replicas seal with the one key, and nobody counts.
    """

    def __init__(self, key: str) -> None:
        """Take the secret that all replicas share, of at least 32 characters."""
        if len(key) < 32:
            raise ValueError("the key of page tokens must have at least 32 characters")
        self._key = key.encode()
        self._cipher = AESGCMSIV(self.derive("kontor page token 1"))

    def derive(self, purpose: str) -> bytes:
        """Return a key of 32 bytes for another purpose; the same in all replicas."""
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose.encode()).derive(self._key)

    def seal(self, arguments: Sequence[str | int | bool | None], position: Sequence[PositionValue]) -> str:
        """Return a token for `position` that opens with the same `arguments` only; url-safe."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, _encoder.encode(list(position)).encode(), _bytes(arguments))
        return base64.urlsafe_b64encode(nonce + sealed).rstrip(b"=").decode()

    def open(self, token: str, arguments: Sequence[str | int | bool | None]) -> list[Any]:
        """Return the position in a token. Raises InvalidArgument for the field `page_token`, whatever is wrong."""
        try:
            if len(token) > _MAX_TOKEN_LENGTH:
                raise ValueError("too long")
            data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            plain = self._cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], _bytes(arguments))
            if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != token:
                raise ValueError("not in the form it was written")
        except (ValueError, InvalidTag) as error:
            description = "is not a token of this list, or the other arguments are not those of the page before"
            raise InvalidArgument(("page_token", description)) from error
        return [_read(value) for value in json.loads(plain)]


def _bytes(arguments: Sequence[str | int | bool | None]) -> bytes:
    return _encoder.encode(list(arguments)).encode()


def _read(value: Any) -> Any:
    if isinstance(value, dict):
        ((kind, text),) = value.items()
        return _READERS[kind](text)
    return value
