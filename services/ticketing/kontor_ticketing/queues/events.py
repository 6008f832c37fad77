"""Who is not there: filled by what identity tells of users, and sales of absences, snapshots included."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from kontor.identity.v1 import user_pb2
from kontor.sales.v1 import absence_pb2
from kontor_kit.db import Statement
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name
from kontor_kit.inbox.events import Event, Handlers
from kontor_kit.inbox.handling import Work
from kontor_ticketing.queues.table import known_absences, known_users


def _know(table: sa.Table) -> Statement:
    """Keep a row, unless it is known as new already."""
    given = insert(table).values(
        {c.name: TENANT if c.name == "tenant_id" else sa.bindparam(c.name, type_=c.type) for c in table.c}
    )
    return Statement(
        given.on_conflict_do_update(
            index_elements=[c.name for c in table.primary_key],
            set_={c.name: given.excluded[c.name] for c in table.c if not c.primary_key},
            where=table.c.version < given.excluded.version,
        )
    )


_KNOW_USER: Final = _know(known_users)
_KNOW_ABSENCE: Final = _know(known_absences)


def declare(handlers: Handlers) -> None:
    """Declare the handlers of who is not there."""
    handlers.on("kontor.identity.v1.user.*")(know_user)
    handlers.on("kontor.sales.v1.absence.*")(know_absence)


def know_user(event: Event, work: Work) -> None:
    """Keep whether a user is deactivated."""
    user: Any = event.record(user_pb2.User())
    gone = user.state == user.STATE_DEACTIVATED
    id = parse_name(event.resource_name, "users/{user}", "user")
    work.tx.defer(_KNOW_USER, {"tenant": event.tenant_id, "user": id, "version": event.version, "deactivated": gone})


def know_absence(event: Event, work: Work) -> None:
    """Keep when a user is away."""
    absence: Any = event.record(absence_pb2.Absence())
    values = {
        "absence": parse_name(event.resource_name, "absences/{absence}", "absence"),
        "version": event.version,
        "user": parse_name(absence.user, "users/{user}", "user"),
        "start_time": absence.start_time.ToDatetime(dt.UTC),
        "end_time": absence.end_time.ToDatetime(dt.UTC) if absence.HasField("end_time") else None,
        "live": not absence.HasField("delete_time"),
    }
    work.tx.defer(_KNOW_ABSENCE, {"tenant": event.tenant_id, **values})
