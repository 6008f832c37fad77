"""When signing keys are made, used, published and dropped.

A key is published before it signs, so that every cache of the published keys has it by then, and stays published after
the next one took over, until the last token that it signed has ended.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

LEAD: Final = dt.timedelta(hours=1)
"""How long a key is published before it signs. Longer than any cache keeps the published keys."""
OVERLAP: Final = dt.timedelta(hours=1)
"""How long a key stays published after it signed last. Longer than any token lives, clocks that differ included."""


class KeyTimes(NamedTuple):
    """A key's times."""

    key_id: str
    activate_time: dt.datetime
    """From when on it signs, until the next key does."""


@dataclass(frozen=True)
class Plan:
    """What is to be done to the keys."""

    create: bool
    """Whether a new key is to be made."""
    activate_time: dt.datetime
    """When the new key is to sign for the first time."""
    drop: tuple[str, ...]
    """The ids of the keys that are no longer needed."""


def signing_key(keys: Sequence[KeyTimes], now: dt.datetime) -> KeyTimes | None:
    """Return the key that signs at `now`; None where there is none."""
    started = [key for key in keys if key.activate_time <= now]
    return max(started, key=lambda key: key.activate_time) if started else None


def spent_keys(keys: Sequence[KeyTimes], now: dt.datetime) -> tuple[str, ...]:
    """Return the ids of the keys none of whose tokens can still be valid."""
    ordered = sorted(keys, key=lambda key: key.activate_time)
    return tuple(key.key_id for key, successor in pairwise(ordered) if successor.activate_time + OVERLAP <= now)


def plan_rotation(keys: Sequence[KeyTimes], now: dt.datetime, period: dt.timedelta, *, force: bool = False) -> Plan:
    """Tell what keeps the keys in order, with a new key every `period`; `force` asks for one that would not be due.

    The first key signs at once: nobody can have cached anything. No key is made while another waits for its turn.
    """
    current = signing_key(keys, now)
    waiting = any(key.activate_time > now for key in keys)
    due = current is None or force or current.activate_time + period - LEAD <= now
    return Plan(
        create=due and not waiting,
        activate_time=now if current is None else now + LEAD,
        drop=spent_keys(keys, now),
    )
