"""What belongs to a ticket and goes with it where the ticket is merged into another one."""

from __future__ import annotations

import sqlalchemy as sa

from kontor_kit.calls import Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name
from kontor_kit.principals import Principal, Scope
from kontor_kit.records import Records
from kontor_kit.store import Reach
from kontor_ticketing.tickets.table import TICKET


class Belongings:
    """Knows the kinds of records that name their ticket."""

    def __init__(self) -> None:
        self._kinds: list[tuple[Records, Statement]] = []

    def add(self, records: Records) -> None:
        """Have records of a kind moved, told by the event `moved`; their table has the column `ticket`."""
        table = records.RESOURCE.table
        its = table.c.ticket == sa.bindparam("ticket", type_=sa.Uuid)
        self._kinds.append((records, Statement(sa.select(table.c.id).where(table.c.tenant_id == TENANT, its))))

    def move(self, tx: Transaction, call: Call, source: str, target: str) -> None:
        """Move all that belongs to the ticket `source` to the ticket `target`."""
        assert tx.tenant_id is not None, "a ticket belongs to a tenant"
        # What is internal or deleted too, whoever merges.
        everything = Reach(Principal.of_service("ticketing", tx.tenant_id), Scope.ALL)
        ticket = parse_name(source, TICKET.pattern, "ticket")
        for records, find in self._kinds:
            ids = [row[0] for row in tx.run(find, {"tenant": tx.tenant_id, "ticket": ticket})]
            for locked in records.store.lock(tx, everything, Scope.ALL, ids).values():
                after = type(locked.message)()
                after.CopyFrom(locked.message)
                after.ticket = target
                records.put(tx, call, locked, after, "moved")
