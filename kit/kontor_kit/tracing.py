"""The trace a call belongs to (W3C trace context), and what a call hands to those that it makes itself."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, NamedTuple

_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)


class Trace(NamedTuple):
    """A place in a trace: which trace it is, and which span in it is ours."""

    trace_id: str
    """32 hexadecimal digits; it is also the id under which a failure is logged and reported."""
    span_id: str
    """16 hexadecimal digits."""
    flags: str = "01"
    state: str = ""
    """The `tracestate` that came along; passed on as it is."""

    @property
    def traceparent(self) -> str:
        """The value of the header `traceparent` for a call made from here."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def start_span(traceparent: str | None = None, state: str = "") -> Trace:
    """Begin a span in the trace that `traceparent` names, or in a new one where it is missing or malformed."""
    span_id = f"{random.getrandbits(64) or 1:016x}"
    if traceparent is not None and (found := _TRACEPARENT.fullmatch(traceparent)):
        return Trace(found[1], span_id, found[3], state)
    return Trace(f"{random.getrandbits(128) or 1:032x}", span_id)


current_trace: ContextVar[Trace | None] = ContextVar("current_trace", default=None)
"""The trace of the call that this thread works on."""


@contextmanager
def within(trace: Trace) -> Iterator[Trace]:
    """Work on something that belongs to `trace`: it stands in the log, and in calls made meanwhile."""
    token = current_trace.set(trace)
    try:
        yield trace
    finally:
        current_trace.reset(token)


current_deadline: ContextVar[float | None] = ContextVar("current_deadline", default=None)
"""When that call must be over, on the clock of `time.monotonic`; no call made on its behalf may take longer."""
