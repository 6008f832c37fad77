"""Learning from outcomes, with scikit-learn; whoever only serves does not import it, for it is large."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.naive_bayes import CategoricalNB
from sklearn.preprocessing import OrdinalEncoder

from kontor_sales.forecasts import win_rules
from kontor_sales.forecasts.win_rules import Features, Model, Outcome

FOLDS: Final = 5
"""Each part of the outcomes is judged by what the other parts teach, and the line is drawn through that."""
LEAST_OF_A_VALUE: Final = 5
"""What was seen less often says nothing."""


class BackTest(NamedTuple):
    """How predictions held on the newer half of the outcomes, learned from the older half alone."""

    log_loss: float
    base_log_loss: float
    calibration: list[win_rules.Bin]


def teaches(outcomes: Sequence[Outcome]) -> bool:
    """Tell whether outcomes, the oldest first, can be learned from: enough were won, and enough lost, in the older half."""
    won = sum(outcome.won for outcome in outcomes[: len(outcomes) // 2])
    return FOLDS <= won <= len(outcomes) // 2 - FOLDS


def learn(outcomes: Sequence[Outcome]) -> Model:
    """Return what outcomes, the oldest first, teach: counts of all, and what counts of others said of each of them."""
    won = [outcome.won for outcome in outcomes]
    scores = [0.0] * len(outcomes)
    for learned, judged in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(scores, won):
        model = _count([outcomes[place] for place in learned])
        for place in judged:
            scores[place] = model.raw(outcomes[place].features, _stage(outcomes[place]))
    slope, intercept = _line(scores, won)
    return _count(outcomes)._replace(slope=slope, intercept=intercept)


def back_test(outcomes: Sequence[Outcome]) -> BackTest:
    """Learn from the older half, and see how what was learned holds on the newer half."""
    half = len(outcomes) // 2
    older, newer = outcomes[:half], outcomes[half:]
    model, won = learn(older), [outcome.won for outcome in newer]
    predictions = [model.score(outcome.features, _stage(outcome)).probability for outcome in newer]
    base = sum(outcome.won for outcome in older) / len(older)
    return BackTest(
        win_rules.log_loss(predictions, won),
        win_rules.log_loss([base] * len(won), won),
        win_rules.calibration(predictions, won),
    )


def _stage(outcome: Outcome) -> str:
    """Return a stage to predict an outcome from: the only one it was in, for which one it was in last would tell."""
    return next(iter(outcome.stages)) if len(outcome.stages) == 1 else ""


def _count(outcomes: Sequence[Outcome]) -> Model:
    """Return the counts of each value among lost and won deals."""
    names = list(Features._fields)
    stages = sorted({stage for outcome in outcomes for stage in outcome.stages})
    rows: list[list[Any]] = [
        [*outcome.features, *(str(stage in outcome.stages) for stage in stages)] for outcome in outcomes
    ]
    encoder = OrdinalEncoder()
    # Beside the values, each stage is a feature with two values: whether the deal came into it.
    fitted = CategoricalNB(alpha=win_rules.SMOOTHING).fit(encoder.fit_transform(rows), [one.won for one in outcomes])
    counts = [
        {value: tuple(map(int, pair)) for value, pair in zip(categories, table.T, strict=True)}
        for categories, table in zip(encoder.categories_, fitted.category_count_, strict=True)
    ]
    features = {
        name: {value: pair for value, pair in values.items() if value and sum(pair) >= LEAST_OF_A_VALUE}
        for name, values in zip(names, counts, strict=False)
    }
    reached = {stage: values.get("True", (0, 0)) for stage, values in zip(stages, counts[len(names) :], strict=True)}
    lost, won = map(int, fitted.class_count_)
    return Model((lost, won), features, reached, 1.0, 0.0)  # type: ignore[arg-type]  # pairs are pairs


def _line(scores: Sequence[float], won: Sequence[bool]) -> tuple[float, float]:
    """Return slope and intercept of the straight line that makes probabilities of log-odds (Platt's scaling)."""
    fitted = LogisticRegression().fit([[score] for score in scores], won)
    slope, intercept = float(fitted.coef_[0][0]), float(fitted.intercept_[0])
    if slope > 0:
        return slope, intercept
    # What was learned says nothing of what it was not learned from: the part that was won is all that is known.
    rate = sum(won) / len(won)
    return 0.0, math.log(rate / (1 - rate))
