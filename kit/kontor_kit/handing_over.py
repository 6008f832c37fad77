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
from kontor_kit.inbox.events import SNAPSHOT, Event, Handle, Handlers
from kontor_kit.inbox.handling import Work

BATCH: Final = 100
"""So many records are handed over in one transaction."""
_DEACTIVATED: Final = "deactivated"


def declare(handlers: Handlers, user: type[Message], tables: Iterable[sa.Table]) -> None:
    """Declare a handler for the owned records in each of `tables`; `user` is the contract's User."""
    for table in tables:
        on_shut_out(handlers, user)(_handler(user, table))


def on_shut_out(handlers: Handlers, user: type[Message]) -> Callable[[Handle], Handle]:
    """Declare a handler of users who are shut out, which begins with `is_shut_out`."""
    descriptor: Any = user.DESCRIPTOR
    # The snapshot is told where the events in between are not known: users may have been shut out meanwhile.
    types = [f"{descriptor.file.package}.user.{verb}" for verb in (_DEACTIVATED, SNAPSHOT)]
    return handlers.on(*types, redacted=True)


def is_shut_out(event: Event, user: Any) -> bool:
    """Tell whether an event says that the user of its record is shut out; redacted, it says it by its type."""
    return event.type.endswith(f".{_DEACTIVATED}") or user.state == user.STATE_DEACTIVATED


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
        if not is_shut_out(event, leaver):
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
