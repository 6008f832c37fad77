"""The inbox in an operator's hands: list what waits or is dead, show it, handle it anew, put it aside, fill it anew.

As the system role, over all tenants.
"""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from kontor_kit.db import Database, Statement
from kontor_kit.errors import FailedPrecondition, NotFound
from kontor_kit.inbox.events import SNAPSHOT
from kontor_kit.inbox.schema import DEAD, DISCARDED, DONE, WAITING, is_in
from kontor_kit.service import Command, Service

LISTED: Final = 1000
STATES: Final = {WAITING: "waiting", DONE: "done", DEAD: "dead", DISCARDED: "discarded"}
_SHOWN: Final = (
    "event_id",
    "handler",
    "state",
    "attempts",
    "tenant_id",
    "event_type",
    "resource_name",
    "version",
    "event_time",
    "receive_time",
    "due_time",
    "done_time",
    "traceparent",
    "subject",
    "error",
)


class InboxUpkeep:
    """Works on the inbox of one service."""

    def __init__(self, metadata: sa.MetaData, database: Database) -> None:
        self._database = database
        inbox = metadata.tables["inbox"]
        shown = sa.select(*(inbox.c[name] for name in _SHOWN), sa.func.length(inbox.c.data))
        order = (inbox.c.receive_time, inbox.c.event_id, inbox.c.handler)
        is_event = inbox.c.event_id == sa.bindparam("event", type_=sa.Uuid)
        self._show = Statement(shown.where(is_event).order_by(*order))
        self._open = Statement(shown.where(is_in(inbox, WAITING, DEAD)).order_by(*order).limit(LISTED))
        self._dead = Statement(shown.where(is_in(inbox, DEAD)).order_by(*order).limit(LISTED))
        wait = (
            inbox.update()
            .where(is_in(inbox, DEAD))
            .values(state=WAITING, attempts=0, due_time=sa.func.now())
            .returning(inbox.c.handler)
        )
        self._replay = Statement(wait.where(is_event))
        self._replay_all = Statement(wait)
        self._discard = Statement(
            inbox.update()
            .where(is_event, is_in(inbox, WAITING, DEAD))
            .values(state=DISCARDED, done_time=sa.func.now(), data=b"")
            .returning(inbox.c.handler)
        )

        sources = metadata.tables["inbox_sources"]
        service = sa.bindparam("service", type_=sources.c.source.type)
        self._uncover = Statement(
            sources.update().where(sources.c.source == service).values(covered=[]).returning(sources.c.wishes)
        )
        told = inbox.c.event_type.like(sa.func.concat("kontor.", service, ".%.", SNAPSHOT))
        self._untell = Statement(inbox.delete().where(told, is_in(inbox, DONE, DISCARDED)))

    def unhandled(self, *, dead: bool = False) -> list[dict[str, Any]]:
        """Return what is not handled, or only what is dead, the oldest first, at most LISTED."""
        with self._database.read(None) as tx:
            return [_row(row) for row in tx.run(self._dead if dead else self._open)]

    def show(self, event_id: uuid.UUID) -> list[dict[str, Any]]:
        """Return what is known of an event, for each handler. Raises NotFound."""
        with self._database.read(None) as tx:
            rows = tx.run(self._show, {"event": event_id})
        if not rows:
            raise NotFound(f"there is no event {event_id} here")
        return [_row(row) for row in rows]

    def replay(self, event_id: uuid.UUID | None = None) -> int:
        """Have a dead event, or all of them, handled anew; return for how many handlers. Raises FailedPrecondition."""
        with self._database.write(None) as tx:
            rows = tx.run(self._replay, {"event": event_id}) if event_id else tx.run(self._replay_all)
        if event_id and not rows:
            raise FailedPrecondition(f"the event {event_id} is not dead")
        return len(rows)

    def discard(self, event_id: uuid.UUID) -> int:
        """Put an event aside for good; return for how many handlers. Raises FailedPrecondition where it is handled."""
        with self._database.write(None) as tx:
            rows = tx.run(self._discard, {"event": event_id})
        if not rows:
            raise FailedPrecondition(f"the event {event_id} does not wait and is not dead")
        return len(rows)

    def refill(self, service: str) -> None:
        """Have all records of another service told anew as they are, once `work` starts. Raises NotFound."""
        with self._database.write(None) as tx:
            if not tx.run(self._uncover, {"service": service}):
                raise NotFound(f"{service} was never followed here")
            # They would fall away as repeats.
            tx.defer(self._untell, {"service": service})


def commands(service: Service) -> Mapping[str, Command]:
    """Return the subcommand `events`; none for a service without an inbox."""
    if service.metadata is None or "inbox" not in service.metadata.tables:
        return {}

    def run(settings: Any, given: argparse.Namespace) -> int:
        database = Database(settings.system_database_url, pool_size=2, name=f"kontor-{service.name}-command")
        database.open()
        try:
            return int(given.work(InboxUpkeep(service.metadata, database), given))
        finally:
            database.close()

    return {
        "events": Command(
            help="list, show, replay or discard events of other services, or have records told anew",
            run=run,
            arguments=_arguments,
            need=["system_database_url"],
        )
    }


def _arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    listing = verbs.add_parser("list", help="what is not handled, the oldest first")
    listing.add_argument("--dead", action="store_true", help="only what was given up")
    listing.add_argument("--json", action="store_true", help="as JSON lines")
    listing.set_defaults(work=_list)
    show = verbs.add_parser("show", help="everything that is known of an event, as JSON lines")
    show.set_defaults(work=_show)
    replay = verbs.add_parser("replay", help="handle a dead event anew")
    which = replay.add_mutually_exclusive_group(required=True)
    which.add_argument("id", nargs="?", type=uuid.UUID, help="the event")
    which.add_argument("--all-dead", action="store_true", help="all that are dead")
    replay.set_defaults(work=_replay)
    discard = verbs.add_parser("discard", help="put an event aside for good")
    discard.set_defaults(work=_discard)
    refill = verbs.add_parser("refill", help="have all records of a service told anew; while work is stopped")
    refill.add_argument("service", help="its short name, as in contacts")
    refill.set_defaults(work=_refill)
    for verb in (show, discard):
        verb.add_argument("id", type=uuid.UUID, help="the event")


def _list(upkeep: InboxUpkeep, given: argparse.Namespace) -> int:
    for row in upkeep.unhandled(dead=given.dead):
        if given.json:
            _print_json(row)
        else:
            facts = (row["event_id"], f"{row['state']:<8}", f"{row['attempts']:>2}", row["event_type"])
            print(*facts, row["resource_name"], row["handler"], row["error"] or "", sep="  ")  # noqa: T201
    return 0


def _show(upkeep: InboxUpkeep, given: argparse.Namespace) -> int:
    for row in upkeep.show(given.id):
        _print_json(row)
    return 0


def _replay(upkeep: InboxUpkeep, given: argparse.Namespace) -> int:
    print(f"{upkeep.replay(given.id)} replayed")  # noqa: T201
    return 0


def _discard(upkeep: InboxUpkeep, given: argparse.Namespace) -> int:
    print(f"{upkeep.discard(given.id)} discarded")  # noqa: T201
    return 0


def _refill(upkeep: InboxUpkeep, given: argparse.Namespace) -> int:
    upkeep.refill(given.service)
    print(f"the records of {given.service} are told anew when work starts")  # noqa: T201
    return 0


def _print_json(row: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(row, default=str) + "\n")


def _row(row: tuple[Any, ...]) -> dict[str, Any]:
    found = dict(zip((*_SHOWN, "bytes"), row, strict=True))
    return found | {"state": STATES[found["state"]]}
