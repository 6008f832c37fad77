"""What is known of the accounts that somebody could visit."""

from __future__ import annotations

import datetime as dt
import uuid
import zoneinfo
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from kontor_kit.db import Row, Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.principals import Principal, Scope
from kontor_kit.scopes import OwnerScope, parameters
from kontor_sales.absences.table import absences
from kontor_sales.activities.rules import PLANNED, TASK
from kontor_sales.activities.table import activities
from kontor_sales.opportunities.table import opportunities
from kontor_sales.territories import rules as territories
from kontor_sales.territories.table import live_territories
from kontor_sales.visits import rules
from kontor_sales.visits.rules import ANY, SOON, VISIT, Candidate
from kontor_sales.visits.table import CARE_CADENCE, account_facts, care_cadences, care_clocks

MOST: Final = 2000
"""So many accounts of a user, or of a place, are looked at."""
OPEN: Final = 1
"""As Opportunity.State."""
_LAST: Final = "\U0010ffff"
_READ: Final = ("contacts.accounts.read", "sales.opportunities.read", "sales.activities.read")
_USER: Final = sa.bindparam("user", type_=sa.Uuid)
_IDS: Final = sa.bindparam("ids", type_=ARRAY(sa.Uuid))
_DAY: Final = sa.bindparam("day", type_=sa.Date)
_FROM, _TO = (sa.bindparam(name, type_=sa.DateTime(timezone=True)) for name in ("from", "to"))


def _as_far_as(table: sa.Table, select: sa.Select[Any]) -> dict[Scope, Statement]:
    """Return the statement that finds what whoever asks may read of it, by how far that right reaches."""
    clauses = {scope: OwnerScope().clause(scope, table) for scope in Scope}
    return {scope: Statement(select if clause is None else select.where(clause)) for scope, clause in clauses.items()}


_f = account_facts.c
_FACTS: Final = sa.select(
    *(_f.account, _f.display_name, _f.tier, _f.role, _f.region_code, _f.postal_code, _f.industry, _f.employee_count)
).where(_f.tenant_id == TENANT, _f.live)
_OWN: Final = _as_far_as(account_facts, _FACTS.where(_f.owner == _USER).order_by(_f.account).limit(MOST))
_NAMED: Final = Statement(_FACTS.where(_f.account == sa.any_(_IDS)))
_region = sa.bindparam("region", type_=_f.region_code.type)
_IN_COUNTRY: Final = Statement(_FACTS.where(_f.region_code == _region).order_by(_f.postal_code, _f.account).limit(MOST))
_IN_PLACE: Final = Statement(
    _FACTS.where(
        _f.region_code == _region,
        _f.postal_code >= sa.bindparam("low", type_=_f.postal_code.type),
        _f.postal_code < sa.bindparam("high", type_=_f.postal_code.type),
    )
    .order_by(_f.postal_code, _f.account)
    .limit(MOST)
)
_CADENCES: Final = Statement(
    sa.select(*CARE_CADENCE.codec.columns()).where(
        care_cadences.c.tenant_id == TENANT, care_cadences.c.delete_time.is_(None)
    )
)
_CLOCKS: Final = Statement(
    sa.select(care_clocks.c.account, care_clocks.c.channel, care_clocks.c.last_time).where(
        care_clocks.c.tenant_id == TENANT,
        care_clocks.c.account == sa.any_(_IDS),
        care_clocks.c.channel == sa.any_(sa.literal([ANY, VISIT], ARRAY(sa.SmallInteger))),
    )
)
_CLOSING: Final = _as_far_as(
    opportunities,
    sa.select(opportunities.c.account, opportunities.c.close_date).where(
        opportunities.c.tenant_id == TENANT,
        opportunities.c.owner == _USER,
        opportunities.c.state == OPEN,
        opportunities.c.account.is_not(None),
        opportunities.c.close_date <= _DAY,
        opportunities.c.delete_time.is_(None),
    ),
)
_mine = (activities.c.tenant_id == TENANT, activities.c.owner == _USER, activities.c.delete_time.is_(None))
_TASKS: Final = _as_far_as(
    activities,
    sa.select(activities.c.account, sa.func.count())
    .where(
        *_mine,
        activities.c.type == TASK,
        activities.c.state == PLANNED,
        activities.c.due_date < _DAY,
        activities.c.account.is_not(None),
        # When it is due is when it stands in the agenda; the index has that.
        activities.c.agenda_time < _TO,
    )
    .group_by(activities.c.account),
)
_PLANNED: Final = Statement(
    sa.select(activities.c.account, activities.c.start_time).where(
        *_mine,
        activities.c.type == VISIT,
        activities.c.state == PLANNED,
        activities.c.agenda_time >= _FROM,
    )
)
_AWAY: Final = Statement(
    sa.select(absences.c.start_time, absences.c.end_time).where(
        absences.c.tenant_id == TENANT,
        absences.c.user == _USER,
        absences.c.delete_time.is_(None),
        absences.c.start_time < _TO,
        sa.or_(absences.c.end_time.is_(None), absences.c.end_time > _FROM),
    )
)


@dataclass(slots=True)
class Placed:
    """What is known of an account, as territories look at it."""

    account: uuid.UUID
    display_name: str
    tier: int
    role: int
    region_code: str
    postal_code: str
    industry: str
    employee_count: int


class Period(NamedTuple):
    """The days of a plan, in a time zone."""

    start: dt.date
    end: dt.date
    zone: zoneinfo.ZoneInfo

    def times(self) -> tuple[dt.datetime, dt.datetime]:
        """Return when the first day begins and the last one ends, in UTC."""
        first = dt.datetime.combine(self.start, dt.time(), self.zone)
        after = dt.datetime.combine(self.end + dt.timedelta(days=1), dt.time(), self.zone)
        return first.astimezone(dt.UTC), after.astimezone(dt.UTC)


def live_cadences(tx: Transaction) -> list[Any]:
    """Return the tenant's cadences, as messages."""
    load = CARE_CADENCE.codec.loader()
    return [load(row) for row in tx.run(_CADENCES, {"tenant": tx.tenant_id})]


def gather(
    tx: Transaction, principal: Principal, user: uuid.UUID, period: Period, weekdays: Iterable[int], *, per_day: int
) -> tuple[list[Candidate], dict[dt.date, int]]:
    """Return the accounts that a user could visit, and how many visits fit into each day.

    Accounts are those that the user owns, those in the user's territories, and those that the user has opportunities
    or tasks with; but for territories, as far as `principal` may read. Who has a visit planned already is none.
    """
    start, end = period.times()
    values = {**parameters(principal), "user": user, "day": period.start + SOON, "from": start, "to": end}
    # Everybody may look at what is their own, as far as it is about their visits.
    accounts, deals, tasks = (principal.scope(permission) or Scope.OWN for permission in _READ)
    own, closing, overdue, planned, away = tx.run_all(
        [
            (_OWN[accounts], values),
            (_CLOSING[deals], values),
            (_TASKS[tasks], {**values, "day": period.start, "to": start}),
            (_PLANNED, values),
            (_AWAY, values),
        ]
    )
    home = _at_home(tx, user)
    known = {placed.account: placed for placed in map(_placed, own)} | {one.account: one for one, _ in home.values()}
    more = [account for account in {row[0] for row in (*closing, *overdue)} if account not in known]
    known |= {placed.account: placed for placed in map(_placed, tx.run(_NAMED, {**values, "ids": more}))}
    for account in {row[0] for row in planned}:
        known.pop(account, None)
    due = _due(tx, known, period.zone)
    closes: dict[uuid.UUID, list[dt.date]] = {}
    for account, day in closing:
        closes.setdefault(account, []).append(day)
    tasks_of = {row[0]: row[1] for row in overdue}
    candidates = [
        Candidate(
            account=f"accounts/{account}",
            display_name=placed.display_name,
            due=due[account][0],
            days=due[account][1],
            closing=tuple(sorted(closes.get(account, ()))),
            overdue_tasks=tasks_of.get(account, 0),
            territory=home[account][1] if account in home else "",
            area=rules.area(placed.region_code, placed.postal_code),
        )
        for account, placed in known.items()
    ]
    taken = _taken(planned, away, period, per_day)
    return candidates, rules.room(period.start, period.end, frozenset(weekdays), per_day, taken)


def _due(
    tx: Transaction, known: Mapping[uuid.UUID, Placed], zone: dt.tzinfo
) -> dict[uuid.UUID, tuple[dt.date | None, int]]:
    """Return when the next visit of each account is due, and after how many days it is; None and 0 where none is."""
    clocks = {(row[0], row[1]): row[2] for row in tx.run(_CLOCKS, {"tenant": tx.tenant_id, "ids": list(known)})}
    cadences = live_cadences(tx)
    found: dict[uuid.UUID, tuple[dt.date | None, int]] = {}
    for account, placed in known.items():
        channel, days = rules.visit_days(rules.fitting(cadences, placed.tier, placed.role))
        last = clocks.get((account, channel))
        due = (last + dt.timedelta(days=days)).astimezone(zone).date() if days and last is not None else None
        found[account] = (due, days)
    return found


def _taken(planned: Sequence[Row], away: Sequence[Row], period: Period, per_day: int) -> dict[dt.date, int]:
    """Return how many visits each day has no room for: those that are planned, and all where the user is away."""
    taken = Counter(row[1].astimezone(period.zone).date() for row in planned if row[1] is not None)
    for begin, end in away:
        day = max(begin.astimezone(period.zone).date(), period.start)
        while day <= period.end and (end is None or dt.datetime.combine(day, dt.time(), period.zone) < end):
            taken[day] += per_day
            day += dt.timedelta(days=1)
    return dict(taken)


def _at_home(tx: Transaction, user: uuid.UUID) -> dict[uuid.UUID, tuple[Placed, str]]:
    """Return the accounts in territories that the user is a member of, each with what the closest one is called."""
    every = live_territories(tx)
    mine = {territory.name for territory in every if f"users/{user}" in territory.members}
    places = {
        (area.region_code, prefix)
        for territory in every
        if territory.name in mine
        for area in territory.areas
        for prefix in (area.postal_prefixes or ("",))
    }
    statements = [
        (_IN_PLACE if prefix else _IN_COUNTRY, {"tenant": tx.tenant_id, **_place(region, prefix)})
        for region, prefix in sorted(places)
    ]
    found = [_placed(row) for rows in (tx.run_all(statements) if statements else ()) for row in rows]
    home: dict[uuid.UUID, tuple[Placed, str]] = {}
    for placed in found:
        fits = [one for one in territories.matching(every, placed) if one.name in mine]
        if fits:
            home[placed.account] = (placed, fits[0].display_name)
    return home


def _place(region: str, prefix: str) -> dict[str, str]:
    return {"region": region, "low": prefix, "high": prefix + _LAST}


def _placed(row: Row) -> Placed:
    account, display_name, tier, role, region, code, industry, employees = row[:8]
    return Placed(account, display_name, tier, role, region or "", code or "", industry or "", employees)
