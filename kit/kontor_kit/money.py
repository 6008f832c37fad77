"""Amounts of money: google.type.Money and Decimal, the smallest unit of a currency, rounding."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final, Protocol

import babel.numbers

from kontor_kit import normal_forms
from kontor_kit.errors import Violation

_NANO: Final = Decimal("1e-9")
_NANOS_OF_A_UNIT: Final = 10**9


class Money(Protocol):
    """As google.type.Money."""

    currency_code: str
    units: int
    nanos: int


def amount(money: Money) -> Decimal:
    """Return the amount, in units of its currency."""
    return money.units + money.nanos * _NANO


def fields(amount: Decimal, currency: str) -> dict[str, Any]:
    """Return what the constructor of google.type.Money takes."""
    units = int(amount)
    return {"currency_code": currency, "units": units, "nanos": int((amount - units) / _NANO)}


def fill(money: Money, amount: Decimal, currency: str) -> None:
    """Set a message to an amount in a currency."""
    for name, value in fields(amount, currency).items():
        setattr(money, name, value)


@functools.cache
def exponent(currency: str) -> Decimal:
    """Return the smallest unit in which a currency is paid: 0.01 of EUR, 1 of JPY, 0.001 of KWD (Unicode CLDR)."""
    return Decimal(1).scaleb(-babel.numbers.get_currency_precision(currency))


def rounded(amount: Decimal, currency: str) -> Decimal:
    """Return the amount in whole smallest units of the currency; a half goes away from zero, as merchants do it."""
    return amount.quantize(exponent(currency), ROUND_HALF_UP)


def shares(total: Decimal, weights: Iterable[Decimal], currency: str) -> list[Decimal]:
    """Divide an amount in proportion to weights that are not negative, so that the parts add up to it exactly.

    Each part is a whole number of smallest units and less than one away from its exact share (largest remainder; of
    equal ones the first gets more). Without any weight the first part is all of it.
    """
    parts = list(weights)
    if not parts:
        return []
    whole, unit = sum(parts, Decimal(0)), exponent(currency)
    if whole == 0:
        return [total, *[Decimal(0)] * (len(parts) - 1)]
    sign = -1 if total < 0 else 1
    exact = [abs(total) * part / whole for part in parts]
    found = [part // unit * unit for part in exact]
    left = int((abs(total) - sum(found, Decimal(0))) / unit)
    by_remainder = sorted(range(len(parts)), key=lambda place: (found[place] - exact[place], place))
    for place in by_remainder[:left]:
        found[place] += unit
    return [sign * part for part in found]


def check(money: Money, path: str, *, negative: bool = False, most: Decimal | None = None) -> list[Violation]:
    """Bring the currency into its normal form, in place, and return what is wrong with the amount of money at `path`.

    It may be `most`, and as much below zero, where that is given.
    """
    code = f"{path}.currency_code"
    if not money.currency_code:
        return [Violation(code, "is required")]
    violations = list(normal_forms.normalise_field(money, "currency_code", normal_forms.currency, code))
    if abs(money.nanos) >= _NANOS_OF_A_UNIT or money.units * money.nanos < 0:
        violations.append(Violation(f"{path}.nanos", "must be less than a unit, and of the same sign as units"))
    if not negative and amount(money) < 0:
        violations.append(Violation(path, "must not be negative"))
    if most is not None and abs(amount(money)) > most:
        violations.append(Violation(path, f"must not be more than {most:f}"))
    return violations
