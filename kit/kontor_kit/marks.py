"""Marks: a field that is true for one live record at most, of a tenant's or of those that agree in another field.

    DEFAULT = Mark(PIPELINE, "default")
    PRIMARY = Mark(AFFILIATION, "primary", among="contact")

Who is given the mark takes it from who had it: `take` is called where a record is prepared.
"""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from kontor_kit.calls import Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.principals import Scope
from kontor_kit.records import Records
from kontor_kit.resource import Resource
from kontor_kit.store import is_live


class Mark:
    """The mark `field` of a resource; of the records with one value of the field `among`, where that is given."""

    def __init__(self, resource: Resource, field: str, *, among: str = "") -> None:
        self._resource = resource
        self._field = field
        self._among = among
        table = resource.table
        marked = [table.c.tenant_id == TENANT, table.c[field], table.c.delete_time.is_(None)]
        if among:
            marked.append(table.c[among] == sa.bindparam("among", type_=table.c[among].type))
        self._marked = Statement(sa.select(table.c.id).where(*marked))

    def holders(self, tx: Transaction, record: Any = None) -> list[uuid.UUID]:
        """Return the id of the record that has the mark, of those that agree with `record`; nothing where none has."""
        values = {"tenant": tx.tenant_id, "among": self._value(record)}
        return [row[0] for row in tx.run(self._marked, values)]

    def serialise(self, records: Records, tx: Transaction, record: Any = None) -> None:
        """Let nobody else give the mark until the transaction ends."""
        records.shared.requests.serialise(tx, f"{self._resource.collection}/{self._field}/{self._value(record)}")

    def take(self, records: Records, tx: Transaction, call: Call, before: Any | None, after: Any) -> list[Any]:
        """Take the mark from whoever has it where `after` has it now and had not before; return those, as they were.

        The service does it, whether or not the caller may change those; the caller is who did it in their history.
        """
        if not getattr(after, self._field) or (before is not None and self._had(before, after)):
            return []
        self.serialise(records, tx, after)
        everything = records.reach(records.own_call(tx, call.trace))
        found = records.store.lock(tx, everything, Scope.ALL, self.holders(tx, after)).values()
        others = [locked for locked in found if locked.message.name != after.name]
        for locked in others:
            other = type(locked.message)()
            other.CopyFrom(locked.message)
            other.ClearField(self._field)
            records.put(tx, call, locked, other, "updated")
        return [locked.message for locked in others]

    def _had(self, before: Any, after: Any) -> bool:
        # A deleted record has it and holds it against nobody: another one may have it by now.
        return is_live(before) and getattr(before, self._field) and self._value(before) == self._value(after)

    def _value(self, record: Any) -> Any:
        dump = self._resource.codec.fields[self._among].dump if self._among else None
        return dump(record, self._among) if dump else None
