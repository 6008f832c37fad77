"""Which opportunities a report looks at: those within the caller's reach, in a span of days, that a filter leaves."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from kontor_kit import filters
from kontor_kit.custom_fields import Definition
from kontor_kit.errors import InvalidArgument
from kontor_kit.filter_sql import TENANT
from kontor_kit.store import Reach
from kontor_sales.opportunities.rules import day
from kontor_sales.opportunities.table import OPPORTUNITY, opportunities

MOST_DAYS = 3660
_SINCE, _UNTIL = (sa.bindparam(name, type_=sa.DateTime(timezone=True)) for name in ("since", "until"))


def choose(
    reach: Reach, request: Any, column: sa.Column[Any], definitions: Mapping[str, Definition]
) -> tuple[list[sa.ColumnElement[bool]], dict[str, Any]]:
    """Return conditions on opportunities, and their parameters.

    The request has `start_date`, `end_date`, which `column` lies between, and `filter`.
    """
    start, end = day(request.start_date), day(request.end_date)
    for field, value in (("start_date", start), ("end_date", end)):
        if value is None:
            raise InvalidArgument((field, "must be a whole date: a year, a month and a day that exist"))
    assert start is not None and end is not None, "they were looked at"  # noqa: PT018  # one thing
    if not dt.timedelta(0) <= end - start <= dt.timedelta(days=MOST_DAYS) or end.year == dt.MAXYEAR:
        raise InvalidArgument(("end_date", f"must not be before start_date, nor more than {MOST_DAYS} days later"))
    table = opportunities.c
    conditions = [table.tenant_id == TENANT, table.delete_time.is_(None), column >= _SINCE, column < _UNTIL]
    condition = OPPORTUNITY.scope.clause(reach.scope, opportunities)
    if condition is not None:
        conditions.append(condition)
    parameters = {
        **reach.parameters(),
        "since": dt.datetime.combine(start, dt.time(), dt.UTC),
        "until": dt.datetime.combine(end + dt.timedelta(days=1), dt.time(), dt.UTC),
    }
    node = filters.parse(request.filter)
    if node is not None:
        compiled = OPPORTUNITY.filter_fields.compile(node, definitions)
        conditions.append(compiled.clause)
        parameters |= compiled.parameters(filters.values(node))
    return conditions, parameters
