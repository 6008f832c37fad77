"""What becomes of an order when the system that handles it reports, in whichever order the reports come."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final

from kontor_kit import money
from kontor_kit.errors import Violation
from kontor_sales.lines import rules as lines

REQUESTED: Final = 1
CLOCKS_DIFFER: Final = dt.timedelta(minutes=5)
"""So far ahead another system's clock may be."""


def conflict(order: Any, report: Any, external_id: str) -> str:
    """Return why a report contradicts what was said before; empty where it does not."""
    if order.order_number and order.order_number != external_id:
        return f"the order has the number {order.order_number} already"
    for known in order.reports:
        if known.source != report.source:
            return f"the reports on this order come from {known.source}"
        if known.sequence == report.sequence and known.state != report.state:
            return f"report {report.sequence} said something else"
    return ""


def add_report(order: Any, report: Any) -> bool:
    """Put a report into its place among those of an order, in place; return whether it was not known.

    The order stands where the report with the largest number says.
    """
    if any(known.sequence == report.sequence for known in order.reports):
        return False
    order.reports.append(report)
    order.reports.sort(key=lambda known: known.sequence)
    order.state = order.reports[-1].state
    return True


def check_payments(payments: Sequence[Any], currency: str) -> list[Violation]:
    """Return what is wrong with payments for an order in a currency."""
    violations: list[Violation] = []
    for place, payment in enumerate(payments):
        at = f"payments[{place}]"
        found = money.check(payment.net_amount, f"{at}.net_amount", negative=True, most=lines.MOST_TOTAL)
        if not found and payment.net_amount.currency_code != currency:
            found.append(Violation(f"{at}.net_amount.currency_code", f"must be {currency}, as in the order"))
        if not found and money.rounded(money.amount(payment.net_amount), currency) != money.amount(payment.net_amount):
            found.append(Violation(f"{at}.net_amount", "must be an amount that can be paid"))
        try:
            dt.date(payment.pay_date.year, payment.pay_date.month, payment.pay_date.day)
        except ValueError:
            found.append(Violation(f"{at}.pay_date", "must be a day that exists"))
        violations += found
    return violations


def new_payments(order: Any, payments: Sequence[Any]) -> list[Any]:
    """Return the payments that an order does not have, each once."""
    known = {(payment.source, payment.external_id) for payment in order.payments}
    found = []
    for payment in payments:
        key = (payment.source, payment.external_id)
        if key not in known:
            known.add(key)
            found.append(payment)
    return found
