"""What puts things on the timeline: everything that happens to records whose contracts say so, snapshots included."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from kontor_contacts.timeline.sources import Source, sources
from kontor_contacts.timeline.table import timeline_entries as entries
from kontor_contacts.timeline.table import timeline_sources as records
from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.inbox.events import SNAPSHOT, Event, Handlers
from kontor_kit.inbox.handling import Work
from kontor_kit.tables import KEY_TEXT

_KEY: Final = sa.bindparam("key", type_=sa.Uuid)
_HOLDERS: Final = sa.bindparam("holders", type_=ARRAY(sa.Uuid))
_PLACES: Final = sa.bindparam("places", type_=ARRAY(sa.Uuid))
_KNOWN: Final = Statement(
    sa.select(
        *(records.c[name] for name in ("version", "guarded", "holder", "owner", "team", "deleted", "subjects"))
    ).where(records.c.tenant_id == TENANT, records.c.id == _KEY)
)
_WITH: Final = Statement(
    sa.select(sa.func.unnest(records.c.subjects)).where(records.c.tenant_id == TENANT, records.c.id == sa.any_(_PLACES))
)
_TURN: Final = Statement(
    sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(sa.bindparam("turn", type_=KEY_TEXT), 0)))
)
_GIVEN: Final = [column for column in records.c if column.name not in ("tenant_id", "id")]
_record = insert(records).values(
    tenant_id=TENANT, id=_KEY, **{column.name: sa.bindparam(column.name, type_=column.type) for column in _GIVEN}
)
_KEEP: Final = Statement(
    _record.on_conflict_do_update(
        index_elements=["tenant_id", "id"], set_={column.name: _record.excluded[column.name] for column in _GIVEN}
    )
)
_FORGET: Final = Statement(records.update().where(records.c.tenant_id == TENANT, records.c.id == _KEY).values(title=""))

_own, _holder = records.alias("own"), records.alias("holder")
_now = {
    "guarded": _own.c.guarded,
    "holder": _own.c.holder,
    "owner": _holder.c.owner,
    "team": _holder.c.team,
    # As long as the parent is not known, nobody knows who may see it.
    "hidden": sa.func.coalesce(sa.or_(_own.c.deleted, _holder.c.deleted), sa.true()),
}
_joined = _own.outerjoin(_holder, sa.and_(_holder.c.tenant_id == _own.c.tenant_id, _holder.c.id == _own.c.holder))
_HAPPENED: Final = ("version", "id", "event_time", "type", "resource_type", "resource_name", "subject")
_place = sa.func.unnest(_PLACES).table_valued(sa.column("place", sa.Uuid), name="given").render_derived()
_added = insert(entries).from_select(
    ["tenant_id", "place", "source", *_HAPPENED, *_now],
    sa.select(
        TENANT,
        _place.c.place,
        _KEY,
        *(sa.bindparam(name, type_=entries.c[name].type) for name in _HAPPENED),
        *_now.values(),
    )
    .select_from(_joined.join(_place, sa.true()))
    .where(_own.c.tenant_id == TENANT, _own.c.id == _KEY),
)
_told = {name: _added.excluded[name] for name in ("id", "event_time", "type", "subject")}
_ADD: Final = Statement(
    # What really happened takes the place of what was only concluded, and not the other way round.
    _added.on_conflict_do_update(
        index_elements=["tenant_id", "place", "source", "version"],
        set_=_told,
        where=sa.and_(entries.c.subject == "", _added.excluded.subject != ""),
    )
)
_copied = [column for column in entries.c if column.name != "place"]
_COPY: Final = Statement(
    insert(entries)
    .from_select(
        ["place", *(column.name for column in _copied)],
        sa.select(_place.c.place, *_copied).where(entries.c.tenant_id == TENANT, entries.c.place == _KEY),
    )
    .on_conflict_do_nothing()
)


def _show(*which: sa.ColumnElement[bool]) -> Statement:
    """Bring entries up to whose they are now."""
    own = sa.and_(_own.c.tenant_id == entries.c.tenant_id, _own.c.id == entries.c.source)
    holder = sa.and_(_holder.c.tenant_id == entries.c.tenant_id, _holder.c.id == _own.c.holder)
    return Statement(entries.update().where(entries.c.tenant_id == TENANT, *which, own, holder).values(_now))


_SHOW_ONE: Final = _show(entries.c.holder == sa.any_(_HOLDERS), entries.c.source == _KEY)
_SHOW_HELD: Final = _show(entries.c.holder == _KEY)


def declare(handlers: Handlers) -> None:
    """Declare the handler of everything that appears on timelines, of the services whose addresses are configured."""
    types = [kind for source in sources().values() for kind in source.event_types]
    handlers.on(*types, optional=True, redacted=True)(follow)


class _Record(NamedTuple):
    """What is known of a record: whose it is, and where it appears."""

    version: int
    guarded: bool
    holder: uuid.UUID
    """The record whose rights it has: its parent, or itself."""
    owner: uuid.UUID | None
    team: uuid.UUID | None
    deleted: bool
    subjects: list[uuid.UUID]

    @property
    def rights(self) -> tuple[Any, ...]:
        """What has to be the same for nobody to see more or less than before."""
        return self.guarded, self.holder, self.owner, self.team, self.deleted


def follow(event: Event, work: Work) -> None:
    """Put an event on the timelines of those that its record names, or named, and keep what the record is now."""
    source, tx = sources()[event.type.rpartition(".")[0]], work.tx
    key = {"tenant": event.tenant_id, "key": _id(event.resource_name)}
    if not event.data:
        # It was redacted: nobody is to read again what it was called.
        tx.defer(_FORGET, key)
        return
    message: Any = event.record(source.message())
    record = _record_of(source, event.version, message)
    through = {each for name in source.through for each in _named(message, name)}
    for each in sorted({record.holder, *through}):
        # Who hangs on a record waits for what happens to that, and the other way round.
        tx.defer(_TURN, {"turn": f"{event.tenant_id}/timeline/{each}"})
    before = _known(tx, key)
    is_newest = before is None or before.version < event.version
    if is_newest:
        title = getattr(message, source.title) if source.title else ""
        tx.defer(_KEEP, {**key, **record._asdict(), "title": title})
    past, now = (_places(tx, key, one.subjects if one else (), source) for one in (before, record))
    for happened in _happened(event, source, message):
        tx.defer(_ADD, {**key, **happened, "places": sorted({key["key"], *past, *now})})
    if is_newest:
        if added := now - past:
            tx.defer(_COPY, {**key, "places": sorted(added)})
        _show_again(tx, key, before, record)


def _places(tx: Transaction, key: dict[str, Any], subjects: Sequence[uuid.UUID], source: Source) -> set[uuid.UUID]:
    """Return where a record with these subjects appears."""
    further = tx.run(_WITH, {**key, "places": list(subjects)}) if source.through and subjects else []
    return {*subjects, *(row[0] for row in further)}


def _show_again(tx: Transaction, key: dict[str, Any], before: _Record | None, now: _Record) -> None:
    """Show what happened before to those who may see the record now, and what hangs on it."""
    if now.holder != key["key"]:
        if before and before.rights != now.rights:
            tx.defer(_SHOW_ONE, {**key, "holders": [before.holder, now.holder]})
    elif before is None or before.rights != now.rights:
        tx.defer(_SHOW_HELD, key)


def _known(tx: Transaction, key: dict[str, Any]) -> _Record | None:
    """Return what is known of a record; None where nothing is."""
    rows = tx.run(_KNOWN, key)
    return _Record(*rows[0]) if rows else None


def _record_of(source: Source, version: int, message: Any) -> _Record:
    is_owned = source.owned and not source.parent
    return _Record(
        version=version,
        guarded=source.is_guarded(message),
        holder=_id(getattr(message, source.parent or "name")),
        owner=_id(message.owner) if is_owned and message.owner else None,
        team=_id(message.team) if is_owned and message.team else None,
        deleted="delete_time" in message.DESCRIPTOR.fields_by_name and message.HasField("delete_time"),
        subjects=sorted({each for name in source.subjects for each in _named(message, name)}),
    )


def _named(message: Any, field: str) -> list[uuid.UUID]:
    """Return the ids of the records that a field names, however many it can name."""
    value = getattr(message, field)
    return [_id(name) for name in ([value] if isinstance(value, str) else value) if name]


def _happened(event: Event, source: Source, message: Any) -> list[dict[str, Any]]:
    """Return what is told of an event; of a record as it is, that it was created, and when it was changed last."""
    common = {"resource_type": source.kind, "resource_name": event.resource_name, "subject": event.subject}
    if not event.type.endswith(f".{SNAPSHOT}"):
        return [{**common, "id": event.id, "type": event.type, "event_time": event.time, "version": event.version}]
    told = [("created", 1, message.create_time.ToDatetime(dt.UTC))]
    if event.version > 1:
        told.append(("updated", event.version, event.time))
    return [
        {
            **common,
            "id": uuid.uuid5(event.id, verb),
            "type": f"{source.event_prefix}.{verb}",
            "event_time": time,
            "version": version,
        }
        for verb, version, time in told
    ]


def _id(name: str) -> uuid.UUID:
    return uuid.UUID(name.rpartition("/")[2])
