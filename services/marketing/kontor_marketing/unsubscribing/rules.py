"""The token of the link in a mail: it says whose mail it was, and that the campaign signed it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import uuid
from typing import Final, NamedTuple

SAID_NO: Final = 3
"""As Subscription.State."""
_PURPOSE: Final = b"kontor unsubscribe link 1"
_SEAL_BYTES: Final = 16


class Link(NamedTuple):
    """What a token says; nothing of it is certain until the seal was compared."""

    tenant: uuid.UUID
    recipient: uuid.UUID
    seal: bytes


def make(tenant: uuid.UUID, recipient: uuid.UUID, key: bytes) -> str:
    """Return the token of a recipient; `key` is the campaign's. A mail that is sent again has the same one."""
    # The tenant stands in front: row security lets nobody look for a recipient among all of them.
    data = tenant.bytes + recipient.bytes + _seal(tenant, recipient, key)
    return base64.urlsafe_b64encode(data).decode()


def parse(token: str) -> Link | None:
    """Return what a token says; None where it is none."""
    try:
        data = base64.b64decode(token, altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return None
    if len(data) != 32 + _SEAL_BYTES:
        return None
    return Link(uuid.UUID(bytes=data[:16]), uuid.UUID(bytes=data[16:32]), data[32:])


def is_sealed(link: Link, key: bytes) -> bool:
    """Whether the campaign with this key made the token."""
    return hmac.compare_digest(link.seal, _seal(link.tenant, link.recipient, key))


def _seal(tenant: uuid.UUID, recipient: uuid.UUID, key: bytes) -> bytes:
    return hmac.digest(key, _PURPOSE + tenant.bytes + recipient.bytes, hashlib.sha256)[:_SEAL_BYTES]
