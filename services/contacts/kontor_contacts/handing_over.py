"""The work of somebody who leaves goes to the team: what a slice does when a user is shut out."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from kontor.identity.v1 import user_pb2
from kontor_kit.db import Statement
from kontor_kit.ids import parse_name
from kontor_kit.inbox.events import Event
from kontor_kit.inbox.handling import Work
from kontor_kit.records import Records

BATCH: Final = 100
"""So many records are handed over in one transaction."""
EVENTS: Final = ("kontor.identity.v1.user.deactivated", "kontor.identity.v1.user.snapshot")
"""The snapshot is told where the events in between are not known: users may have been shut out meanwhile."""


def owned(table: sa.Table) -> Statement:
    """Return the statement that finds a batch of a user's records, deleted ones too: they may come back."""
    return Statement(
        sa.select(table.c.id)
        .where(
            table.c.tenant_id == sa.bindparam("tenant", type_=sa.Uuid),
            table.c.owner == sa.bindparam("user", type_=sa.Uuid),
        )
        .order_by(table.c.id)
        .limit(BATCH)
    )


def hand_over(event: Event, work: Work, records: Records, find: Statement) -> bool:
    """Hand over a batch of the records of the user who was shut out; return whether there may be more."""
    user: Any = event.record(user_pb2.User())
    if event.type == EVENTS[1] and user.state != user_pb2.User.STATE_DEACTIVATED:
        return False
    user_id = parse_name(event.resource_name, "users/{user}", "user")
    found = [row[0] for row in work.tx.run(find, {"tenant": event.tenant_id, "user": user_id})]
    call = records.own_call(work.tx, work.trace)
    for locked in records.store.lock(work.tx, records.reach(call), records.scope(call), found).values():
        after = type(locked.message)()
        after.CopyFrom(locked.message)
        if after.owner != event.resource_name:
            continue  # Somebody was faster.
        after.owner = ""
        if not after.team and user.teams:
            after.team = user.teams[0]
        records.put(work.tx, call, locked, after, "updated")
    return len(found) == BATCH
