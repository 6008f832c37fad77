"""Reading the change log: rows as messages, and only those of records that the caller may read."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Value

from kontor.changes.v1 import change_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import InvalidArgument
from kontor_kit.filter_sql import TENANT
from kontor_kit.records import Records, principal_of
from kontor_kit.store import Reach
from kontor_kit.tables import KEY_TEXT

_UNTOLD: Final = frozenset(("etag", "update_time"))
"""Every change changes them; telling so would say nothing."""

SNAPSHOT: Final = "snapshot"
"""The last part of the type under which a record is told as it is, and not as a change."""

_COLUMNS: Final = (
    "position",
    "tenant_id",
    "event_id",
    "resource_name",
    "version",
    "event_type",
    "before",
    "after",
    "subject",
    "actor",
    "client_id",
    "peer",
    "request_id",
    "trace_id",
    "change_time",
    "salt",
)


class LogState(NamedTuple):
    """Where the log stands."""

    position: int
    """Of the last change."""
    incarnation: int
    dropped: int
    """Of the last change that is kept no longer, 0 where all are."""
    restored: int
    """Where the tenant was restored: positions from 0 to below it are of a past that is not this one's. 0 where it never
    was."""


class Entry(NamedTuple):
    """One row of the log."""

    position: int
    tenant_id: uuid.UUID
    event_id: uuid.UUID
    resource_name: str
    version: int
    event_type: str
    before: bytes | None
    after: bytes | None
    subject: str
    actor: str | None
    client_id: str | None
    peer: str | None
    request_id: str | None
    trace_id: str | None
    change_time: Any
    salt: bytes | None

    @property
    def collection(self) -> str:
        """The collection of the record."""
        return self.resource_name.partition("/")[0]


class ChangeLog:
    """The change log of one service, as its app role reads it: one tenant's part at a time."""

    def __init__(self, metadata: sa.MetaData, domain: str, resources: Iterable[Records]) -> None:
        self.domain = domain
        self.resources: Mapping[str, Records] = {records.RESOURCE.collection: records for records in resources}
        log, state = metadata.tables["change_log"], metadata.tables["change_log_state"]
        columns = [log.c[name] for name in _COLUMNS]
        size = sa.bindparam("size", type_=sa.Integer)
        after = sa.bindparam("after", type_=sa.BigInteger)
        own = sa.select(*columns).where(log.c.tenant_id == TENANT)
        self._next = Statement(own.where(log.c.position > after).order_by(log.c.position).limit(size))
        everything = sa.select(*columns).where(log.c.position > after)
        self._next_of_all = Statement(everything.order_by(log.c.position).limit(size))
        heads = metadata.tables["change_log_heads"]
        self._tenants = Statement(sa.select(heads.c.tenant_id).order_by(heads.c.tenant_id))
        self._of_record = Statement(
            own.where(log.c.resource_name == sa.bindparam("name", type_=KEY_TEXT), log.c.position < after)
            .order_by(log.c.position.desc())
            .limit(size)
        )
        self._newest = Statement(own.where(log.c.position < after).order_by(log.c.position.desc()).limit(size))
        seals = metadata.tables["change_log_seals"]
        # Of the tenant, or of all: the role that asks sees no others. The oldest change that a tenant has says nothing
        # of what is gone, for the first one has others before it.
        dropped = sa.select(sa.func.max(seals.c.position)).scalar_subquery()
        # Of the one tenant that is asked for, also by a role that sees others.
        restored = sa.select(heads.c.restore_position).where(heads.c.tenant_id == TENANT).scalar_subquery()
        self._state = Statement(
            sa.select(
                state.c.position, state.c.incarnation, sa.func.coalesce(dropped, 0), sa.func.coalesce(restored, 0)
            )
        )

    def state(self, tx: Transaction) -> LogState:
        """Return where the log stands."""
        return LogState(*tx.run(self._state, {"tenant": tx.tenant_id})[0])

    def following(self, tx: Transaction, position: int, size: int) -> list[Entry]:
        """Return the next changes of the tenant after `position`, whoever may read them."""
        return [Entry(*row) for row in tx.run(self._next, {"tenant": tx.tenant_id, "after": position, "size": size})]

    def following_all(self, tx: Transaction, position: int, size: int) -> list[Entry]:
        """Return the next changes of all tenants after `position`; as the system role."""
        return [Entry(*row) for row in tx.run(self._next_of_all, {"after": position, "size": size})]

    def tenants(self, tx: Transaction) -> list[uuid.UUID]:
        """Return the tenants that have changes; as the system role."""
        return [row[0] for row in tx.run(self._tenants)]

    def of_record(self, tx: Transaction, name: str, before_position: int, size: int) -> list[Entry]:
        """Return the changes of one record before `before_position`, the newest first."""
        parameters = {"tenant": tx.tenant_id, "name": name, "after": before_position, "size": size}
        return [Entry(*row) for row in tx.run(self._of_record, parameters)]

    def newest(self, tx: Transaction, before_position: int, size: int) -> list[Entry]:
        """Return the changes of the tenant before `before_position`, the newest first, whoever may read them."""
        parameters = {"tenant": tx.tenant_id, "after": before_position, "size": size}
        return [Entry(*row) for row in tx.run(self._newest, parameters)]

    def readable(self, tx: Transaction, call: Call, entries: Sequence[Entry]) -> list[Entry]:
        """Return the entries of the records that the caller may read, by the path that every read takes."""
        principal = principal_of(call)
        wanted: dict[str, set[uuid.UUID]] = {}
        for entry in entries:
            wanted.setdefault(entry.collection, set()).add(_id_of(entry.resource_name))
        visible: dict[str, Collection[uuid.UUID]] = {}
        for collection, ids in wanted.items():
            records = self.resources.get(collection)
            scope = records.read_scope(principal) if records is not None else None
            if records is not None and scope is not None:
                visible[collection] = records.store.get(tx, Reach(principal, scope), list(ids), ("name",)).keys()
        return [entry for entry in entries if _id_of(entry.resource_name) in visible.get(entry.collection, ())]

    def message(self, entry: Entry, *, values: bool) -> change_pb2.Change:
        """Return an entry as callers see it; with the values of the fields where `values` is set."""
        change = change_pb2.Change(
            id=str(entry.event_id),
            type=entry.event_type,
            source=f"//{self.domain}",
            resource_name=entry.resource_name,
            version=entry.version,
            change_time=entry.change_time,
            subject=entry.subject,
            actor=entry.actor or "",
            client_id=entry.client_id or "",
            peer=entry.peer or "",
            request_id=entry.request_id or "",
            trace_id=entry.trace_id or "",
            redacted=entry.salt is None,
        )
        records = self.resources.get(entry.collection)
        if records is None or entry.salt is None or entry.after is None:
            return change
        kind = records.RESOURCE.message
        old, new = kind.FromString(entry.before or b""), kind.FromString(entry.after)
        for field in kind.DESCRIPTOR.fields:
            if field.name in _UNTOLD or getattr(old, field.name) == getattr(new, field.name):
                continue
            change.changed_fields.paths.append(field.name)
        if values:
            _tell_values(change, old, new)
        else:
            change.data.type_url = f"type.googleapis.com/{kind.DESCRIPTOR.full_name}"
            change.data.value = entry.after
        return change

    def type_filter(self, types: Sequence[str]) -> Wanted:
        """Return what tells whether an event is wanted; raises InvalidArgument for a type that there is not."""
        prefixes = {records.RESOURCE.event_prefix: records for records in self.resources.values()}
        for index, text in enumerate(types):
            prefix, _, verb = text.rpartition(".")
            records = prefixes.get(prefix)
            if records is None or verb not in ("*", SNAPSHOT, *records.RESOURCE.events):
                raise InvalidArgument((f"types[{index}]", f"{text} is not a type of event that {self.domain} tells"))
        return Wanted(frozenset(text for text in types), frozenset(text[:-1] for text in types if text.endswith(".*")))


class Wanted(NamedTuple):
    """The types of events that somebody wants; all of them where there are none."""

    types: frozenset[str]
    prefixes: frozenset[str]

    def __call__(self, event_type: str) -> bool:
        """Tell whether an event of this type is wanted."""
        return not self.types or event_type in self.types or f"{event_type.rpartition('.')[0]}." in self.prefixes


def _id_of(resource_name: str) -> uuid.UUID:
    return uuid.UUID(resource_name.rpartition("/")[2])


def _tell_values(change: change_pb2.Change, old: Any, new: Any) -> None:
    before, after = (json_format.MessageToDict(record, preserving_proto_field_name=True) for record in (old, new))
    for name in change.changed_fields.paths:
        told = change.fields.add(field=name)
        for value, target in ((before.get(name), "old_value"), (after.get(name), "new_value")):
            if value is not None:
                getattr(told, target).CopyFrom(json_format.ParseDict(value, Value()))
