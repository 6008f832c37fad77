"""Who is in a segment, given whom its own rule or list has, and what it takes from others and leaves out."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

from kontor_kit.errors import Violation

STATIC: Final = 1
RULE: Final = 2
"""As Segment.Kind."""

Parties = AbstractSet[uuid.UUID]


@dataclass(frozen=True, slots=True)
class Rule:
    """What decides on who is in a segment."""

    kind: int
    """As Segment.Kind."""
    filter: str = ""
    include: frozenset[uuid.UUID] = frozenset()
    exclude: frozenset[uuid.UUID] = frozenset()

    @property
    def referred(self) -> frozenset[uuid.UUID]:
        """The segments that it takes from or leaves out."""
        return self.include | self.exclude


Rules = Mapping[uuid.UUID, Rule]


def check(segment: Any) -> list[Violation]:
    """Return what is wrong with a segment, whatever others are like."""
    violations = []
    if not segment.display_name.strip():
        violations.append(Violation("display_name", "must not be blank"))
    rule = [name for name in ("filter", "include_segments", "exclude_segments") if getattr(segment, name)]
    if segment.kind == STATIC:
        violations += [Violation(name, "is for segments with a rule") for name in rule]
    elif not segment.filter.strip() and not segment.include_segments:
        violations.append(Violation("filter", "a filter, or segments to take from, are required"))
    return violations


def referred(ids: Iterable[uuid.UUID], rules: Rules) -> set[uuid.UUID]:
    """Return the segments that `ids` refer to, themselves included, through any number of others."""
    found: set[uuid.UUID] = set()
    ahead = list(ids)
    while ahead:
        id = ahead.pop()
        if id not in found and id in rules:
            found.add(id)
            ahead += rules[id].referred
    return found


def referring(ids: Iterable[uuid.UUID], rules: Rules) -> set[uuid.UUID]:
    """Return the segments that refer to one of `ids`, themselves included, through any number of others."""
    found = set(ids)
    while more := {id for id, rule in rules.items() if id not in found and not found.isdisjoint(rule.referred)}:
        found |= more
    return found


def members(rules: Rules, own: Mapping[uuid.UUID, Parties], live: Parties) -> dict[uuid.UUID, Parties]:
    """Return who of `live` is in each segment. No segment may refer to itself.

    `own` has whom the filters and lists of segments have; a rule without a filter has everybody. A segment that is not
    among `rules` has nobody.
    """
    found: dict[uuid.UUID, Parties] = {}

    def look(id: uuid.UUID) -> Parties:
        if id not in rules:
            return frozenset()
        if id not in found:
            rule = rules[id]
            inside = own.get(id, frozenset()) & live if rule.kind == STATIC or rule.filter else live
            if rule.include:
                inside = inside & frozenset[uuid.UUID]().union(*map(look, rule.include))  # `live` stays
            found[id] = inside - frozenset[uuid.UUID]().union(*map(look, rule.exclude))
        return found[id]

    for id in rules:
        look(id)
    return found
