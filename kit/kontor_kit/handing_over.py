"""The work of somebody who leaves goes to the team: what a service does with its records when a user is shut out.

    handing_over.declare(handlers, user_pb2.User, [accounts, contacts])

What the handlers find as `work.service` gives the `Records` of a collection by its table's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import sqlalchemy as sa
from google.protobuf.message import Message

from kontor_kit.db import Statement
from kontor_kit.ids import parse_name
from kontor_kit.inbox.events import SNAPSHOT, Event, Handlers
from kontor_kit.inbox.handling import Work

BATCH: Final = 100
"""So many records are handed over in one transaction."""
_DEACTIVATED: Final = "deactivated"


def declare(handlers: Handlers, user: type[Message], tables: Iterable[sa.Table]) -> None:
    """Declare a handler for the owned records in each of `tables`; `user` is the contract's User."""
    descriptor: Any = user.DESCRIPTOR
    # The snapshot is told where the events in between are not known: users may have been shut out meanwhile.
    types = [f"{descriptor.file.package}.user.{verb}" for verb in (_DEACTIVATED, SNAPSHOT)]
    for table in tables:
        handlers.on(*types, redacted=True)(_handler(user, table))


def _handler(user: type[Message], table: sa.Table) -> Callable[[Event, Work], bool]:
    # Deleted records too: they may come back.
    find = Statement(
        sa.select(table.c.id)
        .where(
            table.c.tenant_id == sa.bindparam("tenant", type_=sa.Uuid),
            table.c.owner == sa.bindparam("user", type_=sa.Uuid),
        )
        .order_by(table.c.id)
        .limit(BATCH)
    )

    def hand_over(event: Event, work: Work) -> bool:
        leaver: Any = event.record(user())
        if event.type.endswith(SNAPSHOT) and leaver.state != leaver.STATE_DEACTIVATED:
            return False
        user_id = parse_name(event.resource_name, "users/{user}", "user")
        found = [row[0] for row in work.tx.run(find, {"tenant": event.tenant_id, "user": user_id})]
        _give_away(work, table.name, found, event.resource_name, leaver.teams)
        return len(found) == BATCH

    hand_over.__qualname__ = f"hand_over.{table.name}"
    return hand_over


def _give_away(work: Work, collection: str, ids: list[Any], user: str, teams: Sequence[str]) -> None:
    records = work.service[collection]
    call = records.own_call(work.tx, work.trace)
    for locked in records.store.lock(work.tx, records.reach(call), records.scope(call), ids).values():
        if locked.message.owner != user:
            continue  # Somebody was faster.
        after = type(locked.message)()
        after.CopyFrom(locked.message)
        after.owner = ""
        if not after.team and teams:
            after.team = teams[0]
        records.put(work.tx, call, locked, after, "updated")
