"""How leads get an owner: the first rule that fits chooses, and what it saw is kept with the lead.

The assignments of a tenant come one after the other, each in the transaction that stores the lead: so turns, credit and
quotas are right whoever else assigns at the same time.
"""

from __future__ import annotations

import datetime as dt
import uuid
import zoneinfo
from collections.abc import Iterator, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.requests import Requests
from kontor_sales.absences.table import who_is_away
from kontor_sales.lead_assignment_rules import rules
from kontor_sales.lead_assignment_rules.table import (
    LEAD_ASSIGNMENT_RULE,
    STATE_ACTIVE,
    assignment_turns,
    lead_assignment_rules,
)
from kontor_sales.lead_conditions import rules as conditions
from kontor_sales.leads.rules import OPEN
from kontor_sales.leads.table import leads
from kontor_sales.territories.rules import matching
from kontor_sales.territories.table import live_territories

_RULES: Final = Statement(
    sa.select(*LEAD_ASSIGNMENT_RULE.codec.columns())
    .where(
        lead_assignment_rules.c.tenant_id == TENANT,
        lead_assignment_rules.c.state == STATE_ACTIVE,
        lead_assignment_rules.c.delete_time.is_(None),
    )
    .order_by(lead_assignment_rules.c.priority, lead_assignment_rules.c.id)
)
_load_rule = LEAD_ASSIGNMENT_RULE.codec.loader()
_MEMBERS: Final = sa.bindparam("members", type_=ARRAY(sa.Uuid))
_TURNS: Final = Statement(
    sa.select(*(assignment_turns.c[name] for name in ("member", "turn", "credit", "day", "assigned"))).where(
        assignment_turns.c.tenant_id == TENANT,
        assignment_turns.c.rule == sa.bindparam("rule", type_=sa.Uuid),
        assignment_turns.c.member == sa.any_(_MEMBERS),
    )
)
_OPEN_LEADS: Final = Statement(
    sa.select(leads.c.owner, sa.func.count())
    .where(
        leads.c.tenant_id == TENANT,
        leads.c.owner == sa.any_(_MEMBERS),
        leads.c.state == sa.any_(sa.literal(list(OPEN), ARRAY(sa.SmallInteger))),
        leads.c.delete_time.is_(None),
    )
    .group_by(leads.c.owner)
)
_upsert = insert(assignment_turns).values(
    {column.name: sa.bindparam(column.name, type_=column.type) for column in assignment_turns.c}
)
_KEEP: Final = Statement(
    _upsert.on_conflict_do_update(
        index_elements=["tenant_id", "rule", "member"],
        set_={column.name: _upsert.excluded[column.name] for column in assignment_turns.c if not column.primary_key},
    )
)


def place(tx: Transaction, lead: Any) -> list[Any]:
    """Set the territories of a lead, and return them, the most specific one first."""
    found = matching(live_territories(tx), lead)
    lead.territories[:] = [territory.name for territory in found]
    return found


def assign(tx: Transaction, requests: Requests, lead: Any, now: dt.datetime) -> None:
    """Give a lead to whom the rules choose, and say why; who has it keeps it where they choose nobody."""
    territories = place(tx, lead)
    requests.serialise(tx, "leadAssignmentRules")
    fitting = [
        rule for row in tx.run(_RULES, {"tenant": tx.tenant_id})
        if conditions.hold((rule := _load_rule(row)).conditions, lead)
    ]  # fmt: skip
    lead.ClearField("assignment")
    lead.assignment.assign_time = now
    lead.assignment.reason = "no rule fits"
    for rule in fitting:
        for territory, members in _lists(rule, territories):
            if _choose(tx, lead, rule, members, now):
                lead.assignment.territory = territory
                if rule.team:
                    lead.team = rule.team
                return


def _lists(rule: Any, territories: Sequence[Any]) -> Iterator[tuple[str, list[Any]]]:
    """Yield territory and members, as often as somebody can be chosen from."""
    if rule.method != rules.TERRITORY:
        yield "", list(rule.members)
        return
    known = {member.user: member for member in rule.members}
    for territory in territories:
        if territory.members:
            member = type(rule).Member
            yield territory.name, [known.get(user) or member(user=user) for user in territory.members]


def _choose(tx: Transaction, lead: Any, rule: Any, members: list[Any], now: dt.datetime) -> bool:
    """Let a rule choose; tell whether it chose somebody."""
    rule_id, day = _id(rule.name), now.astimezone(zoneinfo.ZoneInfo(rule.time_zone or "UTC")).date()
    candidates = _candidates(tx, rule_id, members, day, now)
    choice = rules.choose(rule.method, candidates)
    said = lead.assignment
    said.rule, said.assignee = rule.name, choice.chosen
    said.reason = f"{choice.reason} ({rule.display_name})"
    del said.candidates[:]
    for candidate in candidates:
        standing = choice.standings[candidate.user]
        said.candidates.add(user=candidate.user, standing=standing, skipped_reason=candidate.skipped)
    if not choice.chosen:
        return False
    lead.owner = choice.chosen
    before = {candidate.user: candidate for candidate in candidates}
    for after in choice.after:
        if after != before[after.user]:
            values = {"turn": after.turn, "credit": after.credit, "day": day, "assigned": after.assigned_today}
            tx.defer(_KEEP, {"tenant_id": tx.tenant_id, "rule": rule_id, "member": _id(after.user), **values})
    return True


def _candidates(
    tx: Transaction, rule: uuid.UUID, members: list[Any], day: dt.date, now: dt.datetime
) -> list[rules.Candidate]:
    ids = [_id(member.user) for member in members]
    given = {"tenant": tx.tenant_id, "rule": rule, "members": ids}
    turns, counts = tx.run_all([(_TURNS, given), (_OPEN_LEADS, given)])
    known = {member: (turn, credit, assigned if then == day else 0) for member, turn, credit, then, assigned in turns}
    busy: dict[uuid.UUID, int] = dict(counts)
    away = who_is_away(tx, ids, now)
    found = []
    for id, member in zip(ids, members, strict=True):
        turn, credit, assigned = known.get(id, (0, 0, 0))
        found.append(
            rules.Candidate(
                member.user,
                capacity=member.capacity or 1,
                daily_quota=member.daily_quota,
                away=id in away,
                open_leads=busy.get(id, 0),
                assigned_today=assigned,
                turn=turn,
                credit=credit,
            )
        )
    return found


def _id(name: str) -> uuid.UUID:
    return uuid.UUID(name.rpartition("/")[2])
