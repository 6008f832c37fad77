"""What a product must be like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kontor_kit import normal_forms
from kontor_kit.errors import Violation

STATE_ACTIVE = 1
"""As Product.State."""


class Media(Protocol):
    """As the message Product.Media."""

    uri: str


class Product(Protocol):
    """As the message Product."""

    sku: str
    display_name: str
    state: int

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
    product.sku = product.sku.strip()
    product.state = product.state or STATE_ACTIVE
    return violations
