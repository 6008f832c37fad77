"""How tests come to quotes, orders and payments."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from kontor_kit import money
from kontor_kit.testing.running import Caller

TODAY = dt.datetime.now(dt.UTC).date()


def euro(units: object) -> dict[str, Any]:
    """Return an amount of money."""
    return money.fields(Decimal(str(units)), "EUR")


def date(day: dt.date) -> dict[str, int]:
    """Return a day as the contract has it."""
    return {"year": day.year, "month": day.month, "day": day.day}


def day(offset: int) -> dict[str, int]:
    """Return the day so many days from today."""
    return date(TODAY + dt.timedelta(days=offset))


def line(units: object, **fields: Any) -> dict[str, Any]:
    """Return a line that costs so many euros."""
    return {"description": "Work", "unit_price": euro(units), **fields}


def quote(caller: Caller, **fields: Any) -> Any:
    """Return a new quote."""
    usual = {"display_name": "Offer", "lines": [line(100)], "valid_until": day(10)}
    return caller("CreateQuote", quote={**usual, **fields})


def sent(caller: Caller, **fields: Any) -> tuple[Any, str]:
    """Return a quote that lies with the customer, and the token of its link."""
    name = quote(caller, **fields).name
    caller("SubmitQuote", name=name)
    response = caller("SendQuote", name=name)
    return response.quote, response.token


def stranger(caller: Caller) -> Caller:
    """Return somebody without a token."""
    return Caller(caller.running, caller.tenant, user="", teams=(), token="")


def accepted(caller: Caller, **fields: Any) -> Any:
    """Return a quote that was accepted."""
    made, token = sent(caller, **fields)
    stranger(caller)("AcceptQuote", token=token, signer_name="Max")
    return caller("GetQuote", name=made.name)


def order(caller: Caller, **fields: Any) -> Any:
    """Return a new order."""
    return caller("OrderQuote", name=accepted(caller, **fields).name)
