"""How far opportunities came and how fast, by when work on them began: wherever they stand now.

A deal came as far as the last of the open stages that it was ever in; a won one came through all of them.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa

from kontor_kit import money
from kontor_kit.custom_fields import Definition
from kontor_kit.db import Row, Statement, Transaction
from kontor_kit.errors import NotFound
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name
from kontor_kit.principals import Scope
from kontor_kit.store import Reach, Store, is_live
from kontor_sales.forecasts import rules as periods
from kontor_sales.forecasts.chosen import choose
from kontor_sales.opportunities.table import opportunities, stage_visits
from kontor_sales.pipelines.rules import LOST, OPEN, WON
from kontor_sales.pipelines.table import PIPELINE, pipeline_stages

_UNITS: Final = {1: "month", 2: "quarter", 3: "year"}
_DAY: Final = 86_400
_PIPELINE = sa.bindparam("pipeline", type_=sa.Uuid)


def _cohort(kind: int) -> sa.ColumnElement[Any]:
    unit = sa.literal_column(f"'{_UNITS[kind]}'", sa.Text)
    began = sa.func.date_trunc(unit, sa.func.timezone("UTC", opportunities.c.open_time))
    return sa.cast(began, sa.Date).label("cohort")


def _ways(conditions: Sequence[Any], kind: int) -> Statement:
    """Make (cohort, state, position of the last stage, currency, count, amount, seconds from beginning to end)."""
    stages, deals = pipeline_stages, opportunities.c
    here = (stages.c.tenant_id == TENANT, stages.c.pipeline == _PIPELINE, stages.c.category == OPEN)
    visited = (
        sa.select(sa.func.max(stages.c.position))
        .select_from(stage_visits.join(stages, stages.c.stage == stage_visits.c.stage))
        .where(
            *here,
            stage_visits.c.tenant_id == TENANT,
            stage_visits.c.opportunity == deals.id,
            stage_visits.c.pipeline == _PIPELINE,
        )
        .correlate(opportunities)
        .scalar_subquery()
    )
    last = (
        sa.select(stages.c.position)
        .where(*here, stages.c.stage == deals.last_open_stage)
        .correlate(opportunities)
        .scalar_subquery()
    )
    each = (
        sa.select(
            _cohort(kind),
            deals.state,
            sa.func.greatest(visited, last).label("position"),
            deals.amount_currency,
            deals.amount_amount,
            (deals.close_time - deals.open_time).label("took"),
        )
        .where(*conditions, deals.pipeline == _PIPELINE)
        .subquery("each")
    )
    keys = (each.c.cohort, each.c.state, each.c.position, each.c.amount_currency)
    seconds = sa.func.extract("epoch", sa.func.sum(each.c.took))
    return Statement(sa.select(*keys, sa.func.count(), sa.func.sum(each.c.amount_amount), seconds).group_by(*keys))


def _stays(conditions: Sequence[Any], kind: int) -> Statement:
    """Make (cohort, stage, mean, median) of the seconds of stays that ended."""
    deals, visit = opportunities.c, stage_visits.c
    seconds = sa.cast(sa.func.extract("epoch", visit.leave_time - visit.enter_time), sa.Float)
    cohort = _cohort(kind)
    return Statement(
        sa.select(cohort, visit.stage, sa.func.avg(seconds), sa.func.percentile_cont(0.5).within_group(seconds))
        .select_from(
            opportunities.join(stage_visits, sa.and_(visit.tenant_id == deals.tenant_id, visit.opportunity == deals.id))
        )
        .where(*conditions, deals.pipeline == _PIPELINE, visit.pipeline == _PIPELINE, visit.leave_time.is_not(None))
        .group_by(cohort, visit.stage)
    )


def show(tx: Transaction, reach: Reach, request: Any, definitions: Mapping[str, Definition], response: Any) -> None:
    """Write how far opportunities came into a ShowFunnelResponse."""
    id = parse_name(request.pipeline, PIPELINE.pattern, "pipeline")
    pipeline = Store(PIPELINE).get_one(tx, Reach(reach.principal, Scope.ALL), id)
    if pipeline is None or not is_live(pipeline):
        raise NotFound(f"there is no {request.pipeline}", metadata={"resource": request.pipeline})
    conditions, parameters = choose(reach, request, opportunities.c.open_time, definitions)
    parameters["pipeline"] = id
    kind = request.cohort or 1
    ways, stays = tx.run_all([(_ways(conditions, kind), parameters), (_stays(conditions, kind), parameters)])
    by_cohort: dict[dt.date, list[Row]] = defaultdict(list)
    for cohort, *way in ways:
        by_cohort[cohort].append(tuple(way))
    times = {(cohort, stage): (mean, median) for cohort, stage, mean, median in stays}
    for start in sorted(by_cohort):
        told = response.cohorts.add()
        periods.tell(told.start_date, start)
        _tell_cohort(told, by_cohort[start])
        for position, stage in enumerate(pipeline.stages):
            if stage.category == OPEN:
                _tell_stage(told.stages.add(stage=stage.id), by_cohort[start], position, times.get((start, stage.id)))


def _tell_cohort(told: Any, ways: Sequence[Row]) -> None:
    """Write what became of a cohort; a way is (state, position, currency, count, amount, seconds)."""
    amounts: dict[str, Decimal] = defaultdict(Decimal)
    seconds = Decimal(0)
    for state, _, currency, count, amount, took in ways:
        told.count += count
        told.won_count += count if state == WON else 0
        told.lost_count += count if state == LOST else 0
        if state == WON:
            seconds += took or 0
            if currency and amount is not None:
                amounts[currency] += amount
    for currency in sorted(amounts):
        told.won_amounts.add(**money.fields(amounts[currency], currency))
    if told.won_count + told.lost_count:
        told.win_rate = told.won_count / (told.won_count + told.lost_count)
    if told.won_count:
        told.mean_won_days = float(seconds / _DAY) / told.won_count


def _tell_stage(told: Any, ways: Sequence[Row], position: int, times: tuple[float, float] | None) -> None:
    """Write what happened in the stage at a position."""
    for state, farthest, _, count, _, _ in ways:
        if state == WON or (farthest is not None and farthest >= position):
            told.reached_count += count
            if state == WON or farthest > position:
                told.passed_count += count
            elif state == LOST:
                told.lost_count += count
    if told.reached_count:
        told.conversion_rate = told.passed_count / told.reached_count
    if times is not None:
        told.mean_days, told.median_days = (seconds / _DAY for seconds in times)
