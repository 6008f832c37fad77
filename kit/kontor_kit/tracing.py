"""The trace a call belongs to (W3C trace context), what a call hands to those that it makes, and spans for who records.

Every call and every piece of work has a place in a trace, for the log and for whoever is called. Spans are made of these
places only where somebody records them, which is decided at start (`kontor_kit.spans`); else nothing is done.
"""

from __future__ import annotations

import enum
import hashlib
import random
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, NamedTuple, Protocol

_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)
_RECORDED, _NOT_RECORDED = "01", "00"

Attributes = Mapping[str, str | int]
"""What a span says beside its name; never of a person."""


class SpanKind(enum.Enum):
    """What a span is to those beside it, with the names of OpenTelemetry."""

    INTERNAL = enum.auto()
    SERVER = enum.auto()
    CLIENT = enum.auto()
    PRODUCER = enum.auto()
    CONSUMER = enum.auto()


class Trace(NamedTuple):
    """A place in a trace: which trace it is, and which span in it is ours."""

    trace_id: str
    """32 hexadecimal digits; it is also the id under which a failure is logged and reported."""
    span_id: str
    """16 hexadecimal digits."""
    flags: str = _RECORDED
    state: str = ""
    """The `tracestate` that came along; passed on as it is."""
    parent_id: str = ""
    """The span that ours is a part of; empty at the beginning of a trace."""

    @property
    def traceparent(self) -> str:
        """The value of the header `traceparent` for a call made from here."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"

    @property
    def is_recorded(self) -> bool:
        """Whether its spans are of use to who records."""
        return bool(int(self.flags, 16) & 1)

    def below(self, span_id: str = "") -> Trace:
        """Return the place of a new span that is a part of ours."""
        return self._replace(span_id=span_id or _span_id(), parent_id=self.span_id)

    def unrecorded(self) -> Trace:
        """Return the same place, of no use to who records."""
        return self._replace(flags=_NOT_RECORDED)


class Recorder(Protocol):
    """Takes the spans of this process."""

    def wants(self, trace_id: str, parent_id: str = "", flags: str = "") -> bool:
        """Tell whether a trace is to be recorded, given what the span that it is continued from says of that."""

    def record(
        self, trace: Trace, name: str, kind: SpanKind, began: int, attributes: Attributes, *, failure: str = ""
    ) -> None:
        """Take the span at `trace`, which began at `began` (nanoseconds since 1970) and ends now."""


class Recording:
    """Who takes the spans of this process: nobody, until somebody is set."""

    recorder: Recorder | None = None


recording: Final = Recording()


def start_span(traceparent: str | None = None, state: str = "", *, is_decided: bool = True) -> Trace:
    """Begin a span in the trace that `traceparent` names, or in a new one where it is missing or malformed.

    `is_decided` is false where `traceparent` does not know whether the trace is recorded: the trace's id decides.
    """
    recorder = recording.recorder
    if traceparent is None or not (found := _TRACEPARENT.fullmatch(traceparent)):
        trace_id = f"{random.getrandbits(128) or 1:032x}"
        flags = _RECORDED if recorder is None or recorder.wants(trace_id) else _NOT_RECORDED
        return Trace(trace_id, _span_id(), flags)
    trace_id, parent_id, flags = found.groups()
    if recorder is not None:
        wanted = recorder.wants(trace_id, parent_id, flags) if is_decided else recorder.wants(trace_id)
        flags = _RECORDED if wanted else _NOT_RECORDED
    return Trace(trace_id, _span_id(), flags, state, parent_id)


def _span_id() -> str:
    return f"{random.getrandbits(64) or 1:016x}"


def change_span(resource_name: str, version: int, event_type: str) -> str:
    """Return the id of the span in which a change was told.

    It follows from what the change is, so that who handles the event later knows what it is a part of.
    """
    return hashlib.blake2b(f"{event_type} {resource_name}@{version}".encode(), digest_size=8).hexdigest()


current_trace: ContextVar[Trace | None] = ContextVar("current_trace", default=None)
"""The trace of the call that this thread works on."""


@contextmanager
def within(
    trace: Trace, name: str = "", kind: SpanKind = SpanKind.INTERNAL, attributes: Attributes | None = None
) -> Iterator[Trace]:
    """Work on something that belongs to `trace`: it stands in the log, and in calls made meanwhile.

    Where it has a name it is a span.
    """
    token = current_trace.set(trace)
    began, failure = time.time_ns(), ""
    try:
        yield trace
    except Exception as error:
        failure = type(error).__name__
        raise
    finally:
        current_trace.reset(token)
        if name and recording.recorder is not None and trace.is_recorded:
            recording.recorder.record(trace, name, kind, began, attributes or {}, failure=failure)


def recorded_below() -> Trace | None:
    """Return the place of a new span below the current one; None where nobody records it."""
    if recording.recorder is None:
        return None
    trace = current_trace.get()
    return trace.below() if trace is not None and trace.is_recorded else None


def record(trace: Trace, name: str, kind: SpanKind, began: int, attributes: Attributes, *, failure: str = "") -> None:
    """Have a span recorded that ends now, where somebody does."""
    if recording.recorder is not None and trace.is_recorded:
        recording.recorder.record(trace, name, kind, began, attributes, failure=failure)


current_deadline: ContextVar[float | None] = ContextVar("current_deadline", default=None)
"""When that call must be over, on the clock of `time.monotonic`; no call made on its behalf may take longer."""
