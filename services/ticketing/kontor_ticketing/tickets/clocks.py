"""The clocks of tickets: what is promised for a ticket, how far it is kept, and when there is something to tell of it."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final
from weakref import WeakKeyDictionary

from kontor.ticketing.v1 import sla_clock_pb2
from kontor_kit.db import Transaction
from kontor_kit.ids import parse_name
from kontor_ticketing.sla_policies import rules
from kontor_ticketing.sla_policies.table import SLA_POLICY, live_policies, load_version

_CHOOSING: Final = ("type", "priority", "queue", "account", "tags")
"""The fields that policies ask for."""
_KNOWN: Final = 10_000
_INTERVALS: Final = 500
_STORED: Final = ("warned_time", "escalated_time")
"""What cannot be worked out from the history."""


class Clocks:
    """Winds the clocks of tickets."""

    def __init__(self) -> None:
        # Versions of policies never change.
        self._versions: dict[tuple[uuid.UUID | None, uuid.UUID, int], rules.Version] = {}
        self._policies: WeakKeyDictionary[Transaction, list[Any]] = WeakKeyDictionary()

    def follow(self, tx: Transaction, before: Any | None, after: Any, now: dt.datetime) -> None:
        """Write what is promised for a ticket that is to be stored, and how its clocks stand, where it changed."""
        if before is not None and (after == before or before.HasField("delete_time")):
            return
        self._agree(tx, before, after, now)
        self.wind(tx, after, now)

    def wind(self, tx: Transaction, ticket: Any, now: dt.datetime) -> None:
        """Write how the clocks of a ticket stand, and when there is something to tell of them."""
        stored = {clock.metric: clock for clock in type(ticket)(clocks=ticket.clocks).clocks}
        history = self.history(tx, ticket)
        ticket.ClearField("clocks")
        ticket.ClearField("next_due_time")
        for metric in rules.METRICS:
            if (clock := rules.run(metric, history, now)) is not None:
                _write(ticket.clocks.add(), clock, stored.get(metric))
        moments = [moment for clock in ticket.clocks for moment in _to_tell(clock)]
        if moments and ticket.category != rules.CLOSED:
            ticket.next_due_time.CopyFrom(min(moments, key=lambda moment: moment.ToNanoseconds()))

    def tell(self, tx: Transaction, ticket: Any, now: dt.datetime) -> str:
        """Return one thing that happened to a ticket's clocks until now and was not told, written down; else nothing."""
        self.wind(tx, ticket, now)
        for clock in ticket.clocks:
            if clock.state == rules.BREACHED and not clock.HasField("escalated_time"):
                clock.escalated_time.FromDatetime(now)
                event = "breached"
            elif clock.state == rules.RUNNING and not clock.HasField("warned_time") and _is_past(clock, now):
                clock.warned_time.FromDatetime(now)
                event = "due_soon"
            else:
                continue
            self.wind(tx, ticket, now)
            return event
        return ""

    def explain(self, tx: Transaction, ticket: Any, request: Any, now: dt.datetime) -> Any:
        """Return how a deadline of a ticket comes about, as an ExplainDeadlineResponse."""
        answer = sla_clock_pb2.ExplainDeadlineResponse(terms=ticket.sla_terms)
        self.wind(tx, ticket, now)
        clock = next((clock for clock in ticket.clocks if clock.metric == request.metric), None)
        if clock is None:
            return answer
        answer.clock.CopyFrom(clock)
        until = now
        if clock.HasField("stop_time"):
            until = clock.stop_time.ToDatetime(dt.UTC)
        elif clock.state == rules.RUNNING and clock.HasField("due_time"):
            until = clock.due_time.ToDatetime(dt.UTC)
        start = request.start_time.ToDatetime(dt.UTC) if request.HasField("start_time") else None
        for interval in rules.explain(request.metric, self.history(tx, ticket), until):
            if start is not None and interval.end <= start:
                continue
            if len(answer.intervals) == _INTERVALS:
                answer.next_start_time.CopyFrom(answer.intervals[-1].end_time)
                break
            added = answer.intervals.add(counted=interval.counted, reason=interval.reason, rule=interval.rule)
            added.start_time.FromDatetime(interval.start)
            added.end_time.FromDatetime(interval.end)
            added.elapsed.FromTimedelta(interval.elapsed)
        return answer

    def history(self, tx: Transaction, ticket: Any) -> rules.History:
        """Return what the clocks of a ticket look at."""
        return rules.History(
            spans=[(span.category, span.start_time.ToDatetime(dt.UTC)) for span in ticket.category_spans],
            terms=[
                rules.Terms(terms.since_time.ToDatetime(dt.UTC), terms.priority, self._version(tx, terms))
                for terms in ticket.sla_terms
            ],
            answer=ticket.first_answer_time.ToDatetime(dt.UTC) if ticket.HasField("first_answer_time") else None,
            merged=bool(ticket.merged_into),
        )

    def reapply(self, tx: Transaction, ticket: Any, policy: str, now: dt.datetime) -> bool:
        """Promise a ticket what a policy says now if it concerns it; return whether that is something else."""
        chosen = rules.choose(self._live(tx), ticket)
        held = ticket.sla_terms[-1].policy if ticket.sla_terms else ""
        if policy not in (held, chosen.name if chosen is not None else ""):
            return False
        return _promise(ticket, _terms(ticket, chosen), now)

    def _agree(self, tx: Transaction, before: Any | None, after: Any, now: dt.datetime) -> None:
        """Let the policy hold that fits; of the one that held already the same version."""
        if before is not None and all(getattr(before, field) == getattr(after, field) for field in _CHOOSING):
            return
        terms = _terms(after, rules.choose(self._live(tx), after))
        if after.sla_terms and after.sla_terms[-1].policy == terms.policy:
            terms.policy_version = after.sla_terms[-1].policy_version
        _promise(after, terms, now)

    def _live(self, tx: Transaction) -> list[Any]:
        if tx not in self._policies:
            self._policies[tx] = live_policies(tx)
        return self._policies[tx]

    def _version(self, tx: Transaction, terms: Any) -> rules.Version | None:
        if not terms.policy:
            return None
        key = (tx.tenant_id, parse_name(terms.policy, SLA_POLICY.pattern, "policy"), terms.policy_version)
        found = self._versions.get(key)
        if found is None:
            if len(self._versions) >= _KNOWN:
                self._versions.clear()
            found = self._versions[key] = load_version(tx, key[1], key[2])
        return found


def _terms(ticket: Any, policy: Any | None) -> Any:
    terms = sla_clock_pb2.SlaTerms(priority=ticket.priority)
    if policy is not None:
        terms.policy, terms.policy_version = policy.name, policy.policy_version
    return terms


def _promise(ticket: Any, terms: Any, now: dt.datetime) -> bool:
    """Let terms hold from now on, or from the beginning where they are the first; return whether they are others."""
    if ticket.sla_terms:
        last = ticket.sla_terms[-1]
        terms.since_time.CopyFrom(last.since_time)
        if terms == last:
            return False
        terms.since_time.FromDatetime(max(last.since_time.ToDatetime(dt.UTC), now))
    else:
        terms.since_time.CopyFrom(ticket.category_spans[0].start_time)
    ticket.sla_terms.append(terms)
    return True


def _write(message: Any, clock: rules.Clock, stored: Any | None) -> None:
    if stored is not None and stored.HasField("breached_time") and clock.breached is None:
        # The clock of another server was a little ahead: what was missed stays missed.
        missed = stored.breached_time.ToDatetime(dt.UTC)
        clock = replace(clock, state=rules.BREACHED, due=missed, due_soon=None, breached=missed)
    message.metric, message.state = clock.metric, clock.state
    message.start_time.FromDatetime(clock.start)
    message.elapsed.FromTimedelta(clock.elapsed)
    if clock.target is not None:
        message.target.FromTimedelta(clock.target)
    moments = {
        "due_time": clock.due,
        "due_soon_time": clock.due_soon,
        "stop_time": clock.stop,
        "breached_time": clock.breached,
    }
    for field, moment in moments.items():
        if moment is not None:
            getattr(message, field).FromDatetime(moment)
    for field in _STORED:
        if stored is not None and stored.HasField(field):
            getattr(message, field).CopyFrom(getattr(stored, field))


def _to_tell(clock: Any) -> Iterator[Any]:
    """Yield when there is something to tell of a clock: that its time runs out soon, or has run out."""
    if clock.state == rules.BREACHED and not clock.HasField("escalated_time"):
        yield clock.breached_time
    if clock.state == rules.RUNNING:
        if clock.HasField("due_soon_time") and not clock.HasField("warned_time"):
            yield clock.due_soon_time
        if clock.HasField("due_time"):
            yield clock.due_time


def _is_past(clock: Any, now: dt.datetime) -> bool:
    return clock.HasField("due_soon_time") and bool(clock.due_soon_time.ToDatetime(dt.UTC) <= now)
