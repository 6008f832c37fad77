"""What the deals of a forecast come to: pure arithmetic on sums that are exact, rounded once where they are told."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final, NamedTuple

from kontor_sales.exchange_rates.rules import Rates, exact

OMITTED, PIPELINE, BEST_CASE, COMMIT, CLOSED = range(1, 6)
"""As RollUpForecastResponse.Category; the open ones as Opportunity.ForecastCategory."""
LEVELS: Final = (1, 2)
"""As ForecastAdjustment.Level: the owner, and people above."""
CUMULATED: Final = {
    OMITTED: (OMITTED,),
    PIPELINE: (CLOSED, COMMIT, BEST_CASE, PIPELINE),
    BEST_CASE: (CLOSED, COMMIT, BEST_CASE),
    COMMIT: (CLOSED, COMMIT),
    CLOSED: (CLOSED,),
}
"""What each category is made of where surer ones are added to it."""


class Cell(NamedTuple):
    """What deals come to that have group, category and currency in common."""

    group: uuid.UUID | None
    """None for the whole."""
    category: int
    currency: str | None
    day: dt.date
    """By whose rate they are converted."""
    deals: int
    amount: Decimal
    weighted: Decimal
    worth: Decimal | None = None
    """What they came to when they closed, in `worth_currency`."""
    worth_currency: str | None = None

    def converted(self, base: str, rates: Rates) -> tuple[Decimal, Decimal] | None:
        """Return amount and weighted amount in the base currency, not rounded; None where there is no rate."""
        if self.worth is not None and self.worth_currency:
            amount = weighted = exact(self.worth, self.worth_currency, self.day, base, rates)
        else:
            assert self.currency, "there is an amount"
            amount = exact(self.amount, self.currency, self.day, base, rates)
            weighted = exact(self.weighted, self.currency, self.day, base, rates)
        return None if amount is None or weighted is None else (amount, weighted)


class Overlay(NamedTuple):
    """An adjustment, or a quota (level 0, category CLOSED)."""

    group: uuid.UUID | None
    """None for the whole."""
    category: int
    level: int
    currency: str
    amount: Decimal
    day: dt.date


class Sums:
    """What one category of one group comes to."""

    __slots__ = ("amounts", "base", "count", "overlays", "unconverted", "weighted")

    def __init__(self) -> None:
        self.count = 0
        self.amounts: dict[str, Decimal] = defaultdict(Decimal)
        self.base = Decimal(0)
        self.weighted = Decimal(0)
        self.overlays: dict[int, Decimal] = defaultdict(Decimal)
        self.unconverted: dict[str, Decimal] = defaultdict(Decimal)

    def add(self, other: Sums) -> None:
        """Add what another category or group comes to."""
        self.count += other.count
        self.base += other.base
        self.weighted += other.weighted
        for mine, others in (
            (self.amounts, other.amounts),
            (self.unconverted, other.unconverted),
            (self.overlays, other.overlays),
        ):
            for key, amount in others.items():
                mine[key] += amount  # type: ignore[index]  # the keys of both are the same

    @property
    def forecast(self) -> Decimal:
        """The amount with what people add to it."""
        return self.base + sum((self.overlays.get(level, Decimal(0)) for level in LEVELS), Decimal(0))


def base_of(known: str, currencies: Iterable[str | None]) -> str:
    """Return the currency to convert to: the tenant's own, or the only one there is; empty where there are several."""
    if known:
        return known
    found = {currency for currency in currencies if currency}
    return found.pop() if len(found) == 1 else ""


def add_up(
    cells: Iterable[Cell], overlays: Iterable[Overlay], base: str, rates: Rates
) -> dict[uuid.UUID | None, dict[int, Sums]]:
    """Return what each category of each group, and of the whole, comes to, each for itself; those with nothing in them are left out."""
    groups: dict[uuid.UUID | None, dict[int, Sums]] = defaultdict(lambda: defaultdict(Sums))
    for cell in cells:
        sums = groups[cell.group][cell.category]
        sums.count += cell.deals
        if not cell.currency:
            continue
        sums.amounts[cell.currency] += cell.amount
        converted = cell.converted(base, rates)
        if converted is None:
            sums.unconverted[cell.currency] += cell.amount
        else:
            sums.base += converted[0]
            sums.weighted += converted[1]
    for overlay in overlays:
        worth = exact(overlay.amount, overlay.currency, overlay.day, base, rates)
        if worth is not None:
            groups[overlay.group][overlay.category].overlays[overlay.level] += worth
    return groups


def whole(found: Mapping[int, Sums]) -> Mapping[int, Sums]:
    """Return all categories, with nothing in those that are not found."""
    return {category: found.get(category) or Sums() for category in CUMULATED}


def cumulated(group: Mapping[int, Sums]) -> Mapping[int, Sums]:
    """Return the categories of a group, each with those that are surer."""
    found = {}
    for category, parts in CUMULATED.items():
        found[category] = Sums()
        for part in parts:
            if part in group:
                found[category].add(group[part])
    return found
