"""What a quote must be like, what it comes to, where it can go from where it stands, and what the opportunity has of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from decimal import ROUND_CEILING, Decimal
from typing import Any, Final

from kontor_kit import money
from kontor_kit.errors import Violation
from kontor_sales.lines import rules as lines
from kontor_sales.lines.rules import Discount, Totals

DRAFT: Final = 1
IN_APPROVAL: Final = 2
APPROVED: Final = 3
SENT: Final = 4
ACCEPTED: Final = 5
DECLINED: Final = 6
EXPIRED: Final = 7
SUPERSEDED: Final = 8
"""As Quote.State."""

OVER: Final = (DECLINED, EXPIRED, SUPERSEDED)
"""Where nothing comes of a quote any more."""

NEXT: Final = {
    DRAFT: {IN_APPROVAL, APPROVED},
    IN_APPROVAL: {DRAFT, APPROVED, SUPERSEDED},
    APPROVED: {SENT, SUPERSEDED},
    SENT: {SENT, ACCEPTED, DECLINED, EXPIRED, SUPERSEDED},
    DECLINED: {SUPERSEDED},
    EXPIRED: {SUPERSEDED},
    ACCEPTED: set(),
    SUPERSEDED: set(),
}
"""Where a quote can go."""

REASONS: Final = {
    DRAFT: ("QUOTE_DRAFT", "the quote is still being written"),
    IN_APPROVAL: ("QUOTE_IN_APPROVAL", "the quote waits for approval"),
    APPROVED: ("QUOTE_NOT_SENT", "the quote was not sent"),
    SENT: ("QUOTE_SENT", "the quote was sent; make a new version of it"),
    ACCEPTED: ("QUOTE_ACCEPTED", "the quote was accepted, and stays as it is"),
    DECLINED: ("QUOTE_DECLINED", "the quote was declined"),
    EXPIRED: ("QUOTE_EXPIRED", "the quote was not answered in time"),
    SUPERSEDED: ("QUOTE_SUPERSEDED", "there is a later version of the quote"),
}
"""Why something cannot be done with a quote that stands somewhere."""

WORKFLOW: Final = ("state", "primary", "approval", "send_time", "answer", "delete_time")
"""What changes when a quote goes its way; everything else is what it says."""
RESPONSIBILITY: Final = ("owner", "team", "tags")
"""What may change while it is on its way."""

_PLACES: Final = Decimal("0.0001")
_TOTALS: Final = ("full_amount", "net_amount", "tax_amount", "gross_amount", "taxes")


def can_go(state: int, wanted: int) -> bool:
    """Whether a quote can go from a state to another one."""
    return wanted in NEXT.get(state, set())


def normalise(quote: Any, new_id: Callable[[], str]) -> list[Violation]:
    """Bring a quote into its normal form, in place, with what it comes to, and return what is wrong with it."""
    violations: list[Violation] = []
    if quote.display_name and not quote.display_name.strip():
        violations.append(Violation("display_name", "must not be blank"))
    violations += lines.normalise(quote.lines, new_id)
    percent, amount = quote.HasField("discount_percent"), quote.HasField("discount_amount")
    violations += lines.check_discount(
        quote.discount_percent if percent else None,
        quote.discount_amount if amount else None,
        currency=quote.lines[0].unit_price.currency_code if quote.lines else "",
    )
    if not violations:
        fill(quote, lines.price(quote.lines, discount_of(quote)))
    return violations


def discount_of(quote: Any) -> Discount:
    """Return the discount on all lines together."""
    if quote.HasField("discount_percent"):
        return Discount(percent=lines.number(quote.discount_percent))
    return Discount(amount=money.amount(quote.discount_amount) if quote.HasField("discount_amount") else None)


def fill(quote: Any, totals: Totals) -> None:
    """Write what the lines come to into a quote; nothing where there are none."""
    for field in _TOTALS:
        quote.ClearField(field)
    if totals.currency:
        money.fill(quote.full_amount, totals.full, totals.currency)
        lines.tell(totals, quote)


def says_the_same(before: Any, after: Any) -> bool:
    """Whether nothing differs but what changes on a quote's way; of an accepted one who answers for it stays too."""
    copies = []
    for quote in (before, after):
        copy = type(quote)()
        copy.CopyFrom(quote)
        for field in WORKFLOW if before.state == ACCEPTED else (*WORKFLOW, *RESPONSIBILITY):
            copy.ClearField(field)
        copies.append(copy)
    return bool(copies[0] == copies[1])


def discount_percent(net: Decimal, list_amount: Decimal) -> Decimal:
    """Return how much less is asked for than the price list says, in percent, rounded up; 0 where it is not less."""
    if list_amount <= net or list_amount <= 0:
        return Decimal(0)
    return ((list_amount - net) * 100 / list_amount).quantize(_PLACES, ROUND_CEILING)


def needs_approval(percent: Decimal, limit: Decimal | None) -> bool:
    """Whether a discount is above the limit; None is no limit."""
    return limit is not None and percent > limit


def may_approve(quote: Any, subject: str) -> bool:
    """Whether somebody is neither who wrote the quote nor who submitted it."""
    return subject not in (quote.author, quote.approval.requester)


def is_past(valid_until: Any, today: dt.date) -> bool:
    """Whether the last day to accept a quote is over."""
    return bool(dt.date(valid_until.year, valid_until.month, valid_until.day) < today)


def driven_lines(quote: Any) -> list[Any]:
    """Return lines for the opportunity that come to what the quote does, its discount on all lines included."""
    driven = []
    for line in quote.lines:
        copy = type(line)()
        copy.CopyFrom(line)
        for field in ("discount_percent", "discount_amount", "net_amount", "tax_amount", "gross_amount"):
            copy.ClearField(field)
        currency = line.unit_price.currency_code
        off = lines.price([copy]).net - money.amount(line.net_amount)
        for field in ("net_amount", "tax_amount", "gross_amount"):
            copy.ClearField(field)
        if off:
            money.fill(copy.discount_amount, off, currency)
        driven.append(copy)
    return driven


def same_offer(driven: Sequence[Any], held: Sequence[Any]) -> bool:
    """Whether an opportunity has the lines already that a quote drives it by, whatever they come to."""

    def bare(line: Any) -> Any:
        copy = type(line)()
        copy.CopyFrom(line)
        for field in ("net_amount", "tax_amount", "gross_amount"):
            copy.ClearField(field)
        return copy

    return [bare(line) for line in driven] == [bare(line) for line in held]


def check_policy(policy: Any) -> list[Violation]:
    """Return what is wrong with how much discount needs no approval."""
    return lines.check_number(policy.max_discount_percent, "max_discount_percent", places=lines.RATE_PLACES)
