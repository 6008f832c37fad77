"""What many opportunities come to: the board of a pipeline, and counts and sums in groups.

Everything here goes through the caller's reach, as every list does: no total contains what its reader may not see.
"""

from __future__ import annotations

import functools
import zoneinfo
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from kontor.sales.v1 import opportunity_pb2, opportunity_service_pb2
from kontor_kit import filters, money, pages
from kontor_kit.custom_fields import Definition
from kontor_kit.db import Row, Statement, Transaction
from kontor_kit.errors import InvalidArgument
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name
from kontor_kit.principals import Scope
from kontor_kit.store import Reach
from kontor_kit.tables import KEY_TEXT
from kontor_sales.opportunities.table import OPPORTUNITY, opportunities
from kontor_sales.pipelines.rules import LOST, OPEN, WON
from kontor_sales.pipelines.table import PIPELINE

CARD: Final = (
    "name", "display_name", "account", "pipeline", "stage", "state", "amount", "close_date", "forecast_category",
    "next_step", "next_step_date", "owner", "team", "open_time", "stage_enter_time", "buying_centre", "decision_steps",
    "etag",
)  # fmt: skip
"""What a card of a board is made of."""
_NOT_SHOWN: Final = ("buying_centre", "decision_steps")
MOST_GROUPS: Final = 10_000

_DIMENSION = opportunity_service_pb2.AnalyzeOpportunitiesRequest.Dimension
_DAY: Final = 86_400
_ZONE = sa.bindparam("zone", type_=sa.Text)


def _reached(statement: sa.Select[Any], scope: Scope) -> sa.Select[Any]:
    """Narrow a statement down to the live opportunities that a scope reaches."""
    table = opportunities
    statement = statement.where(table.c.tenant_id == TENANT, table.c.delete_time.is_(None))
    condition = OPPORTUNITY.scope.clause(scope, table)
    return statement if condition is None else statement.where(condition)


# The board.


@functools.cache
def _totals(scope: Scope) -> Statement:
    table = opportunities
    statement = sa.select(
        table.c.stage, table.c.amount_currency, sa.func.count(), sa.func.sum(table.c.amount_amount)
    ).where(table.c.pipeline == sa.bindparam("pipeline", type_=sa.Uuid))
    return Statement(_reached(statement, scope).group_by(table.c.stage, table.c.amount_currency))


@functools.cache
def _first(scope: Scope) -> Statement:
    """The first opportunities of each stage: one walk into an index a stage, however many there are."""
    table = opportunities
    stages = sa.func.unnest(sa.bindparam("stages", type_=ARRAY(KEY_TEXT)))
    given = stages.table_valued(sa.column("stage", KEY_TEXT)).render_derived(name="given")
    columns = [column.label(f"f{place}") for place, column in enumerate(OPPORTUNITY.codec.columns(CARD))]
    its = sa.select(*columns).where(
        table.c.pipeline == sa.bindparam("pipeline", type_=sa.Uuid), table.c.stage == given.c.stage
    )
    its = _reached(its, scope).order_by(table.c.close_date, table.c.id).limit(sa.bindparam("size", type_=sa.Integer))
    first = its.correlate(given).lateral("first")
    return Statement(sa.select(*first.c).select_from(given).join(first, sa.true()))


def board(tx: Transaction, reach: Reach, pipeline: Any, page_size: int, response: Any) -> list[Any]:
    """Write the totals of each stage into a ShowBoardResponse, and return the cards, in order, in one round trip."""
    parameters = {**reach.parameters(), "pipeline": parse_name(pipeline.name, PIPELINE.pattern, "name")}
    stages = [stage.id for stage in pipeline.stages]
    size = pages.page_size(page_size, default=50, maximum=200)
    totals, rows = tx.run_all(
        [(_totals(reach.scope), parameters), (_first(reach.scope), {**parameters, "stages": stages, "size": size})]
    )
    by_stage: dict[str, list[Row]] = defaultdict(list)
    for stage, *total in totals:
        by_stage[stage].append(tuple(total))
    for stage in pipeline.stages:
        column = response.columns.add(stage=stage.id, display_name=stage.display_name, category=stage.category)
        probability = Decimal(stage.probability.value)
        for currency, count, amount in sorted(by_stage[stage.id], key=lambda total: total[0] or ""):
            column.count += count
            if currency:
                column.amounts.add(**money.fields(amount, currency))
                weighted = money.rounded(amount * probability, currency)
                column.weighted_amounts.add(**money.fields(weighted, currency))
    load = OPPORTUNITY.codec.loader(CARD)
    return [load(row) for row in rows]


def deal(response: Any, cards: Sequence[Any]) -> None:
    """Put cards into the columns of a ShowBoardResponse."""
    columns = {column.stage: column for column in response.columns}
    for card in cards:
        for field in _NOT_SHOWN:
            card.ClearField(field)
        columns[card.stage].opportunities.append(card)


# Groups.


class Dimension(NamedTuple):
    """Something to group by."""

    column: sa.ColumnElement[Any]
    text: Callable[[Any], str]


def _name(collection: str) -> Callable[[Any], str]:
    return lambda key: f"{collection}/{key}"


def _enum(enum: Any) -> Callable[[Any], str]:
    return lambda number: str(enum.Name(number))


def _period(column: sa.Column[Any], form: str) -> sa.ColumnElement[Any]:
    return sa.func.to_char(sa.func.timezone(_ZONE, column), sa.literal_column(f"'{form}'", sa.Text))


_LINES = (
    sa.func.jsonb_array_elements(opportunities.c.lines).table_valued(sa.column("line", JSONB)).render_derived("line")
)
_MONTH, _QUARTER = "YYYY-MM", 'YYYY-"Q"Q'
_COLUMNS = opportunities.c
_DIMENSIONS: Final = {
    _DIMENSION.DIMENSION_OWNER: Dimension(_COLUMNS.owner, _name("users")),
    _DIMENSION.DIMENSION_TEAM: Dimension(_COLUMNS.team, _name("teams")),
    _DIMENSION.DIMENSION_ACCOUNT: Dimension(_COLUMNS.account, _name("accounts")),
    _DIMENSION.DIMENSION_PIPELINE: Dimension(_COLUMNS.pipeline, _name("pipelines")),
    _DIMENSION.DIMENSION_STAGE: Dimension(_COLUMNS.stage, str),
    _DIMENSION.DIMENSION_STATE: Dimension(_COLUMNS.state, _enum(opportunity_pb2.Opportunity.State)),
    _DIMENSION.DIMENSION_FORECAST_CATEGORY: Dimension(
        _COLUMNS.forecast_category, _enum(opportunity_pb2.Opportunity.ForecastCategory)
    ),
    _DIMENSION.DIMENSION_SOURCE: Dimension(_COLUMNS.source, str),
    _DIMENSION.DIMENSION_CLOSE_MONTH: Dimension(_period(_COLUMNS.close_time, _MONTH), str),
    _DIMENSION.DIMENSION_CLOSE_QUARTER: Dimension(_period(_COLUMNS.close_time, _QUARTER), str),
    _DIMENSION.DIMENSION_OPEN_MONTH: Dimension(_period(_COLUMNS.open_time, _MONTH), str),
    _DIMENSION.DIMENSION_OPEN_QUARTER: Dimension(_period(_COLUMNS.open_time, _QUARTER), str),
    _DIMENSION.DIMENSION_PRODUCT: Dimension(_LINES.c.line["product"].astext, str),
    _DIMENSION.DIMENSION_LAST_OPEN_STAGE: Dimension(_COLUMNS.last_open_stage, str),
}


def _line_amount() -> sa.ColumnElement[Any]:
    """What a line comes to, as google.type.Money has it."""
    net = _LINES.c.line["net_amount"]
    units, nanos = (sa.cast(sa.func.coalesce(net[part].astext, "0"), sa.Numeric) for part in ("units", "nanos"))
    return units + nanos * sa.literal_column("0.000000001", sa.Numeric)


def _grouped(dimensions: Sequence[Any], scope: Scope) -> sa.Select[Any]:
    """Make (keys..., currency, state, count, amount, seconds from open to close) of the opportunities in reach."""
    keys = [_DIMENSIONS[dimension].column.label(f"k{place}") for place, dimension in enumerate(dimensions)]
    by_line = _DIMENSION.DIMENSION_PRODUCT in dimensions
    amount = _line_amount() if by_line else _COLUMNS.amount_amount
    # Intervals add up faster than the numbers that `extract` makes of each.
    cycle = sa.func.extract("epoch", sa.func.sum(_COLUMNS.close_time - _COLUMNS.open_time))
    values = (_COLUMNS.amount_currency, _COLUMNS.state, sa.func.count(), sa.func.sum(amount), cycle)
    statement = sa.select(*keys, *values)
    source = opportunities.outerjoin(_LINES, sa.true()) if by_line else opportunities
    statement = statement.select_from(source)
    grouped = (*keys, _COLUMNS.amount_currency, _COLUMNS.state)
    return _reached(statement, scope).group_by(*grouped)


class Group:
    """Opportunities that are counted together."""

    def __init__(self) -> None:
        self.counts: dict[int, int] = defaultdict(int)
        self.amounts: dict[int, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
        self.seconds: dict[int, Decimal] = defaultdict(Decimal)

    def add(
        self, currency: str | None, state: int, count: int, amount: Decimal | None, seconds: Decimal | None
    ) -> None:
        """Add those of one currency and state."""
        self.counts[state] += count
        if currency and amount is not None:
            self.amounts[state][currency] += amount
        self.seconds[state] += seconds or 0

    def tell(self, group: Any) -> None:
        """Write it into an AnalyzeOpportunitiesResponse.Group."""
        won, lost = self.counts[WON], self.counts[LOST]
        group.count = sum(self.counts.values())
        group.open_count, group.won_count, group.lost_count = self.counts[OPEN], won, lost
        for state, told in ((OPEN, group.open_amounts), (WON, group.won_amounts), (LOST, group.lost_amounts)):
            for currency, amount in sorted(self.amounts[state].items()):
                told.add(**money.fields(amount, currency))
        if won + lost:
            group.win_rate = won / (won + lost)
            group.mean_cycle_days = float((self.seconds[WON] + self.seconds[LOST]) / _DAY) / (won + lost)
        if won:
            group.mean_won_cycle_days = float(self.seconds[WON] / _DAY) / won


def analyze(tx: Transaction, reach: Reach, request: Any, definitions: Mapping[str, Definition], response: Any) -> None:
    """Write the groups that a request asks for into an AnalyzeOpportunitiesResponse."""
    zone = request.time_zone or "UTC"
    if zone not in zoneinfo.available_timezones():
        raise InvalidArgument(("time_zone", "is not a time zone, for example Europe/Berlin"))
    dimensions = list(request.group_by)
    statement = _grouped(dimensions, reach.scope)
    parameters = {**reach.parameters(), "zone": zone}
    node = filters.parse(request.filter)
    if node is not None:
        compiled = OPPORTUNITY.filter_fields.compile(node, definitions)
        statement = statement.where(compiled.clause)
        parameters |= compiled.parameters(filters.values(node))
    groups: dict[tuple[str, ...], Group] = {}
    for row in tx.run(Statement(statement), parameters):
        keys = zip(dimensions, row, strict=False)
        key = tuple("" if value is None else _DIMENSIONS[dimension].text(value) for dimension, value in keys)
        groups.setdefault(key, Group()).add(*row[len(dimensions) :])
    if len(groups) > MOST_GROUPS:
        raise InvalidArgument(("group_by", f"makes more than {MOST_GROUPS} groups; ask for less with a filter"))
    for key in sorted(groups):
        groups[key].tell(response.groups.add(keys=key))
