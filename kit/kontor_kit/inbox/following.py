"""Following: the transport `stream`. One thread for each service whose events are wanted follows its change stream.

The position is stored with the events that came before it, so that the stream is taken up again after whatever happens
without a gap; what comes twice falls away in the inbox. A source that was never followed is asked for a snapshot, and so
is one that says that the position is no longer good.
"""

from __future__ import annotations

import datetime as dt
import logging
import random
import threading
import uuid
from collections.abc import Callable
from typing import Any, Final

import grpc
import psycopg
from google.protobuf import descriptor_pool, message_factory
from psycopg_pool import PoolTimeout

from kontor.changes.v1 import stream_pb2
from kontor_kit.inbox.events import SNAPSHOT, Event, Handlers
from kontor_kit.inbox.receiving import Inbox

logger = logging.getLogger(__name__)

_BATCH: Final = 100
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0
_START: Final = stream_pb2.SubscribeRequest.Start
_SNAPSHOTS: Final = uuid.UUID("8f1f5c0a-4a0f-4f0e-9a51-7a1d3c5e2b90")
"""The name space of the ids of snapshot events."""

Connect = Callable[[str], grpc.Channel]
"""Opens a channel to a service by its short name, with the credentials of this service."""


class Follower:
    """Follows one service, for all tenants."""

    def __init__(self, source: str, inbox: Inbox, handlers: Handlers, connect: Connect) -> None:
        self._source = source
        self._inbox = inbox
        self._types = handlers.types_of(source)
        self._connect = connect

    def run(self, stopping: threading.Event) -> None:
        """Follow until `stopping`; whoever is away is waited for."""
        pause, snapshot = _FIRST_PAUSE, False
        while not stopping.is_set():
            try:
                self._follow(stopping, snapshot=snapshot)
                pause, snapshot = _FIRST_PAUSE, False
            except grpc.RpcError as error:
                code = error.code()
                snapshot = snapshot or code is grpc.StatusCode.FAILED_PRECONDITION
                level = logging.INFO if code in _PASSING else logging.WARNING
                logger.log(level, "following was interrupted", extra={"source": self._source, "code": code.name})
            except (psycopg.OperationalError, PoolTimeout) as error:
                logger.warning("following waits for the database", extra={"reason": str(error)})
            stopping.wait(pause * random.uniform(0.8, 1.2))  # noqa: S311  # jitter
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _follow(self, stopping: threading.Event, *, snapshot: bool) -> None:
        position = "" if snapshot else self._inbox.position(self._source)
        request = stream_pb2.SubscribeRequest(
            types=self._types, start=_START.START_SNAPSHOT, position=position, all_tenants=True
        )
        with self._connect(self._source) as channel:
            subscribe = channel.unary_stream(
                f"/kontor.{self._source}.v1.ChangeService/Subscribe",
                stream_pb2.SubscribeRequest.SerializeToString,
                stream_pb2.SubscribeResponse.FromString,
            )
            call: Any = subscribe(request)
            threading.Thread(target=lambda: (stopping.wait(), call.cancel()), daemon=True).start()
            self._take(call)

    def _take(self, responses: Any) -> None:
        batch: list[Event] = []
        for response in responses:
            event = event_of(response)
            if event is not None:
                batch.append(event)
            # A heartbeat says that nothing more is there for now; a change that others wait behind is not held back.
            if response.position or len(batch) >= _BATCH:
                self._inbox.receive(batch, source=self._source, position=response.position)
                batch.clear()


_PASSING: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAUTHENTICATED)


def event_of(response: stream_pb2.SubscribeResponse) -> Event | None:
    """Return the event in an answer of a subscription to all tenants; None for a heartbeat."""
    kind = response.WhichOneof("content")
    if kind == "change":
        change = response.change
        return Event(
            id=uuid.UUID(change.id),
            tenant_id=_tenant(response),
            type=change.type,
            resource_name=change.resource_name,
            version=change.version,
            time=change.change_time.ToDatetime(dt.UTC),
            data=change.data.value,
            traceparent=f"00-{change.trace_id}-{change.id.replace('-', '')[-16:]}-01" if change.trace_id else "",
        )
    if kind == "snapshot":
        return _snapshot(response)
    return None


def _snapshot(response: stream_pb2.SubscribeResponse) -> Event:
    """Return the event that tells a record as it is; each version of it makes the same one."""
    full_name = response.snapshot.type_url.rpartition("/")[2]
    package, _, kind = full_name.rpartition(".")
    singular = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind).lstrip("_")
    record: Any = message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(full_name))()
    record.ParseFromString(response.snapshot.value)
    version = int(record.etag.removeprefix("v"))
    return Event(
        id=uuid.uuid5(_SNAPSHOTS, f"{record.name}@{version}"),
        tenant_id=_tenant(response),
        type=f"{package}.{singular}.{SNAPSHOT}",
        resource_name=record.name,
        version=version,
        time=record.update_time.ToDatetime(dt.UTC),
        data=response.snapshot.value,
    )


def _tenant(response: stream_pb2.SubscribeResponse) -> uuid.UUID:
    return uuid.UUID(response.tenant.rpartition("/")[2])
