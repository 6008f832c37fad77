"""What a policy must be like, which one fits a ticket, and the clocks that count by it.

A clock is worked out anew from the whole history of a ticket whenever it is asked for: the categories it went through,
and the terms it was promised by, each from a moment on. So nothing that was counted or waited for is forgotten when terms
change; the target is that of the terms that hold, and what was missed under earlier ones stays missed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple

from kontor_kit.errors import Violation
from kontor_ticketing.working_calendars import rules as calendars
from kontor_ticketing.working_calendars.rules import NeverWorked, WorkingTime

FIRST_RESPONSE: Final = 1
RESOLUTION: Final = 2
METRICS: Final = (FIRST_RESPONSE, RESOLUTION)
"""As SlaClock.Metric."""
RUNNING: Final = 1
PAUSED: Final = 2
MET: Final = 3
BREACHED: Final = 4
CANCELLED: Final = 5
"""As SlaClock.State."""
PENDING: Final = 3
SOLVED: Final = 4
CLOSED: Final = 5
"""As TicketCategory."""
WAITED: Final = 6
WAS_SOLVED: Final = 7
"""As ExplainDeadlineResponse.Interval.Reason, besides those of calendars."""

_NONE: Final = dt.timedelta()
_CONDITIONS: Final = ("ticket_types", "priorities", "queues", "accounts", "tags")
_DONE: Final = frozenset((SOLVED, CLOSED))


@dataclass(frozen=True)
class Version:
    """A policy as it was at some time."""

    policy: str
    number: int
    display_name: str
    calendar: str
    """What the calendar is called; empty for around the clock."""
    working: WorkingTime
    targets: Mapping[int, Mapping[int, dt.timedelta]]
    """By priority (0 for all others) and metric."""
    warning_lead: dt.timedelta | None = None
    counts_pending: bool = False

    def target(self, priority: int, metric: int) -> dt.timedelta | None:
        """Return how much working time there is; None where nothing is promised."""
        own = self.targets.get(priority, self.targets.get(0))
        return own.get(metric) if own else None


class Terms(NamedTuple):
    """What a ticket was promised by, from a moment on."""

    since: dt.datetime
    priority: int
    version: Version | None
    """None where no policy fitted."""

    def target(self, metric: int) -> dt.timedelta | None:
        """Return how much working time there is; None where nothing is promised."""
        return self.version.target(self.priority, metric) if self.version else None


@dataclass(frozen=True)
class History:
    """What clocks look at. Spans and terms stand in their order; both begin with the ticket."""

    spans: Sequence[tuple[int, dt.datetime]]
    """The categories the ticket went through, and when it came into each."""
    terms: Sequence[Terms]
    answer: dt.datetime | None = None
    """When somebody first answered."""
    merged: bool = False
    """Whether the ticket was closed because it went into another one."""


@dataclass(frozen=True)
class Clock:
    """How far a promise is kept; as SlaClock."""

    metric: int
    state: int
    target: dt.timedelta | None
    start: dt.datetime
    due: dt.datetime | None
    due_soon: dt.datetime | None
    elapsed: dt.timedelta
    stop: dt.datetime | None
    breached: dt.datetime | None


class Piece(NamedTuple):
    """A part of a ticket's life in which neither category nor terms change."""

    start: dt.datetime
    end: dt.datetime
    category: int
    terms: Terms
    counted_by: Version
    """Whose working time counts: where no policy fitted, that of the next one that did."""

    def waits(self, metric: int) -> int:
        """Return the reason why no time counts; 0 where it does."""
        if self.category in _DONE:
            return WAS_SOLVED
        if self.category == PENDING and metric == RESOLUTION and not self.counted_by.counts_pending:
            return WAITED
        return 0


def run(metric: int, history: History, now: dt.datetime) -> Clock | None:
    """Return the clock as it stands; None where nothing was promised."""
    stop = stopped(metric, history)
    parts = list(pieces(history, now if stop is None else stop))
    if stop is not None:
        # What begins as the clock stops comes too late for it.
        parts = [part for part in parts if part.start < stop] or parts[:1]
    target = parts[-1].terms.target(metric) if parts else None
    elapsed, begun, breached = _NONE, _NONE, None
    for part in parts:
        begun = elapsed
        if not part.waits(metric):
            elapsed += calendars.between(part.counted_by.working, part.start, part.end)
            promised = part.terms.target(metric)
            if breached is None and promised is not None and elapsed >= promised:
                ran_out = _moment(part, promised - begun)
                breached = ran_out if ran_out is not None and ran_out < part.end else None
    if not parts or (target is None and breached is None):
        return None
    last = parts[-1]
    waits = bool(last.waits(metric))
    due: dt.datetime | None = None
    due_soon: dt.datetime | None = None
    if breached is not None:
        state, due = BREACHED, breached
    elif stop is not None:
        state = CANCELLED if _merged_at(history, stop) else MET
    else:
        state = PAUSED if waits else RUNNING
    if breached is None and target is not None and not waits:
        due = _moment(last, target - begun)
        lead = last.counted_by.warning_lead
        due_soon = None if lead is None else _moment(last, target - lead - begun)
    start = history.spans[0][1]
    return Clock(metric, state, target, start, due, due_soon, elapsed, stop, breached)


def stopped(metric: int, history: History) -> dt.datetime | None:
    """Return when what is promised was done, or not wanted any more; None where it is still to be done."""
    if metric == FIRST_RESPONSE:
        done = [since for category, since in history.spans if category in _DONE][:1]
        return min([*done, history.answer] if history.answer else done, default=None)
    since = None
    for category, began in reversed(history.spans):
        if category not in _DONE:
            break
        since = began
    return since


def pieces(history: History, until: dt.datetime) -> Iterator[Piece]:
    """Yield the parts of a ticket's life without gap, the last one with `until` as its end; none without any policy."""
    versions = [terms.version for terms in history.terms]
    if not any(versions):
        return
    moments = sorted({since for _, since in history.spans} | {terms.since for terms in history.terms[1:]})
    begun = [moment for moment in moments if moment <= until] or moments[:1]
    for start, end in pairwise((*begun, max(until, begun[-1]))):
        place = max((at for at, terms in enumerate(history.terms) if terms.since <= start), default=0)
        # Where no policy fitted, the next one that did says what counts, or else the last one before.
        counted_by = next(filter(None, (*versions[place:], *reversed(versions[:place]))))
        category = [category for category, since in history.spans if since <= start][-1]
        yield Piece(start, end, category, history.terms[place], counted_by)


class Explained(NamedTuple):
    """A span of time that a clock counted, or did not."""

    start: dt.datetime
    end: dt.datetime
    counted: bool
    reason: int
    rule: str
    elapsed: dt.timedelta
    """What had been counted at its end."""


def explain(metric: int, history: History, until: dt.datetime) -> Iterator[Explained]:
    """Yield intervals without gap from the start of a clock until `until`, each counted or not for one reason."""
    elapsed = _NONE
    for piece in pieces(history, until):
        by = piece.counted_by
        if reason := piece.waits(metric):
            rule = (
                f"PENDING pauses by {by.display_name}, version {by.number}"
                if reason == WAITED
                else "solved, and opened again"
            )
            if piece.start < piece.end:
                yield Explained(piece.start, piece.end, False, reason, rule, elapsed)
            continue
        for interval in calendars.intervals(by.working, piece.start, piece.end):
            elapsed += interval.end - interval.start if interval.counted else _NONE
            yield Explained(*interval[:4], interval.rule or by.calendar or "around the clock", elapsed)


def _merged_at(history: History, moment: dt.datetime) -> bool:
    return history.merged and history.spans[-1] == (CLOSED, moment)


def _moment(piece: Piece, worked: dt.timedelta) -> dt.datetime | None:
    """Return when so much has been worked since a piece began; None where that lies too far ahead."""
    try:
        return calendars.add(piece.counted_by.working, piece.start, worked)
    except NeverWorked:
        return None


def normalise(policy: Any) -> list[Violation]:
    """Bring a policy into its normal form, in place, and return what is wrong with it."""
    violations = []
    if not policy.display_name.strip():
        violations.append(Violation("display_name", "must not be blank"))
    policy.standard = not any(getattr(policy, field) for field in _CONDITIONS)
    seen: set[int] = set()
    for place, target in enumerate(policy.targets):
        if target.priority in seen:
            violations.append(Violation(f"targets[{place}].priority", "has a target already"))
        seen.add(target.priority)
        promised = targets_of(target)
        if not promised:
            violations.append(Violation(f"targets[{place}]", "must promise a first_response, a resolution or both"))
        elif len(promised) > 1 and promised[FIRST_RESPONSE] > promised[RESOLUTION]:
            violations.append(Violation(f"targets[{place}].first_response", "must not be longer than the resolution"))
    return violations


def targets_of(target: Any) -> dict[int, dt.timedelta]:
    """Return what a target promises, by metric."""
    fields = {FIRST_RESPONSE: "first_response", RESOLUTION: "resolution"}
    return {metric: getattr(target, name).ToTimedelta() for metric, name in fields.items() if target.HasField(name)}


def unreachable(policy: Any, working: WorkingTime, now: dt.datetime) -> list[Violation]:
    """Return which targets of a policy cannot be reached with a working time."""
    violations = []
    for place, target in enumerate(policy.targets):
        for metric, amount in targets_of(target).items():
            try:
                calendars.add(working, now, amount)
            except NeverWorked as error:
                field = "first_response" if metric == FIRST_RESPONSE else "resolution"
                violations.append(Violation(f"targets[{place}].{field}", f"cannot be reached: {error}"))
    return violations


def fits(policy: Any, ticket: Any) -> bool:
    """Whether a ticket meets all conditions of a policy."""
    wanted = (
        (policy.ticket_types, ticket.type),
        (policy.priorities, ticket.priority),
        (policy.queues, ticket.queue),
        (policy.accounts, ticket.account),
    )
    return all(not among or value in among for among, value in wanted) and (
        not policy.tags or not set(policy.tags).isdisjoint(ticket.tags)
    )


def choose(policies: Sequence[Any], ticket: Any) -> Any | None:
    """Return the first policy that fits a ticket, the standard one last; None where none does."""
    ordered = sorted(policies, key=lambda policy: (policy.standard, policy.order, policy.name))
    return next((policy for policy in ordered if fits(policy, ticket)), None)
