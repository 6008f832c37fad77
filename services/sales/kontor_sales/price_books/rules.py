"""What price books and their entries must be like, and which price holds."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

from kontor_kit import money, normal_forms
from kontor_kit.errors import Violation
from kontor_sales.lines import rules as lines


class Book(NamedTuple):
    """What decides on whether a price book holds."""

    key: Any
    """Whatever the caller knows it by."""
    segment: str
    standard: bool
    valid_from: dt.date | None
    valid_to: dt.date | None


class Price(NamedTuple):
    """What a product costs by a price book."""

    entry: str
    """The name of the price book's entry."""
    tiers: Sequence[tuple[Decimal, Decimal]]
    """From which quantity on one costs how much, the smallest quantity first."""
    tax_rate: Decimal | None
    """In percent; None where it is not known."""
    display_name: str
    unit: str


class PriceBook(Protocol):
    """As the message PriceBook."""

    display_name: str
    currency_code: str
    segment: str
    valid_from: Any
    valid_to: Any

    def HasField(self, name: str) -> bool:  # noqa: N802  # protobuf's name
        """Whether a field is set."""


def normalise(book: PriceBook) -> list[Violation]:
    """Bring a price book into its normal form, in place, and return what is wrong with it."""
    violations = list(normal_forms.normalise_field(book, "currency_code", normal_forms.currency, "currency_code"))
    if book.display_name and not book.display_name.strip():
        violations.append(Violation("display_name", "must not be blank"))
    book.segment = book.segment.strip()
    days = []
    for field in ("valid_from", "valid_to"):
        if book.HasField(field):
            date = getattr(book, field)
            try:
                days.append(dt.date(date.year, date.month, date.day))
            except ValueError:
                violations.append(Violation(field, "is not a day: year, month and day are needed"))
    if len(days) == 2 and days[1] < days[0]:
        violations.append(Violation("valid_to", "must not be before valid_from"))
    return violations


def normalise_tiers(tiers: Sequence[Any], currency: str) -> list[Violation]:
    """Check the tiers of an entry in a price book of a currency, in place, and return what is wrong with them."""
    violations: list[Violation] = []
    seen: set[Decimal] = set()
    for place, tier in enumerate(tiers):
        at = f"tiers[{place}]"
        if not tier.HasField("min_quantity"):
            tier.min_quantity.value = "0"
        found = lines.check_number(
            tier.min_quantity, f"{at}.min_quantity", places=lines.QUANTITY_PLACES, most=lines.MAX_QUANTITY
        )
        if not found and lines.number(tier.min_quantity) in seen:
            found.append(Violation(f"{at}.min_quantity", "stands twice"))
        elif not found:
            seen.add(lines.number(tier.min_quantity))
        found += money.check(tier.unit_price, f"{at}.unit_price")
        if not found and tier.unit_price.currency_code != currency:
            found.append(Violation(f"{at}.unit_price.currency_code", f"must be {currency}, as in the price book"))
        if not found and money.amount(tier.unit_price) >= lines.MAX_AMOUNT:
            found.append(Violation(f"{at}.unit_price", f"must be less than {lines.MAX_AMOUNT:f}"))
        violations += found
    return violations


def choose(books: Iterable[Book], segment: str, day: dt.date) -> Any | None:
    """Return the key of the price book that holds for a customer of `segment` on `day`; None where there is none.

    A book of the segment goes before one for everybody, and among these the standard one first; of equal ones the one
    that holds since the latest day.
    """
    holding = [
        book
        for book in books
        if (book.valid_from or dt.date.min) <= day <= (book.valid_to or dt.date.max) and book.segment in ("", segment)
    ]
    if not holding:
        return None
    best = max(holding, key=lambda book: (book.segment != "", book.standard, book.valid_from or dt.date.min))
    return best.key


def unit_price(tiers: Sequence[tuple[Decimal, Decimal]], quantity: Decimal) -> Decimal | None:
    """Return what one costs to whoever takes `quantity`; None where so few are not sold."""
    prices = [price for least, price in tiers if least <= quantity]
    return prices[-1] if prices else None


def price(given: Sequence[Any], prices: Mapping[str, Price], currency: str) -> list[Violation]:
    """Give the lines that name a product its price, in place, and return what cannot be priced.

    `prices` are by the names of products. The lines are in their normal form; what they come to is not written.
    """
    violations: list[Violation] = []
    for place, line in enumerate(given):
        if not line.product:
            continue
        found = prices.get(line.product)
        each = unit_price(found.tiers, lines.number(line.quantity)) if found else None
        if found is None or each is None:
            problem = "has no price in this price book" if found is None else "is not sold in so small a quantity"
            violations.append(Violation(f"lines[{place}].product", problem))
            continue
        money.fill(line.unit_price, each, currency)
        line.price_book_entry = found.entry
        line.description = line.description or found.display_name
        line.unit = line.unit or found.unit
        if found.tax_rate is not None:
            line.tax_rate.value = format(found.tax_rate, "f")
    return violations


def list_amount(given: Sequence[Any], prices: Mapping[str, Price], currency: str) -> Decimal:
    """Return what the lines cost by the price book; where it has no price, by what the lines say themselves."""
    whole = Decimal(0)
    for line in given:
        found = prices.get(line.product)
        quantity = lines.number(line.quantity)
        each = unit_price(found.tiers, quantity) if found else None
        whole += money.rounded(quantity * (money.amount(line.unit_price) if each is None else each), currency)
    return whole
