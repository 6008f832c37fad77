"""What happened to a deal between two snapshots, in steps that add up: pure arithmetic.

A deal counts in a snapshot where it is open, not omitted, and to close in the period. What counts at the end is what
counted at the start with all steps added, exactly and in every currency.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from typing import Final, NamedTuple

from kontor_sales.forecasts.rollup_rules import OMITTED
from kontor_sales.forecasts.rules import Period
from kontor_sales.pipelines.rules import OPEN, WON

(
    NEW, PULLED_IN, PUSHED_OUT, IS_WON, IS_LOST, REVALUED, REMOVED, REASSIGNED, REOPENED, RECATEGORIZED, EXCHANGED,
    PIPELINE_CHANGED,
) = range(1, 13)  # fmt: skip
"""As BridgeForecastResponse.Kind."""

_ENTERS: Final = {IS_WON: REOPENED, IS_LOST: REOPENED, PUSHED_OUT: PULLED_IN, REMOVED: NEW}
"""Why a deal did not count before, by why it would not count afterwards; others are called the same both ways."""
_UNKNOWN: Final = (REMOVED, REASSIGNED)
"""Where nothing is known of a deal, or nothing that the reader may know."""


class Deal(NamedTuple):
    """A deal in a snapshot."""

    mine: bool
    """Whether the reader may see it."""
    here: bool
    """Whether it is in the pipeline that is looked at."""
    state: int
    category: int
    day: dt.date | None
    currency: str | None
    amount: Decimal | None
    base: Decimal | None

    @property
    def worth(self) -> dict[str, Decimal]:
        """What it is worth, in its currency."""
        return {self.currency: self.amount} if self.currency and self.amount is not None else {}


class Step(NamedTuple):
    """What happened to a deal."""

    kind: int
    amounts: dict[str, Decimal]
    base: Decimal


def why_not(deal: Deal | None, period: Period) -> int:
    """Return what happened to a deal that counted and does not count as it is now; 0 where it counts."""
    if deal is None:
        return REMOVED
    if not deal.mine:
        return REASSIGNED
    if not deal.here:
        return PIPELINE_CHANGED
    if deal.state != OPEN:
        return IS_WON if deal.state == WON else IS_LOST
    if deal.category == OMITTED:
        return RECATEGORIZED
    return 0 if period.has(deal.day) else PUSHED_OUT


def steps(before: Deal | None, after: Deal | None, period: Period) -> Iterator[Step]:
    """Yield what happened to a deal, in order; nothing where it counted in neither snapshot and did not pass through."""
    out_before, out_after = why_not(before, period), why_not(after, period)
    closed = out_after in (IS_WON, IS_LOST)
    if out_before:
        # What came and was closed in between passed through, if it did so in the period.
        passed = closed and out_before not in (IS_WON, IS_LOST) and after is not None
        passed = passed and period.has(after.day) and after.category != OMITTED  # type: ignore[union-attr]  # passed
        if out_after and not passed:
            return
        assert after is not None, "it counts, or passed through"
        kind = _ENTERS.get(out_before, out_before)
        if before is None or out_before in _UNKNOWN:
            yield _added(kind, after)
        else:
            yield _added(kind, before)
            yield from _revalued(before, after)
        if closed:
            yield _taken(out_after, after)
        return
    assert before is not None, "it counted"
    if out_after and not closed:
        yield _taken(out_after, before)
        return
    assert after is not None, "it counts, or was closed"
    yield from _revalued(before, after)
    if closed:
        yield _taken(out_after, after)


def _added(kind: int, deal: Deal) -> Step:
    return Step(kind, deal.worth, deal.base or Decimal(0))


def _taken(kind: int, deal: Deal) -> Step:
    return Step(kind, {currency: -amount for currency, amount in deal.worth.items()}, -(deal.base or Decimal(0)))


def _revalued(before: Deal, after: Deal) -> Iterator[Step]:
    change: dict[str, Decimal] = defaultdict(Decimal, after.worth)
    for currency, amount in before.worth.items():
        change[currency] -= amount
    change = {currency: amount for currency, amount in change.items() if amount}
    base = (after.base or Decimal(0)) - (before.base or Decimal(0))
    if change:
        yield Step(REVALUED, change, base)
    elif base:
        yield Step(EXCHANGED, {}, base)
