"""The bridge between two snapshots: sums at both ends, and in between the deals that are not the same, in one round trip."""

from __future__ import annotations

import datetime as dt
import functools
import uuid
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa

from kontor_kit import money
from kontor_kit.db import Row, Statement, Transaction
from kontor_kit.errors import InvalidArgument, NotFound
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name
from kontor_kit.principals import Scope
from kontor_kit.scopes import OwnerScope
from kontor_kit.store import Reach, Store
from kontor_sales.forecasts import bridge_rules
from kontor_sales.forecasts import rules as periods
from kontor_sales.forecasts.bridge_rules import Deal
from kontor_sales.forecasts.rollup_rules import OMITTED
from kontor_sales.forecasts.table import FORECAST_SNAPSHOT, forecast_deals
from kontor_sales.pipelines.rules import OPEN
from kontor_sales.pipelines.table import PIPELINE

MOST_DAYS: Final = 366
"""So far apart snapshots may be: the later one knows of nothing that was closed earlier."""
MOST_CHANGES: Final = 1000

_TRUE = sa.literal_column("true", sa.Boolean)
_COMPARED: Final = (
    "owner",
    "team",
    "pipeline",
    "state",
    "forecast_category",
    "day",
    "currency",
    "amount",
    "base_amount",
)


def _mine(scope: Scope, table: Any) -> sa.ColumnElement[bool]:
    condition = OwnerScope().clause(scope, table)
    return _TRUE if condition is None else sa.func.coalesce(condition, sa.false())


def _here(table: Any, of_one_pipeline: bool) -> sa.ColumnElement[bool]:
    return table.c.pipeline == sa.bindparam("pipeline", type_=sa.Uuid) if of_one_pipeline else _TRUE


@functools.cache
def _ends(scope: Scope, of_one_pipeline: bool) -> Statement:
    """Make (snapshot, currency, amount, base amount) of what counts."""
    table = forecast_deals
    both = sa.or_(*(table.c.snapshot == sa.bindparam(name, type_=sa.Uuid) for name in ("earlier", "later")))
    start, end = (sa.bindparam(name, type_=sa.Date) for name in ("start", "end"))
    return Statement(
        sa.select(table.c.snapshot, table.c.currency, sa.func.sum(table.c.amount), sa.func.sum(table.c.base_amount))
        .where(
            table.c.tenant_id == TENANT,
            both,
            table.c.state == sa.literal_column(str(OPEN)),
            table.c.forecast_category != sa.literal_column(str(OMITTED)),
            table.c.day.between(start, end),
            _mine(scope, table),
            _here(table, of_one_pipeline),
        )
        .group_by(table.c.snapshot, table.c.currency)
    )


@functools.cache
def _changed(scope: Scope, of_one_pipeline: bool) -> Statement:
    """Make (opportunity, before..., after...) of the deals that are not the same, as far as the caller saw them once."""
    sides = []
    for name in ("earlier", "later"):
        table = forecast_deals
        side = sa.select(table).where(
            table.c.tenant_id == TENANT, table.c.snapshot == sa.bindparam(name, type_=sa.Uuid)
        )
        sides.append(side.subquery(name))
    before, after = sides
    same = sa.and_(*(before.c[name].is_not_distinct_from(after.c[name]) for name in _COMPARED))
    columns = [
        column
        for side in sides
        for column in (
            side.c.opportunity.is_not(None),
            _mine(scope, side),
            sa.func.coalesce(_here(side, of_one_pipeline), sa.false()),
            *(side.c[name] for name in ("state", "forecast_category", "day", "currency", "amount", "base_amount")),
        )
    ]
    opportunity = sa.func.coalesce(before.c.opportunity, after.c.opportunity)
    return Statement(
        sa.select(opportunity, *columns)
        .select_from(before.join(after, before.c.opportunity == after.c.opportunity, full=True))
        .where(sa.or_(_mine(scope, before), _mine(scope, after)), ~same)
        .order_by(opportunity)
    )


def bridge(tx: Transaction, reach: Reach, request: Any, response: Any) -> None:
    """Write what happened between two snapshots into a BridgeForecastResponse."""
    earlier, later = _snapshots(tx, reach, request)
    period = periods.asked(request, _day(later))
    periods.tell(response.start_date, period.start)
    periods.tell(response.end_date, period.end)
    parameters = {**reach.parameters(), "start": period.start, "end": period.end}
    for key, snapshot in (("earlier", earlier), ("later", later)):
        parameters[key] = parse_name(snapshot.name, FORECAST_SNAPSHOT.pattern, "name")
    if request.pipeline:
        parameters["pipeline"] = parse_name(request.pipeline, PIPELINE.pattern, "pipeline")
    kind = reach.scope, bool(request.pipeline)
    ends, changed = tx.run_all([(_ends(*kind), parameters), (_changed(*kind), parameters)])
    base = later.base_currency_code if later.base_currency_code == earlier.base_currency_code else ""
    for name, amounts, base_amount in (
        ("earlier", response.start_amounts, response.start_base_amount),
        ("later", response.end_amounts, response.end_base_amount),
    ):
        _tell_end(ends, parameters[name], amounts, base_amount, base)
    _tell_steps(changed, period, base, response)


def _snapshots(tx: Transaction, reach: Reach, request: Any) -> tuple[Any, Any]:
    """Return the two snapshots."""
    store = Store(FORECAST_SNAPSHOT)
    fields = ("from_snapshot", "to_snapshot")
    ids = [parse_name(getattr(request, field), FORECAST_SNAPSHOT.pattern, field) for field in fields]
    found = store.get(tx, Reach(reach.principal, Scope.ALL), ids)
    for field, id in zip(fields, ids, strict=True):
        if id not in found:
            raise NotFound(f"there is no {getattr(request, field)}", metadata={"resource": getattr(request, field)})
    earlier, later = (found[id] for id in ids)
    if later.create_time.ToNanoseconds() < earlier.create_time.ToNanoseconds():
        raise InvalidArgument(("to_snapshot", "was taken before from_snapshot"))
    if _day(later) - _day(earlier) > dt.timedelta(days=MOST_DAYS):
        raise InvalidArgument(("to_snapshot", f"was taken more than {MOST_DAYS} days after from_snapshot"))
    return earlier, later


def _day(snapshot: Any) -> dt.date:
    return dt.date(snapshot.day.year, snapshot.day.month, snapshot.day.day)


def _tell_end(ends: Sequence[Row], snapshot: uuid.UUID, amounts: Any, base_amount: Any, base: str) -> None:
    total = Decimal(0)
    for of, currency, amount, worth in sorted(ends, key=lambda row: row[1] or ""):
        if of == snapshot:
            total += worth or 0
            if currency and amount is not None:
                amounts.add(**money.fields(amount, currency))
    if base:
        money.fill(base_amount, total, base)


def _tell_steps(changed: Sequence[Row], period: periods.Period, base: str, response: Any) -> None:
    """Write what happened to each deal, and to all together."""
    counts: dict[int, int] = defaultdict(int)
    amounts: dict[int, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    worth: dict[int, Decimal] = defaultdict(Decimal)
    for row in changed:
        for step in bridge_rules.steps(_deal(row[1:10]), _deal(row[10:19]), period):
            if step.kind == bridge_rules.EXCHANGED and not base:
                continue
            counts[step.kind] += 1
            worth[step.kind] += step.base
            for currency, amount in step.amounts.items():
                amounts[step.kind][currency] += amount
            if len(response.changes) < MOST_CHANGES:
                change = response.changes.add(opportunity=f"opportunities/{row[0]}", kind=step.kind)
                _tell_amounts(change.amounts, step.amounts)
    for kind in sorted(counts):
        told = response.steps.add(kind=kind, count=counts[kind])
        _tell_amounts(told.amounts, amounts[kind])
        if base:
            money.fill(told.base_amount, worth[kind], base)


def _tell_amounts(told: Any, amounts: dict[str, Decimal]) -> None:
    for currency in sorted(amounts):
        told.add(**money.fields(amounts[currency], currency))


def _deal(values: Sequence[Any]) -> Deal | None:
    there, *rest = values
    return Deal(*rest) if there else None
