"""What a deal is worth in the tenant's own currency once it is closed: by the rate of its day, and for good."""

from __future__ import annotations

import datetime as dt
from collections.abc import MutableMapping
from typing import Any, Final

from kontor_kit import money
from kontor_kit.db import Transaction
from kontor_sales.exchange_rates import rules
from kontor_sales.exchange_rates.table import base_currency, find_rates
from kontor_sales.pipelines.rules import OPEN

_BASE: Final = "base currency"


def freeze(tx: Transaction, opportunity: Any, known: MutableMapping[str, Any]) -> None:
    """Write down what an opportunity is worth that closes; nothing where it is open, or there is no rate.

    `known` keeps what the transaction looked up, so that the rows of a batch ask for it once.
    """
    opportunity.ClearField("base_amount")
    if opportunity.state == OPEN or not opportunity.HasField("amount"):
        return
    if _BASE not in known:
        known[_BASE] = base_currency(tx)
    base: str = known[_BASE]
    if not base:
        return
    currency, day = opportunity.amount.currency_code, opportunity.close_time.ToDatetime(dt.UTC).date()
    key = f"rate of {currency} on {day}"
    if key not in known:
        known[key] = find_rates(tx, [(currency, day)], base)
    worth = rules.convert(money.amount(opportunity.amount), currency, day, base, known[key])
    if worth is not None:
        money.fill(opportunity.base_amount, worth, base)
