"""Identifiers: UUIDs that sort by time of creation, and the resource names made of them."""

from __future__ import annotations

import os
import threading
import time
import uuid
from typing import Final

from kontor_kit.errors import InvalidArgument

_COUNTER_BITS: Final = 42
_RANDOM_BITS: Final = 32
# Version 7 and the variant of RFC 9562, where they stand in the 128 bits.
_MARKS: Final = (7 << 76) | (2 << 62)


class _Clock:
    """Gives pairs of milliseconds and counter, each greater than the one before (RFC 9562, 6.2, method 1)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = (0, 0)

    def tick(self, now: int, seed: int) -> tuple[int, int]:
        with self._lock:
            millisecond, counter = self._last
            if now > millisecond:
                # The top bit is left free, so that the counter does not overflow within a millisecond.
                self._last = now, seed >> 1
            elif counter + 1 < 1 << _COUNTER_BITS:
                self._last = millisecond, counter + 1
            else:
                self._last = millisecond + 1, seed >> 1
            return self._last


_clock: Final = _Clock()


def uuid7() -> uuid.UUID:
    """Return a new UUID of version 7 (RFC 9562), greater than every one this process made before; safe for threads."""
    random = int.from_bytes(os.urandom((_COUNTER_BITS + _RANDOM_BITS + 7) // 8), "big")
    seed = random >> _RANDOM_BITS & (1 << _COUNTER_BITS) - 1
    millisecond, counter = _clock.tick(time.time_ns() // 1_000_000, seed)
    return uuid.UUID(
        int=millisecond << 80
        | _MARKS
        | counter >> 30 << 64
        | (counter & (1 << 30) - 1) << _RANDOM_BITS
        | random & (1 << _RANDOM_BITS) - 1
    )


def format_name(collection: str, identifier: uuid.UUID) -> str:
    """Return the resource name, `<collection>/<uuid>`."""
    return f"{collection}/{identifier}"


def parse_name(name: str, pattern: str, field: str) -> uuid.UUID:
    """Return the id in a resource name; `pattern` is that of the resource, for example `accounts/{account}`.

    Only the form that `format_name` writes is read, so that a record has one name. Raises InvalidArgument for `field`.
    """
    prefix, brace, _ = pattern.partition("{")
    if brace and name.startswith(prefix):
        text = name[len(prefix) :]
        try:
            identifier = uuid.UUID(text)
        except ValueError:
            pass
        else:
            if str(identifier) == text:
                return identifier
    raise InvalidArgument((field, f"must be of the form {pattern}, with a UUID in lower case"))
