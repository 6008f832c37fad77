"""The gRPC service of calendar feeds: their keepers' methods, and the one that calendar programs use."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import sqlalchemy as sa
from google.api import httpbody_pb2
from sqlalchemy.dialects.postgresql import BYTEA, insert

from kontor.sales.v1 import calendar_feed_service_pb2
from kontor_kit.calls import Behavior, Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import InvalidArgument, NotFound
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name
from kontor_kit.methods import ResourceServicer
from kontor_kit.principals import Scope
from kontor_kit.records import principal_of
from kontor_kit.shared import Shared
from kontor_kit.store import Locked, Reach, Store, is_live
from kontor_kit.tracing import Trace
from kontor_sales.activities.table import ACTIVITY
from kontor_sales.calendars import rules
from kontor_sales.calendars.table import CALENDAR_FEED, calendar_feed_keys, calendar_feeds, read_shown

PAST: Final = dt.timedelta(days=30)
MOST: Final = 3000
_BATCH: Final = 500
_FEED: Final = sa.bindparam("calendar_feed", type_=sa.Uuid)
_FIND: Final = Statement(
    sa.select(sa.column("tenant_id", sa.Uuid), sa.column("calendar_feed", sa.Uuid)).select_from(
        sa.func.find_calendar_feed(sa.bindparam("digest", type_=BYTEA)).table_valued("tenant_id", "calendar_feed")
    )
)
_key = insert(calendar_feed_keys).values(
    tenant_id=TENANT, calendar_feed=_FEED, digest=sa.bindparam("digest", type_=BYTEA)
)
_KEEP: Final = Statement(
    _key.on_conflict_do_update(index_elements=["tenant_id", "calendar_feed"], set_={"digest": _key.excluded.digest})
)
_END: Final = Statement(
    calendar_feed_keys.delete().where(
        calendar_feed_keys.c.tenant_id == TENANT, calendar_feed_keys.c.calendar_feed == _FEED
    )
)
_OF_USER: Final = Statement(
    sa.select(calendar_feeds.c.id).where(
        calendar_feeds.c.tenant_id == TENANT,
        calendar_feeds.c.user == sa.bindparam("user", type_=sa.Uuid),
        calendar_feeds.c.key_prefix.is_not(None),
    )
)


class CalendarFeeds(ResourceServicer):
    """Serves calendar feeds."""

    SERVICE = calendar_feed_service_pb2.DESCRIPTOR.services_by_name["CalendarFeedService"]
    RESOURCE = CALENDAR_FEED

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._activities = Store(ACTIVITY)

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Check what the calendar is called."""
        if not after.display_name.strip():
            raise InvalidArgument(("display_name", "must not be blank"))

    def handler(self, method: str) -> Behavior | None:
        """Return what serves the RPC of this name; to read a calendar there is no tenant before the key is looked up."""
        return self.read_calendar_feed if method == "ReadCalendarFeed" else super().handler(method)

    def rotate_calendar_feed_key(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Make a new key; the answer is not kept, and a repetition makes another one."""
        locked = self.lock(tx, call, request.name)
        key = rules.new_key()
        values = {"tenant": tx.tenant_id, "calendar_feed": locked.id, "digest": rules.digest(key)}
        tx.defer(_KEEP, values)
        feed = self._mark_key(tx, call, locked, rules.prefix_of(key), "key_rotated")
        return call.method.output(key=key, path=f"/v1/calendarFeeds/{key}:read", calendar_feed=feed)

    def revoke_calendar_feed_key(self, request: Any, call: Call, tx: Transaction) -> Any:
        """End the key of a feed."""
        locked = self.lock(tx, call, request.name, live=False)
        return self.shown(tx, call, self._end_key(tx, call, locked))

    def revoke_all(self, tx: Transaction, trace: Trace, user: str) -> None:
        """End the keys of a user's feeds."""
        call = self.own_call(tx, trace)
        id = parse_name(user, "users/{user}", "user")
        ids = [row[0] for row in tx.run(_OF_USER, {"tenant": tx.tenant_id, "user": id})]
        for locked in self.store.lock(tx, self.reach(call), Scope.ALL, ids).values():
            self._end_key(tx, call, locked)

    def _end_key(self, tx: Transaction, call: Call, locked: Locked) -> Any:
        tx.defer(_END, {"tenant": tx.tenant_id, "calendar_feed": locked.id})
        return self._mark_key(tx, call, locked, "", "key_revoked")

    def _mark_key(self, tx: Transaction, call: Call, locked: Locked, prefix: str, event: str) -> Any:
        if locked.message.key_prefix == prefix:
            return locked.message
        after = type(locked.message)()
        after.CopyFrom(locked.message)
        after.key_prefix = prefix
        return self.put(tx, call, locked, after, event)

    def read_calendar_feed(self, request: Any, call: Call) -> Any:
        """Return a calendar to whoever knows its key."""
        with self.shared.database.read(None) as tx:
            found = tx.run(_FIND, {"digest": rules.digest(request.key)})
        if not found:
            raise _no_feed()
        tenant, feed_id = found[0]
        with self.shared.database.read(tenant) as tx:
            everything = Reach(principal_of(self.own_call(tx, call.trace)), Scope.ALL)
            feed = self.store.get_one(tx, everything, feed_id)
            if feed is None or not is_live(feed):
                raise _no_feed()
            user = parse_name(feed.user, "users/{user}", "user")
            ids = read_shown(tx, user, dt.datetime.now(dt.UTC) - PAST, MOST)
            shown: list[Any] = []
            for first in range(0, len(ids), _BATCH):
                batch = ids[first : first + _BATCH]
                records = self._activities.get(tx, everything, batch)
                shown += [records[id] for id in batch if id in records]
        call.set_header("cache-control", "private, no-store")
        data = rules.feed(feed.display_name, shown, busy_only=feed.busy_only)
        return httpbody_pb2.HttpBody(content_type=rules.CONTENT_TYPE, data=data)


def _no_feed() -> NotFound:
    return NotFound("there is no calendar with this key", metadata={"resource": "calendarFeeds"})
