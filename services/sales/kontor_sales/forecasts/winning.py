"""Predictions of who wins: what is learned from the tenant's outcomes, kept as data, and told of an open deal."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any, Final

import sqlalchemy as sa

from kontor.sales.v1 import forecast_service_pb2
from kontor_kit.db import Row, Statement, Transaction
from kontor_kit.errors import FailedPrecondition
from kontor_kit.ids import parse_name
from kontor_kit.operations.work import Kind, Work
from kontor_sales.forecasts import win_rules
from kontor_sales.forecasts.win_rules import Features, Model, Outcome
from kontor_sales.opportunities.table import OPPORTUNITY
from kontor_sales.pipelines.rules import OPEN, WON

MOST_OUTCOMES: Final = 20_000
"""So many outcomes, the newest, are learned from."""

# The family of a deal is that of the product of its dearest line; a stage is known by its pipeline too.
_DEALS: Final = (
    "SELECT o.source, f.family, 'users/' || o.owner, 'teams/' || o.team, 'accounts/' || o.account,"
    " 'accounts/' || o.partner, o.amount_amount, o.amount_currency, o.state, v.stages, o.pipeline || '/' || o.stage"
    " FROM (SELECT * FROM opportunities WHERE tenant_id = :tenant AND delete_time IS NULL {which}) o"
    " LEFT JOIN LATERAL (SELECT p.family FROM jsonb_array_elements(o.lines) l JOIN products p"
    " ON p.tenant_id = o.tenant_id AND p.id = CAST(substr(l ->> 'product', 10) AS uuid)"
    " WHERE l ->> 'product' LIKE 'products/%'"
    " ORDER BY CAST(COALESCE(l -> 'net_amount' ->> 'units', '0') AS numeric) DESC LIMIT 1) f ON true"
    " LEFT JOIN LATERAL (SELECT array_agg(DISTINCT v.pipeline || '/' || v.stage) AS stages FROM stage_visits v"
    " JOIN pipeline_stages s ON s.tenant_id = v.tenant_id AND s.pipeline = v.pipeline AND s.stage = v.stage"
    " WHERE v.tenant_id = o.tenant_id AND v.opportunity = o.id AND s.category = 1) v ON true"
)
_LEAST_GAIN: Final = 1e-6
_TENANT = sa.bindparam("tenant", type_=sa.Uuid)
# Of the order of the index on the time: the newest come first.
_OUTCOMES: Final = Statement(
    sa.text(
        _DEALS.format(which="AND state <> 1 AND close_time IS NOT NULL ORDER BY close_time DESC LIMIT :size")
        + " ORDER BY o.close_time, o.id"
    ).bindparams(_TENANT, sa.bindparam("size", MOST_OUTCOMES, sa.Integer))
)
_ONE: Final = Statement(
    sa.text(_DEALS.format(which="AND id = :id")).bindparams(_TENANT, sa.bindparam("id", type_=sa.Uuid))
)
_COUNT: Final = Statement(
    sa.text(
        "SELECT count(*) FILTER (WHERE state <> 2), count(*) FILTER (WHERE state = 2) FROM (SELECT state"
        " FROM opportunities WHERE tenant_id = :tenant AND delete_time IS NULL AND state IN (2, 3) LIMIT :size) o"
    ).bindparams(_TENANT, sa.bindparam("size", MOST_OUTCOMES, sa.Integer))
)
_KEEP: Final = Statement(
    sa.text(
        "INSERT INTO win_models (tenant_id, train_time, outcome_count, won_rate, model, back_test) VALUES"
        " (:tenant, :moment, :count, :rate, CAST(:model AS jsonb), CAST(:back_test AS jsonb))"
        " ON CONFLICT (tenant_id) DO UPDATE SET train_time = excluded.train_time, won_rate = excluded.won_rate,"
        " outcome_count = excluded.outcome_count, model = excluded.model, back_test = excluded.back_test"
    ).bindparams(_TENANT, sa.bindparam("moment", type_=sa.DateTime(timezone=True)))
)
_MODEL: Final = Statement(
    sa.text(
        "SELECT train_time, outcome_count, won_rate, model, back_test FROM win_models WHERE tenant_id = :tenant"
    ).bindparams(_TENANT)
)


def _features(row: Row) -> Features:
    source, family, owner, team, account, partner, amount, currency = row[:8]
    return Features(
        source or "", family or "", owner or "", team or "", account or "", partner or "",
        win_rules.band(amount, currency),
    )  # fmt: skip


def check_enough(tx: Transaction) -> None:
    """Raise FailedPrecondition where the tenant has too few outcomes to learn from."""
    [(lost, won)] = tx.run(_COUNT, {"tenant": tx.tenant_id})
    _refuse(win_rules.lacking(lost, won), lost, won)


def _refuse(lacks: str, lost: int, won: int) -> None:
    if lacks:
        counts = {"needed": str(win_rules.LEAST_OUTCOMES), "won": str(won), "lost": str(lost)}
        raise FailedPrecondition(lacks, reason="TOO_FEW_OUTCOMES", metadata=counts)


def _train(work: Work) -> Any:
    from kontor_sales.forecasts import win_training  # noqa: PLC0415  # large, and needed nowhere else

    with work.write() as tx:
        rows = tx.run(_OUTCOMES, {"tenant": work.tenant_id})
    outcomes = [Outcome(_features(row), frozenset(row[9] or ()), row[8] == WON) for row in rows]
    won = sum(outcome.won for outcome in outcomes)
    lacks = win_rules.lacking(len(outcomes) - won, won)
    if not lacks and not win_training.teaches(outcomes):
        lacks = "nearly all of the older half of the opportunities ended the same way: there is nothing to compare"
    _refuse(lacks, len(outcomes) - won, won)
    model, tried = win_training.learn(outcomes), win_training.back_test(outcomes)
    values = {
        "tenant": work.tenant_id,
        "moment": dt.datetime.now(dt.UTC),
        "count": len(outcomes),
        "rate": won / len(outcomes),
        "model": json.dumps(model.document()),
        "back_test": json.dumps(tried._asdict()),
    }
    with work.write() as tx:
        tx.defer(_KEEP, values)
        work.save(tx, {"kept": True}, done=len(outcomes), total=len(outcomes))
    with work.write() as tx:
        return forecast_service_pb2.TrainWinModelResponse(win_model=show(tx))


TRAIN: Final = Kind("train_win_model", forecast_service_pb2.TrainWinModelRequest, _train)
"""Learns from a tenant's outcomes."""


def _model(tx: Transaction) -> Row:
    rows = tx.run(_MODEL, {"tenant": tx.tenant_id})
    if not rows:
        raise FailedPrecondition("nothing was learned yet; train the model first", reason="NOT_TRAINED")
    return rows[0]


def show(tx: Transaction) -> forecast_service_pb2.WinModel:
    """Return what is known of the tenant's model. Raises FailedPrecondition where there is none."""
    train_time, count, rate, _, tried = _model(tx)
    bins = [
        forecast_service_pb2.WinModel.Bin(count=of_it, mean_probability=mean, won_rate=won)
        for of_it, mean, won in tried["calibration"]
    ]
    return forecast_service_pb2.WinModel(
        train_time=train_time,
        outcome_count=count,
        won_rate=rate,
        log_loss=tried["log_loss"],
        base_log_loss=tried["base_log_loss"],
        calibration=bins,
    )


def predict(tx: Transaction, name: str, response: Any) -> None:
    """Write how likely an opportunity is to be won into a PredictOutcomeResponse; who may see it was checked before."""
    train_time, _, _, document, tried = _model(tx)
    id = parse_name(name, OPPORTUNITY.pattern, "name")
    [row] = tx.run(_ONE, {"tenant": tx.tenant_id, "id": id})
    if row[8] != OPEN:
        raise FailedPrecondition(f"{name} was won or lost", reason="CLOSED")
    score = Model.of(document).score(_features(row), row[10])
    response.probability, response.base_probability = score.probability, score.base
    for one in score.contributions:
        value = one.value.partition("/")[2] if one.feature == "stage" else one.value
        response.contributions.add(feature=one.feature, value=value, log_odds=one.log_odds)
    response.train_time = train_time
    response.better_than_base_rate = tried["log_loss"] < tried["base_log_loss"] - _LEAST_GAIN
