"""What a queue must be like, whom it gives a ticket, and whether a solved one is opened again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

from kontor_kit import normal_forms
from kontor_kit.errors import Violation
from kontor_kit.folding import fold

MANUAL, LEAST_LOADED, ROUND_ROBIN = range(1, 4)
"""As Queue.Assignment."""
REOPEN_ALLOWED, REOPEN_FOLLOW_UP, REOPEN_WITHIN_DAYS = range(1, 4)
"""As Queue.ReopenPolicy."""
NO_SKILLS: Final[frozenset[str]] = frozenset()


def normalise(queue: Any) -> list[Violation]:
    """Bring a queue into its normal form, in place, and return what is wrong with it."""
    violations = []
    queue.display_name = queue.display_name.strip()
    if not queue.display_name:
        violations.append(Violation("display_name", "must not be blank"))
    queue.assignment = queue.assignment or MANUAL
    queue.reopen_policy = queue.reopen_policy or REOPEN_ALLOWED
    seen: set[str] = set()
    for place, member in enumerate(queue.members):
        if member.user in seen:
            violations.append(Violation(f"members[{place}].user", "is a member already"))
        seen.add(member.user)
        member.skills[:] = {fold(skill): skill.strip() for skill in member.skills if fold(skill)}.values()
    for place, rule in enumerate(queue.skill_rules):
        path = f"skill_rules[{place}]"
        if not fold(rule.skill):
            violations.append(Violation(f"{path}.skill", "must not be blank"))
        language = normal_forms.normalise_field(rule, "language_code", normal_forms.language, f"{path}.language_code")
        violations += language
    if (queue.reopen_policy == REOPEN_WITHIN_DAYS) != bool(queue.reopen_days):
        violations.append(Violation("reopen_days", "is needed for REOPEN_POLICY_WITHIN_DAYS, and for nothing else"))
    return violations


def can_reopen(queue: Any | None, solved: dt.datetime, now: dt.datetime) -> bool:
    """Whether a ticket that was solved at `solved` is opened again, or a new one made; any is that has no queue."""
    if queue is None or queue.reopen_policy == REOPEN_ALLOWED:
        return True
    return queue.reopen_policy == REOPEN_WITHIN_DAYS and now - solved <= dt.timedelta(days=queue.reopen_days)


def needed_skills(queue: Any, ticket: Any) -> frozenset[str]:
    """Return what somebody must be able to do to get a ticket of a queue by themselves, folded."""
    tags = {fold(tag) for tag in ticket.tags}
    return frozenset(
        fold(rule.skill)
        for rule in queue.skill_rules
        if (not rule.type or rule.type == ticket.type)
        and (not rule.tag or fold(rule.tag) in tags)
        and (not rule.language_code or _speaks(rule.language_code, ticket.language_code))
    )


def _speaks(wanted: str, language_code: str) -> bool:
    return language_code == wanted or language_code.startswith(f"{wanted}-")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A member of a queue, as a ticket finds them."""

    user: str
    skills: frozenset[str] = NO_SKILLS
    """Folded."""
    capacity: int = 0
    """0 for any number."""
    weight: int = 1
    absence: str = ""
    """Why they are not there; empty where they are."""
    here: int = 0
    """How many tickets of the queue they have that are not solved."""
    load: int = 0
    """How many they have in all queues."""
    turn: int = 0
    """When they had their last one of the queue: the larger, the later."""

    def passed_over(self, needed: frozenset[str]) -> str:
        """Return why they cannot get a ticket that needs these skills; empty where they can."""
        if self.absence:
            return self.absence
        if missing := needed - self.skills:
            return f"has no skill {', '.join(sorted(missing))}"
        if self.capacity and self.here >= self.capacity:
            return f"has {self.here} of the queue, which is all they can take"
        return ""

    @property
    def standing(self) -> str:
        """What they are compared by, for people."""
        return f"{self.load} open, {self.here} of the queue, weight {self.weight}, turn {self.turn}"


@dataclass(frozen=True, slots=True)
class Choice:
    """Whom a queue chooses."""

    chosen: Candidate | None
    reason: str
    passed_over: dict[str, str] = field(default_factory=dict)
    """Why somebody could not be chosen, by user."""


def choose(
    method: int, candidates: Sequence[Candidate], needed: frozenset[str], released_by: Collection[str] = ()
) -> Choice:
    """Choose who gets a ticket that needs these skills: of equal ones who waited longest, then the lower name.

    Nobody gets it again who gave it back. The smallest load counts for whoever asks in a queue that gives none by itself.
    """
    passed_over = {
        candidate.user: "gave it back" if candidate.user in released_by else candidate.passed_over(needed)
        for candidate in candidates
    }
    passed_over = {user: why for user, why in passed_over.items() if why}
    ready = [candidate for candidate in candidates if candidate.user not in passed_over]
    if not ready:
        return Choice(None, "nobody can get one now", passed_over)
    if method == ROUND_ROBIN:
        chosen = min(ready, key=lambda candidate: (candidate.turn, candidate.user))
        return Choice(chosen, "has waited longest for one", passed_over)
    chosen = min(
        ready, key=lambda candidate: (Fraction(candidate.load, candidate.weight), candidate.turn, candidate.user)
    )
    return Choice(chosen, "has the smallest load for their weight", passed_over)
