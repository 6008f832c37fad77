"""What a promotion must be like, who may take it up, and what they have of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from kontor_kit import money
from kontor_kit.errors import Violation
from kontor_sales.lines import rules as lines

STATE_ACTIVE: Final = 1
STATE_PAUSED: Final = 2
"""As Promotion.State."""


class Refusal(NamedTuple):
    """Why a promotion cannot be taken up."""

    reason: str
    message: str


def normalise(promotion: Any) -> list[Violation]:
    """Bring a promotion into its normal form, in place, and return what is wrong with it."""
    violations: list[Violation] = []
    if promotion.display_name and not promotion.display_name.strip():
        violations.append(Violation("display_name", "must not be blank"))
    promotion.code = promotion.code.strip().upper()
    promotion.segment = promotion.segment.strip()
    promotion.state = promotion.state or STATE_ACTIVE
    if promotion.start_time.ToNanoseconds() >= promotion.end_time.ToNanoseconds():
        violations.append(Violation("end_time", "must be after start_time"))
    return violations + _check_amounts(promotion)


def currency_of(promotion: Any) -> str:
    """Return the currency that a promotion has; empty while it has none."""
    for field in ("budget", "discount_amount", "redeemed_amount"):
        if promotion.HasField(field):
            return str(getattr(promotion, field).currency_code)
    return ""


def refuse(promotion: Any, segment: str, now: dt.datetime) -> Refusal | None:
    """Return why a customer of `segment` cannot take up a promotion now; None where they can."""
    if promotion.state != STATE_ACTIVE:
        return Refusal("PROMOTION_PAUSED", "the promotion is paused")
    if now < promotion.start_time.ToDatetime(dt.UTC):
        return Refusal("PROMOTION_NOT_BEGUN", "the promotion has not begun")
    if now >= promotion.end_time.ToDatetime(dt.UTC):
        return Refusal("PROMOTION_ENDED", "the promotion has ended")
    if promotion.segment and promotion.segment != segment.strip():
        return Refusal("OTHER_SEGMENT", f"the promotion is for the segment {promotion.segment}")
    return None


def eligible(promotion: Any, given: Sequence[Any], families: Mapping[str, str]) -> list[Any]:
    """Return the lines that a promotion is for; `families` are those of the products, by name."""
    if not promotion.products and not promotion.families:
        return list(given)
    products, groups = set(promotion.products), set(promotion.families)
    return [
        line for line in given if line.product and (line.product in products or families.get(line.product) in groups)
    ]


def discount(promotion: Any, amount: Decimal, currency: str) -> Decimal:
    """Return the discount on what costs `amount`, in units of the currency."""
    if promotion.HasField("discount_percent"):
        return money.rounded(amount * lines.number(promotion.discount_percent) / 100, currency)
    return min(money.amount(promotion.discount_amount), amount)


def exceeds(promotion: Any, amount: Decimal) -> bool:
    """Whether a discount does not fit into what is left of the budget."""
    if not promotion.HasField("budget"):
        return False
    return money.amount(promotion.redeemed_amount) + amount > money.amount(promotion.budget)


def _check_amounts(promotion: Any) -> list[Violation]:
    percent, amount = promotion.HasField("discount_percent"), promotion.HasField("discount_amount")
    if not percent and not amount:
        return [Violation("discount_percent", "is required where there is no discount_amount")]
    violations = lines.check_discount(
        promotion.discount_percent if percent else None, promotion.discount_amount if amount else None
    )
    if promotion.HasField("budget"):
        violations += money.check(promotion.budget, "budget")
    if violations:
        return violations
    if percent and lines.number(promotion.discount_percent) == 0:
        violations.append(Violation("discount_percent", "must be greater than 0"))
    if amount and money.amount(promotion.discount_amount) == 0:
        violations.append(Violation("discount_amount", "must be greater than 0"))
    currencies = {
        field: getattr(promotion, field).currency_code
        for field in ("redeemed_amount", "budget", "discount_amount")
        if promotion.HasField(field)
    }
    for field, code in currencies.items():
        if code != next(iter(currencies.values())):
            violations.append(Violation(f"{field}.currency_code", "a promotion has one currency"))
    if not violations and exceeds(promotion, Decimal(0)):
        violations.append(Violation("budget", "must not be less than what was redeemed"))
    return violations
