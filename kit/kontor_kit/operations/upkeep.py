"""Operations in an operator's hands, over all tenants: list those that are stuck, and have one tried again."""

from __future__ import annotations

import argparse
import sys
import uuid
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from google.rpc import status_pb2

from kontor.operations.v1 import operation_pb2
from kontor_kit.db import Database, Statement
from kontor_kit.service import Command, Service

State = operation_pb2.OperationMetadata.State

_LIST: Final = Statement(
    sa.text(
        "SELECT id, tenant_id, kind, state, stage, retries, update_time, error FROM operations"
        " WHERE state = 5 OR (state = 1 AND NOT :stuck) ORDER BY id"
    )
)
_RETRY: Final = Statement(
    sa.text(
        "UPDATE operations SET state = 1, retries = 0, faults = 0, due_time = clock_timestamp()"
        " WHERE id = :id AND state = 5 RETURNING id"
    )
)


def commands(service: Service) -> Mapping[str, Command]:
    """Return the subcommand that works on the service's operations; none for a service without."""
    if service.metadata is None or "operations" not in service.metadata.tables:
        return {}

    def run(settings: Any, given: argparse.Namespace) -> int:
        database = Database(settings.system_database_url, pool_size=2, name=f"kontor-{service.name}-upkeep")
        database.open()
        try:
            return _retry(database, given.retry) if given.retry else _list(database, stuck=given.stuck)
        finally:
            database.close()

    text = "list operations under way, or have one that is stuck tried again"
    return {"operations": Command(help=text, run=run, arguments=_arguments, need=["system_database_url"])}


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stuck", action="store_true", help="only those that are stuck")
    parser.add_argument("--retry", type=uuid.UUID, metavar="ID", help="try this one again that is stuck (a UUID)")


def _list(database: Database, *, stuck: bool) -> int:
    with database.read(None) as tx:
        rows = tx.run(_LIST, {"stuck": stuck})
    for id, tenant, kind, state, stage, retries, time, error in rows:
        reason = status_pb2.Status.FromString(bytes(error)).message if error is not None else ""
        words = (id, tenant, kind, State.Name(state).removeprefix("STATE_"), stage or "-", f"{retries} retries")
        sys.stdout.write("  ".join(map(str, (*words, f"{time:%Y-%m-%dT%H:%M:%SZ}", reason))).rstrip() + "\n")
    return 0


def _retry(database: Database, id: uuid.UUID) -> int:
    with database.write(None) as tx:
        found = tx.run(_RETRY, {"id": id})
    sys.stdout.write("it is tried again\n" if found else "no operation with this id is stuck\n")
    return 0 if found else 1
