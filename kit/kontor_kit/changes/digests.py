"""The digests that make the log tamper-evident: pure functions.

A change is digested in two parts. The content (the record before and after) is salted, so that nobody who sees only the
digest can guess at it; redaction drops content and salt, and the chain still verifies, because it goes over the
content's digest. SHA-256 throughout, every part with its length before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

SALT_BYTES = 16
BEGINNING = bytes(32)
"""The digest before a tenant's first change."""


def content_digest(salt: bytes, before: bytes | None, after: bytes | None) -> bytes:
    """Return the digest of a change's content."""
    return _digest((salt, before, after))


def chain(previous: bytes, facts: Sequence[Any], content: bytes) -> bytes:
    """Return the digest of a change: of the one before in the tenant's chain, of who, when, what, and of the content.

    `facts` are text, whole numbers or None, in a fixed order.
    """
    return _digest((previous, *(None if fact is None else str(fact).encode() for fact in facts), content))


def _digest(parts: Iterable[bytes | None]) -> bytes:
    total = hashlib.sha256()
    for part in parts:
        # A missing part and an empty one are not the same.
        total.update(b"\xff" * 8 if part is None else len(part).to_bytes(8, "big"))
        total.update(part or b"")
    return total.digest()
