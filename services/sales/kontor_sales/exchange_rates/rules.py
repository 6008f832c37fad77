"""What an exchange rate must be like, and how amounts are converted by rates."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from kontor_kit import money, normal_forms
from kontor_kit.errors import Violation

_MOST_DIGITS: Final = 12
_LARGEST: Final = Decimal(10) ** 9


def normalise(record: Any) -> list[Violation]:
    """Bring an exchange rate into its normal form, in place, and return what is wrong with it."""
    violations: list[Violation] = []
    for field in ("currency_code", "base_currency_code"):
        violations += normal_forms.normalise_field(record, field, normal_forms.currency, field)
    if record.currency_code == record.base_currency_code:
        violations.append(Violation("currency_code", "is the base currency, which is worth 1"))
    if (rate := _decimal(record.rate.value)) is None or not 0 < rate < _LARGEST:
        violations.append(Violation("rate", "must be a decimal number above 0 and below 1,000,000,000"))
    elif -int(rate.as_tuple().exponent) > _MOST_DIGITS:
        violations.append(Violation("rate", f"must not have more than {_MOST_DIGITS} digits behind the point"))
    return violations


def _decimal(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except ArithmeticError:
        return None
    return number if number.is_finite() else None


Rates = Mapping[tuple[str, dt.date], Decimal]
"""What a unit of a currency is worth in the base currency on a day; without those for which there is no rate."""


def exact(amount: Decimal, currency: str, day: dt.date, base: str, rates: Rates) -> Decimal | None:
    """Return what an amount is worth in the base currency, not rounded; None where there is no rate."""
    if currency == base:
        return amount
    rate = rates.get((currency, day))
    return None if rate is None else amount * rate


def convert(amount: Decimal, currency: str, day: dt.date, base: str, rates: Rates) -> Decimal | None:
    """Return what an amount is worth in the base currency, rounded to what can be paid; None where there is no rate."""
    found = exact(amount, currency, day, base, rates)
    return None if found is None else money.rounded(found, base)
