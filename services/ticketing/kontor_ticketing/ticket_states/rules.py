"""What states mean, and those that a tenant begins with."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Final

NEW: Final = 1
OPEN: Final = 2
PENDING: Final = 3
SOLVED: Final = 4
CLOSED: Final = 5
"""As TicketCategory."""

LIVE: Final = frozenset((NEW, OPEN, PENDING))
"""What is still to be dealt with."""

USUAL: Final = {NEW: "New", OPEN: "Open", PENDING: "Pending", SOLVED: "Solved", CLOSED: "Closed"}
"""What the states are called that a tenant has of which nothing is said."""


def free_name(wanted: str, is_free: Callable[[str], bool]) -> str:
    """Return `wanted`, or the first of `wanted 2`, `wanted 3` and so on that is free."""
    others = (f"{wanted} {number}" for number in itertools.count(2))
    return next(text for text in itertools.chain([wanted], others) if is_free(text))
