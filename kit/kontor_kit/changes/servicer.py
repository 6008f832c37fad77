"""The gRPC service of changes, the same in every service: the history of a record, and the stream of what happens."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from google.protobuf.descriptor import ServiceDescriptor

from kontor.changes.v1 import history_pb2, stream_pb2
from kontor_kit import pages
from kontor_kit.calls import Behavior, Call
from kontor_kit.changes.positions import position_arguments, seal
from kontor_kit.changes.reader import ChangeLog, LogState
from kontor_kit.changes.views import PlatformView, TenantView, View
from kontor_kit.changes.waking import Waker
from kontor_kit.db import Database, Transaction
from kontor_kit.errors import (
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from kontor_kit.principals import PLATFORM_TENANT, Scope
from kontor_kit.records import principal_of
from kontor_kit.shared import Shared

BATCH: Final = 200
HEARTBEAT_SECONDS: Final = 15.0
STREAMS: Final = 100
"""So many subscriptions a process serves; each holds a thread, of a pool of their own."""
STREAMS_EACH: Final = 10
"""So many of them one caller has."""
_SLOW_POLL_SECONDS: Final = 1.0
_LAST: Final = 2**63 - 1

_Start = stream_pb2.SubscribeRequest.Start


class ChangeServicer:
    """Serves `ListChanges` and `Subscribe`."""

    def __init__(
        self,
        descriptor: ServiceDescriptor,
        shared: Shared,
        log: ChangeLog,
        waker: Waker,
        system: Database | None = None,
    ) -> None:
        """`system` reads over all tenants; without it nobody can follow them."""
        self.SERVICE = descriptor
        self._system = system
        self._shared = shared
        self._log = log
        self._waker = waker
        self._lock = threading.Lock()
        self._streams: Counter[str] = Counter()
        # A few threads more than streams: somebody has to say that there are too many.
        self._pool = ThreadPoolExecutor(STREAMS + 4, thread_name_prefix="stream")

    def handler(self, method: str) -> Behavior | None:
        """Return what serves the RPC of this name; None where nothing does."""
        if method == "ListChanges":
            return self.list_changes
        if method != "Subscribe":
            return None

        def subscribe(request: Any, call: Call) -> Iterator[Any]:
            return self.subscribe(request, call)

        # grpcio runs a behavior with this attribute in the pool it names.
        subscribe.experimental_thread_pool = self._pool  # type: ignore[attr-defined]
        return subscribe

    # The history of a record.

    def list_changes(self, request: Any, call: Call) -> Any:
        """Return a page of what happened to a record, or to all of them, the newest first."""
        size = pages.page_size(request.page_size)
        arguments = (call.method.full_name, str(principal_of(call).tenant_id), request.parent)
        before = self._shared.page_tokens.open(request.page_token, arguments)[0] if request.page_token else _LAST
        with self._shared.database.read(principal_of(call).tenant_id) as tx:
            if request.parent:
                self._require_readable(tx, call, request.parent)
                entries = self._log.of_record(tx, request.parent, before, size + 1)
                told = entries[:size]
            else:
                entries = self._log.newest(tx, before, size + 1)
                told = self._log.readable(tx, call, entries[:size])
        changes = [self._log.message(entry, values=True) for entry in told]
        response = history_pb2.ListChangesResponse(changes=changes)
        if len(entries) > size:
            response.next_page_token = self._shared.page_tokens.seal(arguments, [entries[size - 1].position])
        return response

    def _require_readable(self, tx: Transaction, call: Call, name: str) -> None:
        """Whoever may read the record may read what happened to it."""
        records = self._log.resources.get(name.partition("/")[0])
        if records is None:
            raise InvalidArgument(("parent", "must be the name of a record of this service"))
        records.require_readable(tx, call, name, "parent")

    # The stream.

    def subscribe(self, request: Any, call: Call) -> Iterator[Any]:
        """Tell of changes for as long as the caller listens, the token lives and the process does not end."""
        principal = principal_of(call)
        view = self._view(call, request)
        with self._counted(f"{principal.tenant_id}/{principal.subject}"):
            state = view.state()
            position = self._start(request, view, state)
            if not request.position and request.start == _Start.START_SNAPSHOT:
                yield from view.snapshot()
            yield self._heartbeat(view, position, state.incarnation)
            end = state.position if request.until_end else None
            yield from self._follow(call, view, position, state.incarnation, end=end)

    def _view(self, call: Call, request: Any) -> View:
        wanted = self._log.type_filter(request.types)
        if not request.all_tenants:
            return TenantView(self._log, self._shared.database, call, wanted)
        permission = f"{self._log.domain.partition('.')[0]}.changes.follow"
        principal = principal_of(call)
        # Who may do everything in a tenant may not look into others: only the platform's own services may.
        is_service = principal.tenant_id == PLATFORM_TENANT and principal.subject.startswith("serviceAccounts/")
        if self._system is None or not is_service or principal.scope(permission) is not Scope.ALL:
            raise PermissionDenied(f"the permission {permission} is needed", metadata={"permission": permission})
        return PlatformView(self._log, self._system, wanted)

    def _counted(self, caller: str) -> _Counted:
        return _Counted(self._streams, self._lock, caller)

    def _start(self, request: Any, view: View, state: LogState) -> int:
        """Return the position after which to begin."""
        if not request.position:
            return state.dropped if request.start == _Start.START_EARLIEST else state.position
        try:
            arguments = position_arguments(self._log.domain, view.name)
            incarnation, position = self._shared.page_tokens.open(request.position, arguments)
        except InvalidArgument:
            raise InvalidArgument(("position", "is not a position that this service gave to this tenant")) from None
        if incarnation != state.incarnation or position > state.position or 0 <= position < state.restored:
            raise FailedPrecondition(
                "the database was restored since; begin with START_SNAPSHOT", reason="POSITION_OF_ANOTHER_INCARNATION"
            )
        if position < state.dropped:
            earliest = self._sealed(view, state.dropped, state.incarnation)
            raise FailedPrecondition(
                "the changes after this position are kept no longer; begin with START_SNAPSHOT or at the earliest",
                reason="POSITION_NOT_KEPT",
                metadata={"earliest": earliest},
            )
        return int(position)

    def _follow(self, call: Call, view: View, position: int, incarnation: int, *, end: int | None) -> Iterator[Any]:
        principal = principal_of(call)
        spoken = time.monotonic()
        while call.is_active() and not self._waker.is_stopping:
            if principal.expires <= time.time():
                raise Unauthenticated("the access token expired; go on from the last position", reason="TOKEN_EXPIRED")
            mark = self._waker.mark()
            entries, told = view.following(position, BATCH)
            for at, response in told:
                response.position = self._sealed(view, at, incarnation)
                yield response
                spoken = time.monotonic()
            if entries:
                position = entries[-1].position
            if end is not None and (position >= end or len(entries) < BATCH):
                yield self._heartbeat(view, max(position, end), incarnation)
                return
            if time.monotonic() - spoken >= HEARTBEAT_SECONDS:
                yield self._heartbeat(view, position, incarnation)
                spoken = time.monotonic()
            if len(entries) < BATCH:
                self._waker.wait(mark, _SLOW_POLL_SECONDS)
        if end is not None:
            # Who asked for everything must not take this for the end of it.
            raise Unavailable("the server stops; go on from the last position")

    def _heartbeat(self, view: View, position: int, incarnation: int) -> Any:
        return stream_pb2.SubscribeResponse(
            heartbeat=stream_pb2.Heartbeat(), position=self._sealed(view, position, incarnation)
        )

    def _sealed(self, view: View, position: int, incarnation: int) -> str:
        return seal(self._shared.page_tokens, self._log.domain, view.name, (incarnation, position))


class _Counted:
    """Counts a stream while it lives; refuses one too many."""

    def __init__(self, streams: Counter[str], lock: threading.Lock, caller: str) -> None:
        self._streams, self._lock, self._caller = streams, lock, caller

    def __enter__(self) -> None:
        with self._lock:
            if self._streams[self._caller] >= STREAMS_EACH:
                raise ResourceExhausted(
                    f"you have {STREAMS_EACH} subscriptions; end one first", reason="TOO_MANY_STREAMS"
                )
            if self._streams.total() >= STREAMS:
                raise ResourceExhausted("no more subscriptions here; try again later", reason="TOO_MANY_STREAMS")
            self._streams[self._caller] += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._streams[self._caller] -= 1
            if not self._streams[self._caller]:
                del self._streams[self._caller]
