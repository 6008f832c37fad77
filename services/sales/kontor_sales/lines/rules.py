"""What lines must be like, and what they come to.

Rounding, to the smallest unit of the currency, a half away from zero, at these places and no others:

1. a line: quantity x unit price; then its discount, where that is a percentage
2. the discount on the document, where that is a percentage, of the sum of the lines
3. the tax of each rate, on the sum of the net amounts with that rate (as EN 16931 has it, BT-117)

The discount on the document is shared among the lines in proportion to their amounts, and the tax of a rate among its
lines in proportion to their net amounts (`kontor_kit.money.shares`), so that the lines add up to the document exactly.
Where equal shares leave a unit over, the line with the first id gets it: the order of the lines changes nothing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext
from typing import Any, Final, NamedTuple, Protocol

from kontor_kit import money
from kontor_kit.errors import Violation

QUANTITY_PLACES: Final = 4
RATE_PLACES: Final = 4
MAX_QUANTITY: Final = Decimal(10) ** 9
MAX_AMOUNT: Final = Decimal(10) ** 12
"""No line, and no unit price, reaches this, in units of the currency."""
MOST_TOTAL: Final = Decimal(10) ** 15
"""Nothing that reports add up is more: thousands of them together can still be told as google.type.Money."""

_PLAIN: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,9})?", re.ASCII)
"""As google.type.Decimal says it; Python reads more, such as 1_000, which PostgreSQL and other readers do not."""
_PRECISION: Final = 60
"""Digits: enough for every product and quotient here to be exact, or its rounding never to matter."""
_ZERO: Final = Decimal(0)
_HUNDRED: Final = Decimal(100)


class Number(Protocol):
    """As google.type.Decimal."""

    value: str


class Line(Protocol):
    """As the message LineItem."""

    line_id: str
    product: str
    description: str
    quantity: Any
    unit_price: Any
    discount_percent: Any
    discount_amount: Any
    tax_rate: Any
    net_amount: Any
    tax_amount: Any
    gross_amount: Any

    def HasField(self, name: str) -> bool:  # noqa: N802  # protobuf's name
        """Whether a field is set."""


class Tax(NamedTuple):
    """The tax at one rate."""

    rate: Decimal
    """In percent."""
    net: Decimal
    tax: Decimal


class Totals(NamedTuple):
    """What lines come to, in units of one currency."""

    currency: str
    full: Decimal
    """Quantities times unit prices, before any discount."""
    net: Decimal
    tax: Decimal
    taxes: tuple[Tax, ...]
    """By rate, the lowest first; without those at which nothing is taxed."""

    @property
    def discount(self) -> Decimal:
        """All discounts, on lines and document."""
        return self.full - self.net

    @property
    def gross(self) -> Decimal:
        """What is to be paid."""
        return self.net + self.tax

    @property
    def discount_percent(self) -> Decimal:
        """All discounts in percent of the full price, not rounded; 0 where there is no price."""
        return self.discount * _HUNDRED / self.full if self.full else _ZERO


class Discount(NamedTuple):
    """A discount on a document: in percent, or an amount."""

    percent: Decimal | None = None
    amount: Decimal | None = None


NO_DISCOUNT: Final = Discount()


def number(value: Number) -> Decimal:
    """Return a number that was checked before."""
    return Decimal(value.value)


def check_number(
    value: Number, path: str, *, places: int, least: Decimal = _ZERO, most: Decimal = _HUNDRED
) -> list[Violation]:
    """Return what is wrong with a number that is to lie between `least` and `most`."""
    if not _PLAIN.fullmatch(value.value):
        return [Violation(path, "must be a decimal number, for example 12.5")]
    found = Decimal(value.value)
    if not least <= found <= most:
        return [Violation(path, f"must be from {least:f} to {most:f}")]
    if found != round(found, places):
        return [Violation(path, f"must not have more than {places} decimal places")]
    return []


def normalise(
    lines: Sequence[Line], new_id: Callable[[], str], *, currency: str = "", path: str = "lines"
) -> list[Violation]:
    """Bring lines into their normal form, in place, and return what is wrong with them.

    `currency` is the document's; where it is empty, that of the first line. `new_id` makes the id of a line without one.
    """
    violations: list[Violation] = []
    ids: set[str] = set()
    for place, line in enumerate(lines):
        at = f"{path}[{place}]"
        line.line_id = line.line_id or new_id()
        if line.line_id in ids:
            violations.append(Violation(f"{at}.line_id", "another line has this id"))
        ids.add(line.line_id)
        found = _check(line, at)
        currency = currency or line.unit_price.currency_code
        if not found:
            found = _check_amounts(line, at, currency)
        violations += found
    return violations


def check_discount(
    percent: Number | None, amount: money.Money | None, *, currency: str = "", path: str = "discount"
) -> list[Violation]:
    """Return what is wrong with a discount: `path`_percent or `path`_amount, one of which is None."""
    if percent is not None and amount is not None:
        return [Violation(f"{path}_amount", f"cannot be set together with {path}_percent")]
    if percent is not None:
        return check_number(percent, f"{path}_percent", places=RATE_PLACES)
    if amount is None:
        return []
    violations = money.check(amount, f"{path}_amount")
    if not violations and currency and amount.currency_code != currency:
        violations.append(Violation(f"{path}_amount.currency_code", f"must be {currency}, as in the lines"))
    if not violations and money.rounded(money.amount(amount), amount.currency_code) != money.amount(amount):
        violations.append(Violation(f"{path}_amount", "must be an amount that can be paid"))
    return violations


def price(lines: Sequence[Line], discount: Discount = NO_DISCOUNT) -> Totals:
    """Write into lines in their normal form what they come to, and return what all of them come to.

    Without lines everything is zero, in no currency. A discount on the document takes at most everything.
    """
    if not lines:
        return Totals("", _ZERO, _ZERO, _ZERO, ())
    ordered = sorted(lines, key=lambda line: line.line_id)
    currency = ordered[0].unit_price.currency_code
    with localcontext(prec=_PRECISION):
        full = [_full(line) for line in ordered]
        before = [amount - _line_discount(line, amount) for line, amount in zip(ordered, full, strict=True)]
        whole = sum(before, _ZERO)
        off = money.shares(_document_discount(discount, whole, currency), before, currency)
        net = [amount - share for amount, share in zip(before, off, strict=True)]
        tax, taxes = _taxes([_rate(line) for line in ordered], net, currency)
        for line, net_amount, tax_amount in zip(ordered, net, tax, strict=True):
            money.fill(line.net_amount, net_amount, currency)
            money.fill(line.tax_amount, tax_amount, currency)
            money.fill(line.gross_amount, net_amount + tax_amount, currency)
        return Totals(currency, sum(full, _ZERO), sum(net, _ZERO), sum(tax, _ZERO), taxes)


def tell(totals: Totals, document: Any) -> None:
    """Write what lines come to into `net_amount`, `tax_amount`, `gross_amount` and `taxes` of a message."""
    for field, amount in (("net", totals.net), ("tax", totals.tax), ("gross", totals.gross)):
        money.fill(getattr(document, f"{field}_amount"), amount, totals.currency)
    del document.taxes[:]
    for tax in totals.taxes:
        told = document.taxes.add()
        told.rate.value = format(tax.rate, "f")
        money.fill(told.net_amount, tax.net, totals.currency)
        money.fill(told.tax_amount, tax.tax, totals.currency)


def _check(line: Line, at: str) -> list[Violation]:
    violations: list[Violation] = []
    if not line.product and not line.description.strip():
        violations.append(Violation(f"{at}.description", "is required where the line names no product"))
    if not line.HasField("quantity"):
        line.quantity.value = "1"
    violations += check_number(line.quantity, f"{at}.quantity", places=QUANTITY_PLACES, most=MAX_QUANTITY)
    if not violations and number(line.quantity) == 0:
        violations.append(Violation(f"{at}.quantity", "must be greater than 0"))
    violations += money.check(line.unit_price, f"{at}.unit_price")
    if line.HasField("tax_rate"):
        violations += check_number(line.tax_rate, f"{at}.tax_rate", places=RATE_PLACES)
    violations += check_discount(
        line.discount_percent if line.HasField("discount_percent") else None,
        line.discount_amount if line.HasField("discount_amount") else None,
        path=f"{at}.discount",
    )
    return violations


def _check_amounts(line: Line, at: str, currency: str) -> list[Violation]:
    if line.unit_price.currency_code != currency:
        return [Violation(f"{at}.unit_price.currency_code", f"must be {currency}: a document has one currency")]
    with localcontext(prec=_PRECISION):
        full = _full(line)
    if max(full, money.amount(line.unit_price)) >= MAX_AMOUNT:
        return [Violation(f"{at}.unit_price", f"makes an amount of {MAX_AMOUNT:f} or more")]
    if line.HasField("discount_amount"):
        if line.discount_amount.currency_code != currency:
            return [Violation(f"{at}.discount_amount.currency_code", f"must be {currency}, as the unit price")]
        if money.amount(line.discount_amount) > full:
            return [Violation(f"{at}.discount_amount", "must not be more than the line costs")]
    return []


def _full(line: Line) -> Decimal:
    return money.rounded(number(line.quantity) * money.amount(line.unit_price), line.unit_price.currency_code)


def _line_discount(line: Line, full: Decimal) -> Decimal:
    if line.HasField("discount_percent"):
        return money.rounded(full * number(line.discount_percent) / _HUNDRED, line.unit_price.currency_code)
    return money.amount(line.discount_amount) if line.HasField("discount_amount") else _ZERO


def _document_discount(discount: Discount, whole: Decimal, currency: str) -> Decimal:
    if discount.percent is not None:
        return money.rounded(whole * discount.percent / _HUNDRED, currency)
    return min(discount.amount or _ZERO, whole)


def _rate(line: Line) -> Decimal:
    return number(line.tax_rate) if line.HasField("tax_rate") else _ZERO


def _taxes(rates: list[Decimal], net: list[Decimal], currency: str) -> tuple[list[Decimal], tuple[Tax, ...]]:
    """Return the tax of each line, and the taxes by rate."""
    places: dict[Decimal, list[int]] = defaultdict(list)
    for place, rate in enumerate(rates):
        if rate:
            places[rate].append(place)
    by_line = [_ZERO] * len(net)
    taxes = []
    for rate in sorted(places):
        parts = [net[place] for place in places[rate]]
        whole = sum(parts, _ZERO)
        tax = money.rounded(whole * rate / _HUNDRED, currency)
        for place, share in zip(places[rate], money.shares(tax, parts, currency), strict=True):
            by_line[place] = share
        taxes.append(Tax(rate, whole, tax))
    return by_line, tuple(taxes)
