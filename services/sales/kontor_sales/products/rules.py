"""What a product must be like."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, Protocol

from kontor_kit import normal_forms
from kontor_kit.errors import Violation
from kontor_sales.lines import rules as lines

STATE_ACTIVE = 1
"""As Product.State."""
MAX_STOCK: Final = Decimal(10) ** 12
CLOCKS_DIFFER: Final = dt.timedelta(minutes=5)
"""So far ahead another system's clock may be."""


class Media(Protocol):
    """As the message Product.Media."""

    uri: str


class Product(Protocol):
    """As the message Product."""

    sku: str
    display_name: str
    state: int
    tax_rate: Any

    def HasField(self, name: str) -> bool:  # noqa: N802  # protobuf's name
        """Whether a field is set."""

    @property
    def media(self) -> Sequence[Media]:
        """What there is to look at."""


def normalise(product: Product) -> list[Violation]:
    """Bring a product into its normal form, in place, and return what is wrong with it."""
    violations = [
        Violation(field, "must not be blank")
        for field in ("sku", "display_name")
        if getattr(product, field) and not getattr(product, field).strip()
    ]
    for place, media in enumerate(product.media):
        violations += normal_forms.normalise_field(media, "uri", normal_forms.website, f"media[{place}].uri")
    if product.HasField("tax_rate"):
        violations += lines.check_number(product.tax_rate, "tax_rate", places=lines.RATE_PLACES)
    product.sku = product.sku.strip()
    product.state = product.state or STATE_ACTIVE
    return violations


class Report(Protocol):
    """As the message ReportAvailabilityRequest."""

    stock: Any
    as_of_time: Any


def check_report(report: Report, now: dt.datetime) -> list[Violation]:
    """Return what is wrong with a report of what can be had."""
    violations = lines.check_number(
        report.stock, "stock", places=lines.QUANTITY_PLACES, least=-MAX_STOCK, most=MAX_STOCK
    )
    try:
        if report.as_of_time.ToDatetime(dt.UTC) > now + CLOCKS_DIFFER:
            violations.append(Violation("as_of_time", "must not lie ahead"))
    except (ValueError, OverflowError):
        violations.append(Violation("as_of_time", "must be a time between the years 1 and 9999"))
    return violations
