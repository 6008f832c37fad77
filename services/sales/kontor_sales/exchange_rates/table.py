"""The resource and the table of exchange rates, and what amounts are worth by them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, MutableMapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from kontor.sales.v1 import exchange_rate_pb2
from kontor_kit import money
from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.resource import Resource
from kontor_kit.scopes import TenantScope
from kontor_kit.tables import KEY_TEXT, index, resource_table
from kontor_sales.exchange_rates import rules
from kontor_sales.exchange_rates.rules import Rates
from kontor_sales.pipelines.rules import OPEN
from kontor_sales.tables import metadata

exchange_rates = resource_table(
    "exchange_rates",
    metadata,
    sa.Column("currency_code", KEY_TEXT, nullable=False),
    sa.Column("base_currency_code", KEY_TEXT, nullable=False),
    sa.Column("rate", sa.Numeric, nullable=False),
    sa.Column("start_date", sa.Date, nullable=False),
    index("exchange_rates", "currency_code", "start_date", unique=True),
    index("exchange_rates", "currency_code"),
    index("exchange_rates", "start_date"),
    index("exchange_rates", "create_time"),
    index("exchange_rates", "update_time"),
    owned=False,
)

EXCHANGE_RATE = Resource(
    exchange_rate_pb2.ExchangeRate,
    exchange_rates,
    scope=TenantScope(),
    conflicts={"exchange_rates_currency_code_start_date": "the currency has a rate from this day on"},
)

_KNOWN_BASE: Final = "base currency"
LIVE_RATES = (exchange_rates.c.tenant_id == TENANT, exchange_rates.c.delete_time.is_(None))
BASE = Statement(sa.select(exchange_rates.c.base_currency_code).where(*LIVE_RATES).limit(1))
"""The tenant's base currency, for `tenant`; no row where it has no rates."""


def _rates() -> sa.Select[Any]:
    """(currency, day, rate) for `currencies` and `days`: one walk into the index each."""
    given = (
        sa.func.unnest(sa.bindparam("currencies", type_=ARRAY(KEY_TEXT)), sa.bindparam("days", type_=ARRAY(sa.Date)))
        .table_valued(sa.column("currency", KEY_TEXT), sa.column("day", sa.Date))
        .render_derived(name="given")
    )
    last = (
        sa.select(exchange_rates.c.rate)
        .where(
            *LIVE_RATES,
            exchange_rates.c.currency_code == given.c.currency,
            exchange_rates.c.start_date <= given.c.day,
        )
        .order_by(exchange_rates.c.start_date.desc())
        .limit(1)
        .correlate(given)
        .lateral("last")
    )
    return sa.select(given.c.currency, given.c.day, last.c.rate).select_from(given).join(last, sa.true())


_RATES = Statement(_rates())


def base_currency(tx: Transaction) -> str:
    """Return the tenant's base currency; empty where it has no rates."""
    rows = tx.run(BASE, {"tenant": tx.tenant_id})
    return rows[0][0] if rows else ""


def find_rates(tx: Transaction, wanted: Collection[tuple[str, dt.date]], base: str) -> Rates:
    """Return what currencies are worth on days, in one statement; in none where all of them are the base currency."""
    asked = sorted({(currency, day) for currency, day in wanted if currency != base})
    if not asked or not base:
        return {}
    currencies, days = zip(*asked, strict=True)
    rows = tx.run(_RATES, {"tenant": tx.tenant_id, "currencies": list(currencies), "days": list(days)})
    return {(currency, day): rate for currency, day, rate in rows}


def freeze(tx: Transaction, opportunity: Any, known: MutableMapping[str, Any]) -> None:
    """Write down what an opportunity is worth that closes; nothing where it is open, or there is no rate.

    `known` keeps what the transaction looked up, so that the rows of a batch ask for it once.
    """
    opportunity.ClearField("base_amount")
    if opportunity.state == OPEN or not opportunity.HasField("amount"):
        return
    if _KNOWN_BASE not in known:
        known[_KNOWN_BASE] = base_currency(tx)
    base: str = known[_KNOWN_BASE]
    if not base:
        return
    currency, day = opportunity.amount.currency_code, opportunity.close_time.ToDatetime(dt.UTC).date()
    key = f"rate of {currency} on {day}"
    if key not in known:
        known[key] = find_rates(tx, [(currency, day)], base)
    worth = rules.convert(money.amount(opportunity.amount), currency, day, base, known[key])
    if worth is not None:
        money.fill(opportunity.base_amount, worth, base)
