"""Changes: one row in `change_pending` for each record that a request changes, in the same transaction.

This is the only place where changes are recorded. The row holds the record before and after as messages; what differs
is worked out when the row moves into the change log, not while somebody waits.
"""

from __future__ import annotations

import time
from typing import Final

import sqlalchemy as sa
from google.protobuf.message import Message

from kontor_kit.calls import Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.tracing import SpanKind, change_span, record, recording

_MESSAGING: Final = {"messaging.system": "kontor", "messaging.operation.type": "create"}


class Changes:
    """Writes the changes of one service."""

    def __init__(self, metadata: sa.MetaData) -> None:
        table = metadata.tables["change_pending"]
        names = [column.name for column in table.c if column.name not in ("sequence", "create_time")]
        self._insert = Statement(
            # Inline: nobody asks for the sequence number, which would come back otherwise.
            table.insert().inline().values({name: sa.bindparam(name, type_=table.c[name].type) for name in names})
        )

    def record(
        self, tx: Transaction, call: Call, event_type: str, *, before: Message | None, after: Message, version: int
    ) -> None:
        """Queue the change of a record, whose row the transaction has locked or is about to insert."""
        principal = call.principal
        if recording.recorder is not None:
            told = call.trace.below(change_span(after.name, version, event_type))  # type: ignore[attr-defined]
            record(told, f"create {event_type}", SpanKind.PRODUCER, time.time_ns(), _MESSAGING)
        tx.defer(
            self._insert,
            {
                "tenant_id": tx.tenant_id,
                "resource_name": after.name,  # type: ignore[attr-defined]
                "version": version,
                "event_type": event_type,
                "before": before.SerializeToString() if before is not None else None,
                "after": after.SerializeToString(),
                "subject": principal.subject if principal else "",
                "actor": principal.actor if principal else None,
                "client_id": principal.client_id if principal else None,
                "peer": call.peer,
                "request_id": call.request_id or None,
                "trace_id": call.trace.trace_id,
            },
        )
