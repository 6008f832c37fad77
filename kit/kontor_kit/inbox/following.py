"""Following: the transport `stream`. One thread for each service whose events are wanted follows its change stream.

The position is stored with the events that came before it, so that the stream is taken up again after whatever happens
without a gap; what comes twice falls away in the inbox. A source that was never followed is asked for a snapshot, and so
is one that says that the position is no longer good. A handler that is new is told of the records as they are before the
source is followed on.

With the transport `amqp` the stream is followed up to its end only, where the broker's messages cannot be all.
"""

from __future__ import annotations

import datetime as dt
import logging
import queue
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, Self

import grpc
import psycopg
from google.protobuf import descriptor_pool, message_factory
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from psycopg_pool import PoolTimeout

from kontor.changes.v1 import stream_pb2
from kontor_kit.errors import Unavailable
from kontor_kit.inbox.events import SNAPSHOT, Event, Handlers, traceparent
from kontor_kit.inbox.receiving import Inbox
from kontor_kit.inbox.sources import Source
from kontor_kit.mapping import snake_case

logger = logging.getLogger(__name__)

_BATCH: Final = 100
_READ_AHEAD: Final = 500
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0
_LOOK_SECONDS: Final = 0.5
"""So often the transport `amqp` looks whether the stream is asked for."""
_FILL_SECONDS: Final = 300.0
"""So often it is followed to its end without being asked."""
_START: Final = stream_pb2.SubscribeRequest.Start
_SNAPSHOTS: Final = uuid.UUID("8f1f5c0a-4a0f-4f0e-9a51-7a1d3c5e2b90")
"""The name space of the ids of snapshot events."""
_PASSING: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAUTHENTICATED)

Connect = Callable[[str], grpc.Channel]
"""Opens a channel to a service by its short name, with the credentials of this service."""


class Follower:
    """Follows one service, for all tenants."""

    def __init__(self, source: str, inbox: Inbox, handlers: Handlers, connect: Connect) -> None:
        self._source = source
        self._inbox = inbox
        self._sources = inbox.sources
        self._handlers = handlers
        self._types = handlers.types_of(source)
        self._connect = connect
        self._call: Any = None
        self._pause = _FIRST_PAUSE

    def run(self, stopping: threading.Event) -> None:
        """Follow until `stopping`; whoever is away is waited for."""
        with self._cancelled_by(stopping):
            while not stopping.is_set():
                self._try(stopping, until_end=False)
                self._rest(stopping)

    def fill(self, stopping: threading.Event) -> None:
        """Follow up to the end, where something was asked for and every now and then, until `stopping`."""
        due = 0.0
        with self._cancelled_by(stopping):
            while not stopping.is_set():
                if self._is_asked() or time.monotonic() >= due:
                    if self._try(stopping, until_end=True):
                        due = time.monotonic() + _FILL_SECONDS
                    else:
                        self._rest(stopping)
                stopping.wait(_LOOK_SECONDS)

    def _is_asked(self) -> bool:
        try:
            return not self._sources.state(self._source).is_filled
        except (psycopg.OperationalError, PoolTimeout) as error:
            logger.warning("following waits for the database", extra={"reason": str(error)})
            return False

    def _try(self, stopping: threading.Event, *, until_end: bool) -> bool:
        """Follow for as long as it lasts; tell whether the end was reached."""
        try:
            state = self._sources.state(self._source)
            self._tell_records(stopping, state)
            request = self._request(position=state.position, types=self._types, until_end=until_end)
            self._follow(stopping, request, self._take)
            if until_end and not stopping.is_set():
                self._sources.fill(self._source, state.wanted)
                return True
        except Unavailable as error:
            logger.info("following waits", extra={"source": self._source, "reason": str(error)})
        except (psycopg.OperationalError, PoolTimeout) as error:
            logger.warning("following waits for the database", extra={"reason": str(error)})
        except grpc.RpcError as error:
            code = error.code()
            level = logging.INFO if code in _PASSING else logging.WARNING
            fields = {"source": self._source, "code": code.name, "reason": error.details()}
            logger.log(level, "following was interrupted", extra=fields)
            if _is_about_the_position(error):
                self._sources.forget(self._source)
        return False

    def _rest(self, stopping: threading.Event) -> None:
        stopping.wait(self._pause * random.uniform(0.8, 1.2))  # noqa: S311  # jitter
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)

    @contextmanager
    def _cancelled_by(self, stopping: threading.Event) -> Iterator[None]:
        """End the call that is waited on when `stopping` is set."""

        def cancel() -> None:
            stopping.wait()
            if self._call is not None:
                self._call.cancel()

        threading.Thread(target=cancel, daemon=True).start()
        yield

    def _tell_records(self, stopping: threading.Event, state: Source) -> None:
        """Tell handlers that are new of the records as they are; the others go on from where they were."""
        if not state.missing or not state.position:
            return  # Or the stream begins with a snapshot for all.
        types = sorted({kind for _, kind in state.missing if kind.endswith((f".{SNAPSHOT}", ".*"))})
        if types:
            names = {name for name, _ in state.missing}

            def take(ahead: _Ahead) -> None:
                while responses := ahead.next(_BATCH):
                    self._inbox.receive_for(names, self._events_of(responses))

            self._follow(stopping, self._request(types=types, until_end=True), take)
        if not stopping.is_set():
            self._sources.cover(self._source)

    @staticmethod
    def _request(**fields: Any) -> stream_pb2.SubscribeRequest:
        return stream_pb2.SubscribeRequest(start=_START.START_SNAPSHOT, all_tenants=True, **fields)

    def _follow(
        self, stopping: threading.Event, request: stream_pb2.SubscribeRequest, take: Callable[[_Ahead], None]
    ) -> None:
        """Give what comes to `take`, for as long as the stream lasts. Raises what ended it."""
        with self._connect(self._source) as channel:
            subscribe = channel.unary_stream(
                f"/kontor.{self._source}.v1.ChangeService/Subscribe",
                stream_pb2.SubscribeRequest.SerializeToString,
                stream_pb2.SubscribeResponse.FromString,
            )
            self._call = subscribe(request)
            if not stopping.is_set():
                with _Ahead(self._call) as ahead:
                    take(ahead)

    def _take(self, ahead: _Ahead) -> None:
        """Put what comes into the inbox: all that is there together, up to a batch."""
        while responses := ahead.next(_BATCH):
            self._inbox.receive(self._events_of(responses), source=self._source, position=responses[-1].position)
            self._pause = _FIRST_PAUSE

    def _events_of(self, responses: Iterable[stream_pb2.SubscribeResponse]) -> list[Event]:
        return [event for event in map(self._event_of, responses) if event is not None]

    def _event_of(self, response: stream_pb2.SubscribeResponse) -> Event | None:
        """Return the event in an answer; None for a heartbeat, and for a record as it is that nobody wants."""
        kind = response.WhichOneof("content")
        if kind == "change":
            return _change(response)
        if kind == "snapshot" and self._handlers.wanting(_snapshot_type(response)):
            return _snapshot(response)
        return None


class _Ahead:
    """Reads a stream ahead in a thread of its own, as far as there is room; gRPC holds back what there is none for."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._queue: queue.Queue[Any] = queue.Queue(_READ_AHEAD)
        self._error: Exception | None = None
        self._left = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._read, name="follower-reader", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()

    def next(self, size: int) -> list[Any]:
        """Return what came, at most `size`, at least one; nothing at the end. Raises what ended the stream."""
        found = [self._queue.get()]
        while found[-1] is not None and len(found) < size and not self._queue.empty():
            found.append(self._queue.get())
        if found[-1] is None:
            found.pop()
            if found:
                self._queue.put(None)
            elif self._error is not None:
                raise self._error
        return found

    def _read(self) -> None:
        try:
            for response in self._call:
                self._put(response)
        except Exception as error:  # noqa: BLE001  # also what the token came to grief with; raised by `next`
            self._error = error
        self._put(None)

    def _put(self, item: Any) -> None:
        while not self._left.is_set():
            with suppress(queue.Full):
                self._queue.put(item, timeout=1.0)
                return


def _is_about_the_position(error: Any) -> bool:
    """Tell whether a service cannot go on from the position; a type that it does not know is another matter."""
    if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
        return True
    bad = error_details_pb2.BadRequest()
    status = rpc_status.from_call(error)
    return status is not None and any(
        violation.field == "position"
        for detail in status.details
        if detail.Unpack(bad)
        for violation in bad.field_violations
    )


def _change(response: stream_pb2.SubscribeResponse) -> Event:
    change = response.change
    return Event(
        id=uuid.UUID(change.id),
        tenant_id=_tenant(response),
        type=change.type,
        resource_name=change.resource_name,
        version=change.version,
        time=change.change_time.ToDatetime(dt.UTC),
        data=change.data.value,
        traceparent=traceparent(change.trace_id, change.resource_name, change.version, change.type),
        subject=change.subject,
    )


def _snapshot_type(response: stream_pb2.SubscribeResponse) -> str:
    package, _, kind = response.snapshot.type_url.rpartition("/")[2].rpartition(".")
    return f"{package}.{snake_case(kind)}.{SNAPSHOT}"


def _snapshot(response: stream_pb2.SubscribeResponse) -> Event:
    """Return the event that tells a record as it is; each version of it makes the same one."""
    full_name = response.snapshot.type_url.rpartition("/")[2]
    record: Any = message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(full_name))()
    record.ParseFromString(response.snapshot.value)
    version = int(record.etag.removeprefix("v"))
    return Event(
        id=uuid.uuid5(_SNAPSHOTS, f"{record.name}@{version}"),
        tenant_id=_tenant(response),
        type=_snapshot_type(response),
        resource_name=record.name,
        version=version,
        time=record.update_time.ToDatetime(dt.UTC),
        data=response.snapshot.value,
    )


def _tenant(response: stream_pb2.SubscribeResponse) -> uuid.UUID:
    return uuid.UUID(response.tenant.rpartition("/")[2])
