"""Whoever is shut out gets no more leads: rules, territories and forms name them no longer."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from kontor.identity.v1 import user_pb2
from kontor_kit import handing_over
from kontor_kit.db import Statement
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name
from kontor_kit.inbox.events import Event, Handlers
from kontor_kit.inbox.handling import Work
from kontor_kit.principals import Scope
from kontor_sales.lead_assignment_rules.table import lead_assignment_rules
from kontor_sales.lead_forms.table import lead_forms
from kontor_sales.territories.table import territories

_USER: Final = sa.bindparam("user", type_=sa.Uuid)
_MEMBER: Final = sa.func.jsonb_build_object(
    sa.literal_column("'user'", sa.Text), sa.literal_column("'users/'", sa.Text) + sa.cast(_USER, sa.Text)
)


def _naming(table: sa.Table, condition: sa.ColumnElement[bool]) -> Statement:
    # Deleted ones too: they may come back.
    return Statement(sa.select(table.c.id).where(table.c.tenant_id == TENANT, condition).order_by(table.c.id))


_NAMING: Final = {
    "leadAssignmentRules": _naming(
        lead_assignment_rules, lead_assignment_rules.c.members.op("@>")(sa.func.jsonb_build_array(_MEMBER))
    ),
    "leadForms": _naming(lead_forms, lead_forms.c.lead_owner == _USER),
    "territories": _naming(territories, sa.any_(territories.c.members) == _USER),
}


def declare(handlers: Handlers) -> None:
    """Declare the handler of users."""
    handing_over.on_shut_out(handlers, user_pb2.User)(leave)


def leave(event: Event, work: Work) -> None:
    """Take a user who is shut out from wherever leads are given to them."""
    if not handing_over.is_shut_out(event, event.record(user_pb2.User())):
        return
    values = {"tenant": event.tenant_id, "user": parse_name(event.resource_name, "users/{user}", "user")}
    for collection, naming in _NAMING.items():
        records = work.service[collection]
        call = records.own_call(work.tx, work.trace)
        ids = [row[0] for row in work.tx.run(naming, values)]
        for locked in records.store.lock(work.tx, records.reach(call), Scope.ALL, ids).values():
            after = type(locked.message)()
            after.CopyFrom(locked.message)
            _take_out(after, event.resource_name)
            records.put(work.tx, call, locked, after, "updated")


def _take_out(record: Any, user: str) -> None:
    if "lead_owner" in record.DESCRIPTOR.fields_by_name:
        record.ClearField("lead_owner")
        return
    others = [member for member in record.members if getattr(member, "user", member) != user]
    del record.members[:]
    record.members.extend(others)
