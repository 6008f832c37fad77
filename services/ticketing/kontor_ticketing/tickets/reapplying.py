"""The operation that promises tickets anew what a policy says now."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from kontor.ticketing.v1 import sla_policy_service_pb2
from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.operations.work import Work
from kontor_kit.records import Records
from kontor_ticketing.ticket_states.rules import LIVE, SOLVED
from kontor_ticketing.tickets.clocks import Clocks
from kontor_ticketing.tickets.table import tickets

NOT_CLOSED: Final = 2
"""As ReapplySlaPolicyRequest.Tickets."""
_BATCH: Final = 200

# In the order of their ids, so that none is passed over that changes its category meanwhile.
_NEXT: Final = Statement(
    sa.select(tickets.c.id)
    .where(
        tickets.c.tenant_id == TENANT,
        tickets.c.id > sa.bindparam("last", type_=sa.Uuid),
        tickets.c.category == sa.any_(sa.bindparam("categories", type_=ARRAY(sa.SmallInteger))),
        tickets.c.delete_time.is_(None),
    )
    .order_by(tickets.c.id)
    .limit(_BATCH)
)


def reapply(records: Records, clocks: Clocks, work: Work) -> Any:
    """Promise the tickets of an operation's tenant anew, or count them; return what became of it."""
    categories = [*LIVE, *([SOLVED] if work.request.tickets == NOT_CLOSED else [])]
    last, seen, changed = uuid.UUID(int=0), 0, 0
    if work.checkpoint:
        last, seen, changed = uuid.UUID(work.checkpoint["last"]), work.checkpoint["seen"], work.checkpoint["changed"]
    while True:
        work.check()
        with work.write() as tx:
            rows = tx.run(_NEXT, {"tenant": tx.tenant_id, "last": last, "categories": categories})
            if not rows:
                return sla_policy_service_pb2.ReapplySlaPolicyResponse(ticket_count=seen, changed_count=changed)
            ids = [row[0] for row in rows]
            changed += _reapply(records, clocks, work, tx, ids)
            last, seen = ids[-1], seen + len(ids)
            work.save(tx, {"last": str(last), "seen": seen, "changed": changed}, done=seen)


def _reapply(records: Records, clocks: Clocks, work: Work, tx: Transaction, ids: list[uuid.UUID]) -> int:
    call, now = records.own_call(tx, work.trace), dt.datetime.now(dt.UTC)
    found = records.store.get(tx, records.reach(call), ids)
    concerned = [id for id, ticket in found.items() if clocks.reapply(tx, ticket, work.request.name, now)]
    if work.request.preview:
        return len(concerned)
    changed = 0
    # Only these are locked, and looked at again: somebody may have been faster.
    for locked in records.store.lock(tx, records.reach(call), records.scope(call), concerned).values():
        after = type(locked.message)()
        after.CopyFrom(locked.message)
        if after.category in (*LIVE, SOLVED) and clocks.reapply(tx, after, work.request.name, now):
            clocks.wind(tx, after, now)
            records.put(tx, call, locked, after, "promised_anew")
            changed += 1
    return changed
