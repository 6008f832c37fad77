"""Why opportunities were won or lost, and against whom."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from kontor.sales.v1 import forecast_service_pb2
from kontor_kit import money
from kontor_kit.custom_fields import Definition
from kontor_kit.db import Row, Statement, Transaction
from kontor_kit.store import Reach
from kontor_sales.forecasts.chosen import choose
from kontor_sales.opportunities.table import opportunities
from kontor_sales.pipelines.rules import LOST, OPEN, WON

_Request: Final = forecast_service_pb2.AnalyzeOutcomesRequest
_ONE = sa.literal_column("1", sa.Numeric)


def _grouped(conditions: Sequence[Any], group_by: int) -> Statement:
    """Make (group, name, state, lost to it, currency, gap's currency, count, share, amount, sum of gaps, count of gaps)."""
    deals = opportunities.c
    of_reasons = group_by == _Request.GROUPING_REASON
    held = deals.close_reasons if of_reasons else deals.competitors
    item = sa.func.jsonb_array_elements(held).table_valued(sa.column("value", JSONB)).render_derived("item")
    value = item.c.value
    if of_reasons:
        name = value["close_reason"].astext
        group: sa.ColumnElement[Any] = name
        winner: sa.ColumnElement[Any] = sa.literal_column("false", sa.Boolean)
        weight = sa.cast(sa.func.coalesce(value["weight"].astext, "1"), sa.Numeric)
        # Each deal is shared among its reasons.
        its = sa.func.jsonb_array_elements(held).table_valued(sa.column("value", JSONB)).render_derived("its")
        whole = sa.select(sa.func.sum(sa.cast(sa.func.coalesce(its.c.value["weight"].astext, "1"), sa.Numeric)))
        share = sa.func.sum(weight / whole.correlate(opportunities).scalar_subquery())
    else:
        name = value["display_name"].astext
        group = sa.func.lower(name)
        winner = sa.func.coalesce(sa.cast(value["winner"].astext, sa.Boolean), sa.false())
        share = sa.func.sum(_ONE)
    keys = (group.label("key"), deals.state, winner.label("won_it"), deals.amount_currency, deals.price_gap_currency)
    return Statement(
        sa.select(keys[0], sa.func.min(name), *keys[1:])
        .add_columns(sa.func.count(), share, sa.func.sum(deals.amount_amount))
        .add_columns(sa.func.sum(deals.price_gap_amount), sa.func.count(deals.price_gap_amount))
        .select_from(opportunities.join(item, sa.true()))
        .where(*conditions, deals.state != OPEN)
        .group_by(sa.text("key"), deals.state, sa.text("won_it"), deals.amount_currency, deals.price_gap_currency)
    )


def analyze(tx: Transaction, reach: Reach, request: Any, definitions: Mapping[str, Definition], response: Any) -> None:
    """Write the groups that a request asks for into an AnalyzeOutcomesResponse."""
    conditions, parameters = choose(reach, request, opportunities.c.close_time, definitions)
    groups: dict[str, list[Row]] = defaultdict(list)
    for key, *row in tx.run(_grouped(conditions, request.group_by), parameters):
        groups[key].append(tuple(row))
    told = [_group(rows, request.group_by) for rows in groups.values()]
    response.groups.extend(sorted(told, key=lambda group: (-group.won_count - group.lost_count, group.group)))


def _group(rows: Iterable[Row], group_by: int) -> Any:
    """Return the AnalyzeOutcomesResponse.Group of rows without their key."""
    group: Any = forecast_service_pb2.AnalyzeOutcomesResponse.Group()
    amounts: dict[int, dict[str, Decimal]] = {WON: defaultdict(Decimal), LOST: defaultdict(Decimal)}
    gaps: dict[str, tuple[Decimal, int]] = defaultdict(lambda: (Decimal(0), 0))
    for name, state, won_it, currency, gap_currency, count, share, amount, gap, gap_count in rows:
        group.group = min(filter(None, (group.group, name)))
        group.share += float(share)
        group.won_count += count if state == WON else 0
        group.lost_count += count if state == LOST else 0
        group.lost_to_count += count if state == LOST and won_it else 0
        if currency and amount is not None:
            amounts[state][currency] += amount
        if gap_currency:
            gaps[gap_currency] = (gaps[gap_currency][0] + gap, gaps[gap_currency][1] + gap_count)
    if group_by == _Request.GROUPING_COMPETITOR:
        group.win_rate = group.won_count / (group.won_count + group.lost_count)
    for state, told in ((WON, group.won_amounts), (LOST, group.lost_amounts)):
        for currency in sorted(amounts[state]):
            told.add(**money.fields(amounts[state][currency], currency))
    for currency in sorted(gaps):
        total, count = gaps[currency]
        group.mean_price_gaps.add(**money.fields(money.rounded(total / count, currency), currency))
    return group
