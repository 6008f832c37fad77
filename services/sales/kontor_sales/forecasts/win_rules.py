"""How likely a deal is to be won: naive Bayes on counts, made probabilities of by a straight line; pure arithmetic.

The model is data. What it says of a deal is the sum of what each of its features says, so that it explains itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final, NamedTuple

LEAST_OUTCOMES: Final = 200
LEAST_OF_EACH: Final = 30
"""With less than so many won and so many lost there is nothing to learn."""
SMOOTHING: Final = 1.0
BINS: Final = 10
_SURE: Final = 1e-9


class Features(NamedTuple):
    """What is known of a deal, empty where it is not; each value is one of many, never a number."""

    source: str = ""
    family: str = ""
    owner: str = ""
    team: str = ""
    account: str = ""
    partner: str = ""
    amount: str = ""


class Outcome(NamedTuple):
    """What became of a deal."""

    features: Features
    stages: frozenset[str]
    """The open stages that it was in."""
    won: bool


class Contribution(NamedTuple):
    """What a feature says."""

    feature: str
    value: str
    log_odds: float


class Score(NamedTuple):
    """How likely a deal is to be won, and why."""

    probability: float
    base: float
    contributions: list[Contribution]


class Model(NamedTuple):
    """What was learned. Counts are (lost, won)."""

    classes: tuple[int, int]
    features: Mapping[str, Mapping[str, tuple[int, int]]]
    stages: Mapping[str, tuple[int, int]]
    """How many came into each stage."""
    slope: float
    intercept: float

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Model:
        """Read what `document` wrote."""
        return cls(*(document[name] for name in cls._fields))

    def document(self) -> dict[str, Any]:
        """Return the model as JSON."""
        return self._asdict()

    def score(self, features: Features, stage: str) -> Score:
        """Return how likely a deal in an open stage is to be won. What was never seen says nothing."""
        lost, won = self.classes
        found = []
        for name, value in features._asdict().items():
            values = self.features.get(name, {})
            if value and value in values:
                found.append(Contribution(name, value, self._log_odds(values[value], len(values))))
        if stage in self.stages:
            found.append(Contribution("stage", stage, self._log_odds(self.stages[stage], 2)))
        contributions = [one._replace(log_odds=self.slope * one.log_odds) for one in found]
        base = self.slope * math.log(won / lost) + self.intercept
        total = base + sum(one.log_odds for one in contributions)
        strongest = sorted(contributions, key=lambda one: (-abs(one.log_odds), one.feature))
        return Score(sigmoid(total), sigmoid(base), strongest)

    def raw(self, features: Features, stage: str) -> float:
        """Return the log-odds before calibration."""
        lost, won = self.classes
        scored = self._replace(slope=1.0, intercept=0.0).score(features, stage)
        return math.log(won / lost) + sum(one.log_odds for one in scored.contributions)

    def _log_odds(self, counts: Sequence[int], size: int) -> float:
        """Return the logarithm of how much likelier it is with won deals than with lost ones; `size` values there are."""
        lost, won = (
            (count + SMOOTHING) / (all_of_it + SMOOTHING * size)
            for count, all_of_it in zip(counts, self.classes, strict=True)
        )
        return math.log(won / lost)


def sigmoid(log_odds: float) -> float:
    """Return the probability that has these log-odds."""
    return 1 / (1 + math.exp(-log_odds)) if log_odds > 0 else 1 - 1 / (1 + math.exp(log_odds))


def band(amount: Decimal | None, currency: str | None) -> str:
    """Return the order of magnitude of an amount in steps of 1, 2, 5, 10, for example `200-500 EUR`."""
    if amount is None or not currency:
        return ""
    if amount <= 0:
        return f"0 {currency}"
    power = Decimal(10) ** amount.adjusted()
    for low, high in pairwise((1, 2, 5, 10)):
        if amount < high * power:
            return f"{low * power:f}-{high * power:f} {currency}"
    raise AssertionError("a number is less than ten times its power of ten")


def lacking(lost: int, won: int) -> str:
    """Say what is lacking to learn from; empty where nothing is."""
    if lost + won < LEAST_OUTCOMES or min(lost, won) < LEAST_OF_EACH:
        return (
            f"{LEAST_OUTCOMES} won or lost opportunities are needed, {LEAST_OF_EACH} of each at least;"
            f" there are {won} won and {lost} lost ones"
        )
    return ""


def log_loss(predictions: Sequence[float], won: Sequence[bool]) -> float:
    """Return the mean logarithmic loss, in natural logarithms; less is better."""
    kept = (min(max(one if was_won else 1 - one, _SURE), 1) for one, was_won in zip(predictions, won, strict=True))
    return -math.fsum(math.log(one) for one in kept) / len(won)


class Bin(NamedTuple):
    """Predictions that are alike, and what came of them."""

    size: int
    mean_probability: float
    won_rate: float


def calibration(predictions: Sequence[float], won: Sequence[bool]) -> list[Bin]:
    """Return tenths of the predictions, the least likely first, with what came of them; equal ones stay together."""
    ordered = sorted(zip(predictions, won, strict=True), key=lambda pair: pair[0])
    parts: list[list[tuple[float, bool]]] = [[]]
    for place, pair in enumerate(ordered):
        if place >= len(parts) * len(ordered) / BINS and pair[0] > parts[-1][-1][0]:
            parts.append([])
        parts[-1].append(pair)
    return [
        Bin(len(its), math.fsum(one for one, _ in its) / len(its), sum(was_won for _, was_won in its) / len(its))
        for its in parts
        if its
    ]
