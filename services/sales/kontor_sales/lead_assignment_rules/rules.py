"""What an assignment rule must be like, and whom it chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final

from kontor_kit import normal_forms
from kontor_kit.errors import Violation
from kontor_sales.lead_conditions import rules as conditions

ROUND_ROBIN, LEAST_BUSY, WEIGHTED, TERRITORY = range(1, 5)
"""As LeadAssignmentRule.Method."""
STATE_ACTIVE: Final = 1
"""As LeadAssignmentRule.State."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A member of a rule, as the rule finds them."""

    user: str
    capacity: int = 1
    daily_quota: int = 0
    """0 for any number."""
    away: bool = False
    open_leads: int = 0
    assigned_today: int = 0
    turn: int = 0
    """When they had their last one: the larger, the later."""
    credit: int = 0
    """What capacity gave them and leads have not used up."""

    @property
    def skipped(self) -> str:
        """Why they cannot get a lead now; empty where they can."""
        if self.away:
            return "is away"
        if self.daily_quota and self.assigned_today >= self.daily_quota:
            return f"has had {self.assigned_today} today, which is all"
        return ""


@dataclass(frozen=True, slots=True)
class Choice:
    """Whom a rule chooses."""

    chosen: str
    """The user; empty where nobody can get it."""
    reason: str
    standings: dict[str, str]
    """What was compared, by user."""
    after: list[Candidate]
    """All candidates as they are when this lead is theirs."""


def normalise(rule: Any) -> list[Violation]:
    """Bring the message of an assignment rule into its normal form, in place, and return what is wrong with it."""
    found = conditions.check(rule.conditions)
    if not rule.display_name.strip():
        found.append(Violation("display_name", "must not be blank"))
    found += normal_forms.normalise_field(rule, "time_zone", normal_forms.time_zone)
    rule.state, rule.method = rule.state or STATE_ACTIVE, rule.method or ROUND_ROBIN
    seen: set[str] = set()
    for place, member in enumerate(rule.members):
        if member.user in seen:
            found.append(Violation(f"members[{place}].user", "is a member already"))
        seen.add(member.user)
    return found


def choose(method: int, candidates: Sequence[Candidate]) -> Choice:
    """Choose one of the candidates, who stand in the order of the rule; equal ones in that order too."""
    ready = [candidate for candidate in candidates if not candidate.skipped]
    standings = {candidate.user: _standing(method, candidate) for candidate in candidates}
    if not ready:
        return Choice("", "nobody can get a lead now", standings, list(candidates))
    after = {candidate.user: candidate for candidate in candidates}
    if method == WEIGHTED:
        # Smooth weighted round robin: everybody who is ready gets credit by capacity, the richest one pays for all.
        richer = [replace(candidate, credit=candidate.credit + candidate.capacity) for candidate in ready]
        after |= {candidate.user: candidate for candidate in richer}
        chosen = max(richer, key=lambda candidate: candidate.credit)
        standings |= {candidate.user: _standing(method, candidate) for candidate in richer}
        paid = replace(chosen, credit=chosen.credit - sum(candidate.capacity for candidate in ready))
        reason = "has the most credit, by capacity"
    elif method in (LEAST_BUSY, TERRITORY):
        chosen = paid = min(ready, key=lambda candidate: (_load(candidate), candidate.turn))
        reason = "has the fewest open leads for their capacity"
    else:
        chosen = paid = min(ready, key=lambda candidate: candidate.turn)
        reason = "is next in turn"
    last = max(candidate.turn for candidate in candidates)
    after[chosen.user] = replace(paid, turn=last + 1, assigned_today=chosen.assigned_today + 1)
    return Choice(chosen.user, reason, standings, list(after.values()))


def _load(candidate: Candidate) -> Fraction:
    return Fraction(candidate.open_leads, candidate.capacity)


def _standing(method: int, candidate: Candidate) -> str:
    if method == WEIGHTED:
        return f"credit {candidate.credit}, capacity {candidate.capacity}"
    if method in (LEAST_BUSY, TERRITORY):
        return f"{candidate.open_leads} open leads, capacity {candidate.capacity}"
    return f"turn {candidate.turn}"
