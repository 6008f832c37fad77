"""Declarations of what a service does when something happens elsewhere.

    handlers = Handlers()

    @handlers.on("kontor.identity.v1.user.deactivated")
    def reassign(event: Event, work: Work) -> None: ...

This module imports neither gRPC nor the database: the receiver, which runs in a patched process, reads the declarations
through it.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import Message

from kontor_kit.tracing import change_span

M = TypeVar("M", bound=Message)

SNAPSHOT = "snapshot"
"""The last part of the type under which a record arrives that is told as it is, and not as a change."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a record of another service."""

    id: uuid.UUID
    tenant_id: uuid.UUID
    type: str
    """For example `kontor.identity.v1.user.deactivated`."""
    resource_name: str
    version: int
    """The record's version after it; a projection ignores what is not newer than what it has."""
    time: dt.datetime
    data: bytes
    """The record as it was after it, serialised; empty where it was redacted."""
    traceparent: str = ""
    subject: str = ""
    """Who did it, a resource name; empty where a record is told as it is, and where it is not known."""

    def record(self, empty: M) -> M:
        """Fill `empty`, a new message, with the record as it was after the event, and return it."""
        empty.ParseFromString(self.data)
        return empty


def traceparent(trace_id: str | None, resource_name: str, version: int, event_type: str) -> str:
    """Return the `traceparent` under which an event continues the trace of the request that caused it."""
    return f"00-{trace_id}-{change_span(resource_name, version, event_type)}-01" if trace_id else ""


Handle = Callable[[Event, Any], bool | None]
"""Does what has to be done; True asks to be called again for the same event, in a transaction of its own."""


@dataclass(frozen=True, slots=True)
class Handler:
    """One declaration."""

    name: str
    """Stands in the inbox, so that it must not change: the module and the function."""
    types: frozenset[str]
    handle: Handle
    optional: bool = False
    """Whether services that this one is not told the address of are done without."""
    redacted: bool = False
    """Whether it is called too for events of which the values were taken out, which change nothing of the record."""

    def wants(self, event_type: str) -> bool:
        """Tell whether the handler is for events of this type."""
        return event_type in self.types or f"{event_type.rpartition('.')[0]}.*" in self.types


class Handlers:
    """The handlers of one service."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def on(self, *types: str, optional: bool = False, redacted: bool = False) -> Callable[[Handle], Handle]:
        """Declare the function below as the handler of events of `types`; `...account.*` stands for all of a kind.

        A service that only `optional` handlers want to hear of is followed where its address is configured. Events
        without data are passed over where the handler is not for what is `redacted`.
        """

        def declare(handle: Handle) -> Handle:
            name = f"{handle.__module__}.{handle.__qualname__}"
            if name in self._handlers:
                raise ValueError(f"{name} is declared twice")
            self._handlers[name] = Handler(name, frozenset(types), handle, optional, redacted)
            return handle

        return declare

    @classmethod
    def declared(cls, types: Mapping[str, Iterable[str]]) -> Handlers:
        """Return handlers of which nothing is known but their names and types, for where they are not run."""
        handlers = cls()
        handlers._handlers = {name: Handler(name, frozenset(kinds), _cannot_run) for name, kinds in types.items()}
        return handlers

    def __iter__(self) -> Iterator[Handler]:
        return iter(self._handlers.values())

    def named(self, name: str) -> Handler | None:
        """Return the handler of this name; None where it is gone."""
        return self._handlers.get(name)

    def wanting(self, event_type: str) -> list[Handler]:
        """Return the handlers of events of this type."""
        return [handler for handler in self if handler.wants(event_type)]

    def types_of(self, service: str) -> list[str]:
        """Return the types wanted of one service, by its short name."""
        wanted = {kind for handler in self for kind in handler.types if kind.split(".")[1] == service}
        return sorted(wanted)

    def pairs_of(self, service: str) -> list[tuple[str, str]]:
        """Return the handlers and the types they want of one service, each pair once."""
        return sorted(
            (handler.name, kind) for handler in self for kind in handler.types if kind.split(".")[1] == service
        )

    def services(self) -> list[str]:
        """Return the short names of the services whose events are wanted."""
        return self._services(self)

    def needed_services(self) -> list[str]:
        """Return the short names of the services without which something could not be done."""
        return self._services(handler for handler in self if not handler.optional)

    @staticmethod
    def _services(handlers: Iterable[Handler]) -> list[str]:
        return sorted({kind.split(".")[1] for handler in handlers for kind in handler.types})


def _cannot_run(_event: Event, _work: Any) -> None:
    raise NotImplementedError("what the handler does is not known here")
