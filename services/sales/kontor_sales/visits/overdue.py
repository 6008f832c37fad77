"""Accounts that were not heard of for longer than the cadence allows, read from an index by kind of account."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.principals import Principal, Scope
from kontor_kit.scopes import SUBJECT, TEAMS, parameters
from kontor_sales.visits.rules import CareClass
from kontor_sales.visits.table import account_facts, care_clocks

_TIME: Final = sa.DateTime(timezone=True)
_OWNER: Final = sa.bindparam("owner", type_=sa.Uuid)


class Position(NamedTuple):
    """Where a page ends."""

    due: dt.datetime
    channel: int
    account: uuid.UUID


class Overdue(NamedTuple):
    """An account and what it was not heard by."""

    account: uuid.UUID
    display_name: str
    channel: int
    last: dt.datetime
    due: dt.datetime
    cadence: str


BEGINNING: Final = Position(dt.datetime(1900, 1, 1, tzinfo=dt.UTC), -1, uuid.UUID(int=0))


_kinds = (
    sa.func.unnest(*(sa.bindparam(name, type_=ARRAY(sa.Integer)) for name in ("channels", "tiers", "roles", "days")))
    .table_valued(*(sa.column(name, sa.Integer) for name in ("channel", "tier", "role", "days")))
    .render_derived(name="kinds")
)
_teams = sa.func.unnest(TEAMS).table_valued(sa.column("team", sa.Uuid)).render_derived(name="teams")
# Days of 24 hours, whatever clocks do: the order is that of the last times.
_interval = sa.func.make_interval(0, 0, 0, 0, _kinds.c.days * 24)
_SIZE: Final = sa.bindparam("size", type_=sa.Integer)


def _latest(whose: str) -> Any:
    """The longest overdue accounts of one kind, from the index."""
    clocks = care_clocks.c
    after = (
        sa.bindparam("after_due", type_=_TIME) - _interval,
        sa.bindparam("after_channel", type_=sa.SmallInteger),
        sa.bindparam("after_account", type_=sa.Uuid),
    )
    own = {
        "all": [],
        "owner": [clocks.owner == _OWNER],
        "team": [clocks.team == _teams.c.team],
        "owner in teams": [clocks.owner == _OWNER, sa.or_(clocks.owner == SUBJECT, clocks.team == sa.any_(TEAMS))],
    }[whose]
    return (
        sa.select(clocks.account, clocks.last_time)
        .where(
            clocks.tenant_id == TENANT,
            clocks.channel == _kinds.c.channel,
            clocks.tier == _kinds.c.tier,
            clocks.role == _kinds.c.role,
            clocks.last_time < sa.bindparam("now", type_=_TIME) - _interval,
            sa.tuple_(clocks.last_time, clocks.channel, clocks.account) > sa.tuple_(*after),
            *own,
        )
        .order_by(clocks.last_time, clocks.account)
        .limit(_SIZE)
        .lateral("latest")
    )


def _statement(whose: str) -> Statement:
    """For each kind of account its longest overdue ones; of these the longest overdue ones of all."""
    latest = _latest(whose)
    due = (latest.c.last_time + _interval).label("due")
    sources = _kinds.join(_teams, sa.true()) if whose == "team" else _kinds
    first = (
        sa.select(latest.c.account, _kinds.c.channel, latest.c.last_time, due, _kinds.c.tier, _kinds.c.role)
        .select_from(sources.join(latest, sa.true()))
        .order_by(due, _kinds.c.channel, latest.c.account)
        .limit(_SIZE)
        .subquery("first")
    )
    # What they are called is looked up for those few alone.
    known = (
        sa.select(account_facts.c.display_name)
        .where(account_facts.c.tenant_id == TENANT, account_facts.c.account == first.c.account)
        .scalar_subquery()
    )
    columns = (first.c.account, known, first.c.channel, first.c.last_time, first.c.due, first.c.tier, first.c.role)
    return Statement(sa.select(*columns))


_STATEMENTS: Final = {whose: _statement(whose) for whose in ("all", "owner", "team", "owner in teams")}


class Asked(NamedTuple):
    """What a caller asks for."""

    principal: Principal
    scope: Scope
    owner: uuid.UUID | None
    """Whose accounts; None for those of everybody in reach."""
    size: int
    after: Position = BEGINNING


def read(tx: Transaction, asked: Asked, classes: Sequence[CareClass], now: dt.datetime) -> list[Overdue]:
    """Return the first `size` overdue accounts behind a position, as far as the caller's permission reaches."""
    cadences = {(one.channel, one.tier, one.role): one.cadence for one in classes}
    values: dict[str, Any] = {
        **parameters(asked.principal),
        **{f"{name}s": [getattr(one, name) for one in classes] for name in ("channel", "tier", "role")},
        "days": [one.days for one in classes],
        "now": now,
        "size": asked.size,
        "after_due": asked.after.due,
        "after_channel": asked.after.channel,
        "after_account": asked.after.account,
    }
    statements = [(_STATEMENTS[whose], {**values, "owner": owner}) for whose, owner in _ways(asked)]
    if not classes or not statements:
        return []
    rows = {row[:5]: row for rows in tx.run_all(statements) for row in rows}
    found = [
        Overdue(account, name, channel, last, due, cadences[channel, tier, role])
        for account, name, channel, last, due, tier, role in rows.values()
    ]
    found.sort(key=lambda one: (one.due, one.channel, one.account))
    return found[: asked.size]


def _ways(asked: Asked) -> list[tuple[str, uuid.UUID | None]]:
    subject = asked.principal.subject_id
    if asked.scope is Scope.ALL:
        return [("all", None) if asked.owner is None else ("owner", asked.owner)]
    if asked.scope is Scope.OWN:
        return [("owner", subject)] if asked.owner in (None, subject) else []
    return [("owner", subject), ("team", None)] if asked.owner is None else [("owner in teams", asked.owner)]
