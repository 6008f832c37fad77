"""The forecast of a period: three sums over indexes in one round trip, each as far as the caller may see.

Deals, adjustments and quotas go through the same scope; no total contains what its reader may not see.
"""

from __future__ import annotations

import datetime as dt
import functools
import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from kontor.sales.v1 import forecast_service_pb2
from kontor_kit import money
from kontor_kit.db import Row, Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name
from kontor_kit.principals import Scope
from kontor_kit.scopes import OwnerScope
from kontor_kit.store import Reach
from kontor_sales.exchange_rates.table import BASE, LIVE_RATES, exchange_rates, find_rates
from kontor_sales.forecast_adjustments.table import forecast_adjustments
from kontor_sales.forecasts import rollup_rules
from kontor_sales.forecasts import rules as periods
from kontor_sales.forecasts.rollup_rules import CLOSED, Cell, Overlay, Sums
from kontor_sales.forecasts.rules import Period
from kontor_sales.opportunities.table import opportunities
from kontor_sales.pipelines.table import PIPELINE, pipeline_stages
from kontor_sales.quotas.table import quotas

_Request: Final = forecast_service_pb2.RollUpForecastRequest
_COLLECTIONS: Final = {_Request.GROUPING_OWNER: "users", _Request.GROUPING_TEAM: "teams"}
_NOTHING: Final = Decimal(0)
_NIL: Final = uuid.UUID(int=0)
"""The group of what has no owner or team."""
_START, _END = (sa.bindparam(name, type_=sa.Date) for name in ("start", "end"))
_SINCE, _UNTIL = (sa.bindparam(name, type_=sa.DateTime(timezone=True)) for name in ("since", "until"))


class Asked(NamedTuple):
    """A RollUpForecastRequest, and which groups are told: the first `size` behind `after`, in the order of their ids."""

    request: Any
    today: dt.date
    size: int
    after: uuid.UUID | None = None


def _grouped(query: sa.Select[Any], table: sa.Table, group_by: int, columns: Sequence[Any]) -> sa.Select[Any]:
    """Group by columns, for the whole and for each group, and put (key of the group, is it the whole) in front."""
    if not group_by:
        return query.with_only_columns(
            sa.cast(sa.null(), sa.Uuid).label("key"), sa.true().label("whole"), *query.selected_columns
        ).group_by(*columns)
    key = table.c.owner if group_by == _Request.GROUPING_OWNER else table.c.team
    whole = (sa.func.grouping(key) == 1).label("whole")
    sets = sa.func.grouping_sets(sa.tuple_(key, *columns), sa.tuple_(*columns))
    return query.with_only_columns(key.label("key"), whole, *query.selected_columns).group_by(sets)


def _paged(query: Any, group_by: int) -> Statement:
    """Keep the rows of the whole, and those of one group more than are told: whether there are more shows by it."""
    if not group_by:
        return Statement(query)
    rows = query.subquery("grouped")
    key = sa.func.coalesce(rows.c.key, _NIL)
    after = sa.bindparam("after", type_=sa.Uuid)
    rank = sa.func.dense_rank().over(partition_by=rows.c.whole, order_by=key).label("rank")
    ranked = sa.select(rows, rank).where(sa.or_(rows.c.whole, after.is_(None), key > after)).subquery("ranked")
    few = ranked.c.rank <= sa.bindparam("size", type_=sa.Integer)
    columns = [column for column in ranked.c if column.name != "rank"]
    return Statement(sa.select(*columns).where(sa.or_(ranked.c.whole, few)))


def _reached(table: sa.Table, scope: Scope) -> list[sa.ColumnElement[bool]]:
    condition = OwnerScope().clause(scope, table)
    live = [table.c.tenant_id == TENANT, table.c.delete_time.is_(None)]
    return live if condition is None else [*live, condition]


def _literal(number: int) -> sa.ColumnElement[Any]:
    return sa.literal_column(str(number), sa.SmallInteger)


@functools.cache
def _deals(scope: Scope, group_by: int, of_one_pipeline: bool) -> Statement:
    """Make (key, whole, category, currency, day of an unconverted one, count, amount, weighted, worth, its currency)."""
    deals = opportunities.c
    reached = _reached(opportunities, scope)
    if of_one_pipeline:
        reached.append(deals.pipeline == sa.bindparam("pipeline", type_=sa.Uuid))
    amount, weighted = (
        sa.func.sum(deals.amount_amount),
        sa.func.sum(deals.amount_amount * pipeline_stages.c.probability),
    )
    stage = sa.and_(
        pipeline_stages.c.tenant_id == deals.tenant_id,
        pipeline_stages.c.pipeline == deals.pipeline,
        pipeline_stages.c.stage == deals.stage,
    )
    none = (sa.cast(sa.null(), sa.Numeric), sa.cast(sa.null(), sa.Text))
    open_ones = (
        sa.select(deals.forecast_category, deals.amount_currency, sa.cast(sa.null(), sa.Date))
        .add_columns(sa.func.count(), amount, weighted, *none)
        .join_from(opportunities, pipeline_stages, stage)
        .where(*reached, deals.state == _literal(1), deals.close_date.between(_START, _END))
    )
    # Where nothing was frozen and there is something to convert.
    base = sa.select(exchange_rates.c.base_currency_code).where(*LIVE_RATES).limit(1).scalar_subquery()
    by_day = sa.and_(deals.base_amount_currency.is_(None), deals.amount_currency != base)
    day = sa.case((by_day, sa.cast(sa.func.timezone("UTC", deals.close_time), sa.Date)))
    won = (
        sa.select(_literal(CLOSED), deals.amount_currency, day.label("day"))
        .add_columns(sa.func.count(), amount, amount, sa.func.sum(deals.base_amount_amount), deals.base_amount_currency)
        .where(*reached, deals.state == _literal(2), deals.close_time >= _SINCE, deals.close_time < _UNTIL)
    )
    both = sa.union_all(
        _grouped(open_ones, opportunities, group_by, [deals.forecast_category, deals.amount_currency]),
        _grouped(won, opportunities, group_by, [deals.amount_currency, sa.text("day"), deals.base_amount_currency]),
    )
    return _paged(both, group_by)


@functools.cache
def _adjustments(scope: Scope, group_by: int) -> Statement:
    """Make (key, whole, category, level, currency, amount)."""
    table = forecast_adjustments
    columns = (table.c.forecast_category, table.c.level, table.c.amount_currency)
    kind = sa.bindparam("period", type_=sa.SmallInteger)
    found = sa.select(*columns, sa.func.sum(table.c.amount_amount)).where(
        *_reached(table, scope), table.c.start_date == _START, table.c.period == kind
    )
    return _paged(_grouped(found, table, group_by, columns), group_by)


@functools.cache
def _quotas(scope: Scope, group_by: int) -> Statement:
    """Make (key, whole, currency, amount)."""
    table = quotas
    of_teams = group_by == _Request.GROUPING_TEAM
    found = sa.select(table.c.amount_currency, sa.func.sum(table.c.amount_amount)).where(
        *_reached(table, scope),
        table.c.start_date == _START,
        table.c.period == sa.bindparam("period", type_=sa.SmallInteger),
        table.c.whole_team if of_teams else ~table.c.whole_team,
    )
    return _paged(_grouped(found, table, group_by, [table.c.amount_currency]), group_by)


def roll_up(tx: Transaction, reach: Reach, asked: Asked, response: Any) -> uuid.UUID | None:
    """Write the forecast that is asked for into a RollUpForecastResponse; return the last group if there are more."""
    request = asked.request
    period = periods.asked(request, asked.today)
    cells, overlays, known = _read(tx, reach, asked, period)
    wanted = [(cell.worth_currency or cell.currency, cell.day) for cell in cells]
    wanted += [(overlay.currency, overlay.day) for overlay in overlays]
    base = rollup_rules.base_of(known, (currency for currency, _ in wanted))
    rates = find_rates(tx, [(currency, day) for currency, day in wanted if currency], base if known else "")
    groups = rollup_rules.add_up(cells, overlays, base, rates)
    periods.tell(response.start_date, period.start)
    periods.tell(response.end_date, period.end)
    response.base_currency_code = base
    _tell(response.total, "", rollup_rules.whole(groups.pop(None, {})), base, request.mode)
    found = sorted(groups, key=lambda group: group or _NIL)
    for group in found[: asked.size]:
        name = "" if group == _NIL else f"{_COLLECTIONS[request.group_by]}/{group}"
        _tell(response.groups.add(), name, groups[group], base, request.mode)
    return found[asked.size - 1] if len(found) > asked.size else None


def _read(tx: Transaction, reach: Reach, asked: Asked, period: Period) -> tuple[list[Cell], list[Overlay], str]:
    """Return the sums of deals, adjustments and quotas, and the tenant's base currency."""
    request, today = asked.request, asked.today
    midnight = dt.time(tzinfo=dt.UTC)
    parameters = {
        **reach.parameters(),
        "period": request.period,
        "start": period.start,
        "end": period.end,
        "since": dt.datetime.combine(period.start, midnight),
        "until": dt.datetime.combine(period.end + dt.timedelta(days=1), midnight),
        "after": asked.after,
        "size": asked.size + 1,
    }
    if request.pipeline:
        parameters["pipeline"] = parse_name(request.pipeline, PIPELINE.pattern, "pipeline")
    scope, group_by = reach.scope, request.group_by
    statements = [(BASE, parameters), (_deals(scope, group_by, bool(request.pipeline)), parameters)]
    if not request.pipeline:
        statements += [(_adjustments(scope, group_by), parameters), (_quotas(scope, group_by), parameters)]
    base, deals, *others = tx.run_all(statements)

    def group(row: Row) -> uuid.UUID | None:
        return None if row[1] else row[0] or _NIL

    cells = [
        Cell(group(row), row[2], row[3], row[4] or today, row[5], row[6] or _NOTHING, row[7] or _NOTHING, *row[8:])
        for row in deals
    ]
    overlays: list[Overlay] = []
    if others:
        adjustments, of_quotas = others
        overlays += [Overlay(group(row), row[2], row[3], row[4], row[5], today) for row in adjustments]
        overlays += [Overlay(group(row), CLOSED, 0, row[2], row[3], period.start) for row in of_quotas]
    return cells, overlays, base[0][0] if base else ""


def _tell(forecast: Any, name: str, group: Mapping[int, Sums], base: str, mode: int) -> None:
    """Write what a group comes to into a RollUpForecastResponse.Forecast."""
    forecast.group = name
    lines = rollup_rules.cumulated(group) if mode == _Request.MODE_CUMULATIVE else group
    forecast.lines.extend(_line(category, lines[category], base) for category in sorted(lines))
    left = Sums()
    for sums in group.values():
        if sums.unconverted:
            left.add(sums)
    for currency in sorted(left.unconverted):
        forecast.unconverted_amounts.add(**money.fields(left.unconverted[currency], currency))
    closed = group.get(CLOSED)
    if base and closed is not None and (quota := closed.overlays.get(0)):
        money.fill(forecast.quota, money.rounded(quota, base), base)
        forecast.attainment = float(closed.base / quota)


def _line(category: int, sums: Sums, base: str) -> Any:
    """Return the RollUpForecastResponse.Line of a category."""
    fields: dict[str, Any] = {
        "amounts": [money.fields(sums.amounts[currency], currency) for currency in sorted(sums.amounts)]
    }
    if base:
        owner, manager = (sums.overlays.get(level, _NOTHING) for level in rollup_rules.LEVELS)
        told = {
            "base_amount": sums.base,
            "weighted_base_amount": sums.weighted,
            "forecast_amount": sums.forecast,
        }
        # Few forecasts have any.
        if sums.overlays:
            told |= {"owner_adjustment": owner, "manager_adjustment": manager}
        fields |= {name: money.fields(money.rounded(amount, base), base) for name, amount in told.items()}
    return forecast_service_pb2.RollUpForecastResponse.Line(category=category, count=sums.count, **fields)  # type: ignore[arg-type]  # a number is one
