"""The resource and the tables of calendar feeds, and what stands in the calendars of users."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from kontor.sales.v1 import calendar_feed_pb2
from kontor_kit.db import Row, Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.resource import STANDARD_EVENTS, Resource
from kontor_kit.tables import KEY_TEXT, index, resource_table
from kontor_sales.absences.table import UserScope, absences
from kontor_sales.activities.rules import FREE, Entry
from kontor_sales.activities.table import calendar_entries
from kontor_sales.tables import metadata

calendar_feeds = resource_table(
    "calendar_feeds",
    metadata,
    sa.Column("user", sa.Uuid, nullable=False),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("busy_only", sa.Boolean, nullable=False),
    sa.Column("key_prefix", sa.Text),
    index("calendar_feeds", "user"),
    index("calendar_feeds", "display_name_key"),
    index("calendar_feeds", "create_time"),
    index("calendar_feeds", "update_time"),
    owned=False,
)

calendar_feed_keys = sa.Table(
    "calendar_feed_keys",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("calendar_feed", sa.Uuid, primary_key=True),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.ForeignKeyConstraint(
        ["tenant_id", "calendar_feed"],
        ["calendar_feeds.tenant_id", "calendar_feeds.id"],
        name="calendar_feed_keys_calendar_feed_fkey",
    ),
    # The key alone says which tenant it is of. It is random: no other one is the same.
    sa.Index("calendar_feed_keys_digest", "digest"),
)

CALENDAR_FEED = Resource(
    calendar_feed_pb2.CalendarFeed,
    calendar_feeds,
    scope=UserScope(),
    events=(*STANDARD_EVENTS, "key_rotated", "key_revoked"),
)

_TIME: Final = sa.DateTime(timezone=True)
_USERS: Final = sa.bindparam("users", type_=ARRAY(sa.Uuid))
_FROM, _TO = sa.bindparam("from", type_=_TIME), sa.bindparam("to", type_=_TIME)
_ACTIVITY: Final = sa.bindparam("activity", type_=sa.Uuid)
_CLEAR: Final = Statement(
    calendar_entries.delete().where(calendar_entries.c.tenant_id == TENANT, calendar_entries.c.activity == _ACTIVITY)
)
_given = (
    sa.func.unnest(_USERS, sa.bindparam("busy", type_=ARRAY(sa.SmallInteger)))
    .table_valued(sa.column("user", sa.Uuid), sa.column("busy", sa.SmallInteger))
    .render_derived(name="given")
)
_ADD: Final = Statement(
    insert(calendar_entries).from_select(
        ["tenant_id", "user", "activity", "start_time", "end_time", "busy"],
        sa.select(TENANT, _given.c.user, _ACTIVITY, _FROM, _TO, _given.c.busy),
    )
)
_BUSY: Final = Statement(
    sa.select(
        calendar_entries.c.user, calendar_entries.c.start_time, calendar_entries.c.end_time, calendar_entries.c.busy
    ).where(
        calendar_entries.c.tenant_id == TENANT,
        calendar_entries.c.user == sa.any_(_USERS),
        calendar_entries.c.end_time > _FROM,
        calendar_entries.c.start_time < _TO,
        calendar_entries.c.busy != FREE,
    )
)
_AWAY: Final = Statement(
    sa.select(absences.c.user, absences.c.start_time, absences.c.end_time).where(
        absences.c.tenant_id == TENANT,
        absences.c.user == sa.any_(_USERS),
        sa.or_(absences.c.end_time.is_(None), absences.c.end_time > _FROM),
        absences.c.start_time < _TO,
        absences.c.delete_time.is_(None),
    )
)
_SHOWN: Final = Statement(
    sa.select(calendar_entries.c.activity)
    .where(
        calendar_entries.c.tenant_id == TENANT,
        calendar_entries.c.user == sa.bindparam("user", type_=sa.Uuid),
        calendar_entries.c.end_time > _FROM,
    )
    .order_by(calendar_entries.c.end_time, calendar_entries.c.activity)
    .limit(sa.bindparam("size", type_=sa.Integer))
)


def replace_entries(tx: Transaction, activity: uuid.UUID, entries: Mapping[uuid.UUID, Entry]) -> None:
    """Queue what an activity is in the calendars of users, in place of what it was."""
    tx.defer(_CLEAR, {"tenant": tx.tenant_id, "activity": activity})
    for start, end in {(entry.start, entry.end) for entry in entries.values()}:
        values = {"from": start, "to": end, "users": list(entries), "busy": [entry.busy for entry in entries.values()]}
        tx.defer(_ADD, {"tenant": tx.tenant_id, "activity": activity, **values})


def read_busy(
    tx: Transaction, users: Iterable[uuid.UUID], start: dt.datetime, end: dt.datetime
) -> tuple[list[Row], list[Row]]:
    """Return (user, start, end, busy) of what users have to do in a time, and (user, start, end) of when they are away.

    `end` is None of who is away without an end.
    """
    values = {"tenant": tx.tenant_id, "users": list(users), "from": start, "to": end}
    busy, away = tx.run_all([(_BUSY, values), (_AWAY, values)])
    return busy, away


def read_shown(tx: Transaction, user: uuid.UUID, start: dt.datetime, size: int) -> list[uuid.UUID]:
    """Return the activities in the calendar of a user that end after `start`, the first `size` to end."""
    return [row[0] for row in tx.run(_SHOWN, {"tenant": tx.tenant_id, "user": user, "from": start, "size": size})]
