"""What an agent gets of a payment: by family of the products sold, at the rate that says the most about it.

A payment is divided among the families of its order in proportion to their net amounts, so that the parts add up to it
(`kontor_kit.money.shares`); the commission on a part is rounded, a half away from zero. Money that is given back is
divided in the same way, and gives the same amounts below 0.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from kontor_kit import money
from kontor_kit.errors import Violation
from kontor_sales.lines import rules as lines


class Rate(NamedTuple):
    """What there is for what, by a plan."""

    plan: str
    agent: str
    family: str
    percent: Decimal
    valid_from: dt.date | None
    valid_to: dt.date | None


class Part(NamedTuple):
    """What an agent gets of a part of a payment."""

    family: str
    basis: Decimal
    percent: Decimal
    plan: str
    amount: Decimal


def normalise(plan: Any) -> list[Violation]:
    """Return what is wrong with a plan."""
    violations: list[Violation] = []
    if plan.display_name and not plan.display_name.strip():
        violations.append(Violation("display_name", "must not be blank"))
    days = []
    for field in ("valid_from", "valid_to"):
        if plan.HasField(field):
            try:
                days.append(to_date(getattr(plan, field)))
            except ValueError:
                violations.append(Violation(field, "must be a day that exists"))
    if len(days) == 2 and days[1] < days[0]:
        violations.append(Violation("valid_to", "must not be before valid_from"))
    seen: set[tuple[str, str]] = set()
    for place, rate in enumerate(plan.rates):
        at = f"rates[{place}]"
        violations += lines.check_number(rate.percent, f"{at}.percent", places=lines.RATE_PLACES)
        if (rate.agent, rate.family) in seen:
            violations.append(Violation(at, "another rate is for the same agent and family"))
        seen.add((rate.agent, rate.family))
    return violations


def to_date(date: Any) -> dt.date:
    """Return a day as Python has it; raises ValueError."""
    return dt.date(date.year, date.month, date.day)


def rates_of(plan: Any) -> list[Rate]:
    """Return the rates of a plan."""
    since = to_date(plan.valid_from) if plan.HasField("valid_from") else None
    until = to_date(plan.valid_to) if plan.HasField("valid_to") else None
    return [Rate(plan.name, rate.agent, rate.family, lines.number(rate.percent), since, until) for rate in plan.rates]


def choose(rates: Iterable[Rate], agent: str, family: str, day: dt.date) -> Rate | None:
    """Return the rate for what an agent sold of a family on a day; None where there is none.

    One for the agent goes before one for the family; of equal ones, that of the plan that holds since the latest day.
    """
    fitting = [
        rate
        for rate in rates
        if rate.agent in ("", agent)
        and rate.family in ("", family)
        and (rate.valid_from or dt.date.min) <= day <= (rate.valid_to or dt.date.max)
    ]
    if not fitting:
        return None
    return max(fitting, key=lambda rate: (rate.agent, rate.family, rate.valid_from or dt.date.min, rate.plan))


def weights(given: Sequence[Any], families: Mapping[str, str]) -> dict[str, Decimal]:
    """Return the net amounts of lines by family, sorted by it; `families` are those of the products, by name."""
    found: dict[str, Decimal] = {}
    for line in given:
        family = families.get(line.product, "")
        found[family] = found.get(family, Decimal(0)) + money.amount(line.net_amount)
    return dict(sorted(found.items()))


def divide(
    payment: Decimal, currency: str, by_family: Mapping[str, Decimal], rates: Mapping[str, Rate | None]
) -> list[Part]:
    """Return what an agent gets of a payment, by family; `rates` are those of the families."""
    parts = []
    for family, basis in zip(by_family, money.shares(payment, by_family.values(), currency), strict=True):
        if basis == 0:
            continue
        rate = rates[family]
        percent = rate.percent if rate else Decimal(0)
        amount = money.rounded(basis * percent / 100, currency)
        parts.append(Part(family, basis, percent, rate.plan if rate else "", amount))
    return parts


def month_after(month: dt.date) -> dt.date:
    """Return the first day of the month after."""
    return (month.replace(day=28) + dt.timedelta(days=4)).replace(day=1)


def check_month(month: Any, today: dt.date) -> list[Violation]:
    """Return what is wrong with a month that is to be settled."""
    try:
        first = to_date(month)
    except ValueError:
        return [Violation("month", "must be the first day of a month")]
    if first.day != 1:
        return [Violation("month", "must be the first day of a month")]
    if first >= today.replace(day=1):
        return [Violation("month", "must be over")]
    return []
