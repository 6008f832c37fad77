"""What to recommend of what rules say, and how alike two customers are; pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeVar

from kontor_kit.errors import Violation

SUPPORT: Final = Decimal("0.01")
CONFIDENCE: Final = Decimal("0.2")
LEAST_BASKETS: Final = 30
"""With less customers who bought something there is nothing to learn."""
_FAR: Final = 5.0
"""Companies of which one is 2 to the power of this as large as the other have nothing in common in size."""

Product = TypeVar("Product", bound=Hashable)


class Rule(NamedTuple):
    """Whoever has the antecedents buys the consequent too."""

    antecedents: tuple[Any, ...]
    consequent: Any
    support: float
    confidence: float
    lift: float


def check_part(decimal: Any, field: str, default: Decimal) -> tuple[Decimal, list[Violation]]:
    """Return a part above 0 and up to 1 as a google.type.Decimal says it, and what is wrong with it."""
    if not decimal.value:
        return default, []
    try:
        value = Decimal(decimal.value)
    except ArithmeticError:
        value = Decimal("NaN")
    if not value.is_finite() or not 0 < value <= 1:
        return default, [Violation(field, "must be a decimal number above 0, and 1 at most")]
    return value, []


def recommend(rules: Iterable[Rule], owned: Collection[Any]) -> list[Rule]:
    """Return the rules that say the most, one for each product that is not owned, the best first."""
    best: dict[Any, Rule] = {}
    for rule in sorted(rules, key=lambda rule: (-rule.confidence, -rule.lift, -rule.support, str(rule.antecedents))):
        if rule.consequent not in owned and all(one in owned for one in rule.antecedents):
            best.setdefault(rule.consequent, rule)
    return list(best.values())


class Profile(NamedTuple):
    """What a company is like; empty and 0 where it is not known."""

    industry: str = ""
    employee_count: int = 0


def similarity(mine: Profile, other: Profile, shared: int, together: int) -> float:
    """Return how alike two customers are, from 0 to 1: the mean of what is known of both.

    What they bought counts twice (the part that both bought of what one of them did), industry and size once each.
    """
    parts = [(2.0, shared / together)] if together else []
    if mine.industry and other.industry:
        parts.append((1.0, float(mine.industry.casefold() == other.industry.casefold())))
    if mine.employee_count and other.employee_count:
        steps = abs(math.log2(mine.employee_count / other.employee_count))
        parts.append((1.0, max(0.0, 1 - steps / _FAR)))
    weight = sum(part for part, _ in parts)
    return sum(part * value for part, value in parts) / weight if weight else 0.0


def baskets_of(bought: Iterable[tuple[Hashable, Product]]) -> Mapping[Hashable, set[Product]]:
    """Return what each customer bought."""
    found: dict[Hashable, set[Product]] = {}
    for customer, product in bought:
        found.setdefault(customer, set()).add(product)
    return found
