"""What a subscriber sees of the log: a caller its tenant's part, as far as its rights go; the platform's services all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

from google.protobuf.message import Message

from kontor.changes.v1 import stream_pb2
from kontor_kit.calls import Call
from kontor_kit.changes.positions import ALL_TENANTS
from kontor_kit.changes.reader import SNAPSHOT, ChangeLog, Entry, LogState, Wanted
from kontor_kit.db import Database
from kontor_kit.principals import Principal, Scope
from kontor_kit.records import Records, principal_of
from kontor_kit.store import Page, Reach

_BATCH: Final = 200

Told = list[tuple[int, Any]]
"""Answers with the positions of their changes."""


class View(Protocol):
    """One way to see the log."""

    @property
    def name(self) -> str:
        """Stands in positions, so that one of another view is refused."""

    def state(self) -> LogState:
        """Return where the log stands."""

    def following(self, position: int, size: int) -> tuple[Sequence[Entry], Told]:
        """Return the next entries after `position`, and what the subscriber is told of them."""

    def snapshot(self) -> Iterator[Any]:
        """Tell the records as they are."""


class TenantView:
    """One tenant's part, as far as the caller may read the records."""

    def __init__(self, log: ChangeLog, database: Database, call: Call, wanted: Wanted) -> None:
        self._log, self._database, self._call, self._wanted = log, database, call, wanted
        self._principal = principal_of(call)
        self.name = str(self._principal.tenant_id)

    def state(self) -> LogState:
        """Return where the log stands."""
        with self._database.read(self._principal.tenant_id) as tx:
            return self._log.state(tx)

    def following(self, position: int, size: int) -> tuple[Sequence[Entry], Told]:
        """Return the tenant's next entries, and those of records that the caller may read."""
        with self._database.read(self._principal.tenant_id) as tx:
            entries = self._log.following(tx, position, size)
            wanted = [entry for entry in entries if self._wanted(entry.event_type)]
            readable = self._log.readable(tx, self._call, wanted)
        return entries, [(entry.position, _told(self._log, entry)) for entry in readable]

    def snapshot(self) -> Iterator[Any]:
        """Tell the records that the caller may read."""
        for records in _wanted(self._log, self._wanted):
            scope = records.read_scope(self._principal)
            if scope is not None:
                for record in _pages(self._database, records, Reach(self._principal, scope)):
                    yield _as_it_is(record)


class PlatformView:
    """All tenants, for the platform's own services."""

    name = ALL_TENANTS

    def __init__(self, log: ChangeLog, system: Database, wanted: Wanted) -> None:
        self._log, self._system, self._wanted = log, system, wanted

    def state(self) -> LogState:
        """Return where the log stands."""
        with self._system.read(None) as tx:
            return self._log.state(tx)

    def following(self, position: int, size: int) -> tuple[Sequence[Entry], Told]:
        """Return the next entries of all tenants."""
        with self._system.read(None) as tx:
            entries = self._log.following_all(tx, position, size)
        told: Told = []
        for entry in entries:
            if self._wanted(entry.event_type):
                response = _told(self._log, entry)
                response.tenant = f"tenants/{entry.tenant_id}"
                told.append((entry.position, response))
        return entries, told

    def snapshot(self) -> Iterator[Any]:
        """Tell the records of all tenants that the log has ever heard of, tenant by tenant."""
        with self._system.read(None) as tx:
            tenants = self._log.tenants(tx)
        for tenant in tenants:
            reach = Reach(Principal.of_service("platform", tenant), Scope.ALL)
            for records in _wanted(self._log, self._wanted):
                for record in _pages(records.shared.database, records, reach):
                    response = _as_it_is(record)
                    response.tenant = f"tenants/{tenant}"
                    yield response


def _wanted(log: ChangeLog, wanted: Wanted) -> list[Records]:
    """The resources of whose records something is wanted."""
    return [
        records
        for records in log.resources.values()
        if any(wanted(f"{records.RESOURCE.event_prefix}.{verb}") for verb in (SNAPSHOT, *records.RESOURCE.events))
    ]


def _pages(database: Database, records: Records, reach: Reach) -> Iterator[Message]:
    after: list[Any] | None = None
    while True:
        with database.read(reach.principal.tenant_id) as tx:
            found, after = records.store.page(tx, reach, Page(size=_BATCH, after=after))
        yield from found
        if after is None:
            return


def _told(log: ChangeLog, entry: Entry) -> Any:
    return stream_pb2.SubscribeResponse(change=log.message(entry, values=False))


def _as_it_is(record: Message) -> Any:
    response = stream_pb2.SubscribeResponse()
    response.snapshot.Pack(record)
    return response
