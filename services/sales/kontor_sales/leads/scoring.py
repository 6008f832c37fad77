"""How leads get their scores: when they change, when the rules do, and as time passes."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from kontor.sales.v1 import lead_service_pb2
from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import uuid7
from kontor_sales.lead_conditions import rules as conditions
from kontor_sales.lead_score_rules import rules
from kontor_sales.lead_score_rules.table import active_rules
from kontor_sales.leads.table import lead_events, score_refreshes

MAX_EVENTS: Final = 1000
"""So many events of a lead count, the latest ones."""

_LEAD: Final = sa.bindparam("lead", type_=sa.Uuid)
_EVENTS: Final = Statement(
    sa.select(lead_events.c.event_type, lead_events.c.event_time)
    .where(lead_events.c.tenant_id == TENANT, lead_events.c.lead == _LEAD)
    .order_by(lead_events.c.event_time.desc())
    .limit(MAX_EVENTS)
)
_ADD_EVENT: Final = Statement(
    lead_events.insert().values({column.name: sa.bindparam(column.name, type_=column.type) for column in lead_events.c})
)
_upsert = insert(score_refreshes).values(
    {column.name: sa.bindparam(column.name, type_=column.type) for column in score_refreshes.c}
)
_SCHEDULE: Final = Statement(
    _upsert.on_conflict_do_update(index_elements=["tenant_id", "lead"], set_={"due_time": _upsert.excluded.due_time})
)
_FORGET: Final = Statement(
    score_refreshes.delete().where(score_refreshes.c.tenant_id == TENANT, score_refreshes.c.lead == _LEAD)
)


@dataclass
class _Known:
    """What is known in one transaction."""

    rules: list[rules.Rule]
    due: dict[str, dt.datetime | None] = field(default_factory=dict)
    """When to look again, by the name of the lead; by nothing for a new one."""


class Scoring:
    """Scores leads by the rules of their tenant."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Transaction, _Known] = WeakKeyDictionary()

    def score(self, tx: Transaction, lead: Any, id: uuid.UUID | None, now: dt.datetime) -> None:
        """Set the score of a lead, which has no `id` yet where it is new."""
        parts = self.parts(tx, lead, id, now)
        total, groups = rules.total(parts), rules.by_group(parts)
        self._of(tx).due[lead.name] = rules.next_look(self._of(tx).rules, parts, now)
        if (total, groups) != (lead.score, [(each.group, each.score) for each in lead.group_scores]):
            lead.score = total
            lead.ClearField("group_scores")
            for group, points in groups:
                lead.group_scores.add(group=group, score=points)
            lead.score_time = now

    def parts(self, tx: Transaction, lead: Any, id: uuid.UUID | None, at: dt.datetime) -> list[rules.Part]:
        """Return what the score of a lead at a time is made of."""
        used = self._of(tx).rules
        events: Sequence[rules.Event] = ()
        if id is not None and any(rule.event_type for rule in used):
            rows = tx.run(_EVENTS, {"tenant": tx.tenant_id, "lead": id})
            events = [rules.Event(*row) for row in rows]
        created = lead.create_time.ToDatetime(dt.UTC) if id is not None else at
        return rules.parts(used, lead, created, events, at)

    def explained(self, tx: Transaction, lead: Any, id: uuid.UUID, at: dt.datetime) -> Any:
        """Return what the score of a lead at a time is made of, as the message that explains it."""
        parts = self.parts(tx, lead, id, at)
        response = lead_service_pb2.ExplainLeadScoreResponse(score=rules.total(parts), evaluation_time=at)
        for group, points in rules.by_group(parts):
            response.group_scores.add(group=group, score=points)
        for part in parts:
            response.parts.add(
                rule=part.rule.name,
                display_name=part.rule.display_name,
                group=part.rule.group,
                points=part.rule.points,
                event_time=part.since,
                age_days=part.age_days,
                decayed_points=part.points,
            )
        return response

    def add_event(self, tx: Transaction, id: uuid.UUID, event_type: str, time: dt.datetime) -> None:
        """Queue an event of a lead."""
        values = {"tenant_id": tx.tenant_id, "lead": id, "id": uuid7(), "event_type": event_type, "event_time": time}
        tx.defer(_ADD_EVENT, values)

    def schedule(self, tx: Transaction, id: uuid.UUID, known_as: str) -> None:
        """Queue when the score of a lead is looked at again, where it was scored in this transaction."""
        known = self._of(tx)
        if known_as not in known.due:
            return
        due = known.due.pop(known_as)
        if due is not None:
            tx.defer(_SCHEDULE, {"tenant_id": tx.tenant_id, "lead": id, "due_time": due})
        elif known_as:
            self.forget(tx, id)

    def forget(self, tx: Transaction, id: uuid.UUID) -> None:
        """Queue that the score of a lead is not looked at again."""
        tx.defer(_FORGET, {"tenant": tx.tenant_id, "lead": id})

    def _of(self, tx: Transaction) -> _Known:
        known = self._known.get(tx)
        if known is None:
            known = self._known[tx] = _Known([_rule(message) for message in active_rules(tx)])
        return known


def _rule(message: Any) -> rules.Rule:
    start, end = (
        getattr(message, name).ToDatetime(dt.UTC) if message.HasField(name) else None
        for name in ("start_time", "end_time")
    )
    return rules.Rule(
        message.name,
        message.display_name,
        message.points,
        event_type=message.event_type,
        repeatable=message.repeatable,
        group=message.group,
        half_life_days=message.half_life_days,
        start=start,
        end=end,
        fits=partial(conditions.hold, list(message.conditions)),
    )
