"""What a topic must be like."""

from __future__ import annotations

from typing import Any, Final

from kontor_kit.errors import Violation

CONSENT: Final = 1
"""As LegalBasis."""


def normalise(topic: Any) -> list[Violation]:
    """Bring a topic into its normal form, in place, and return what is wrong with it."""
    topic.legal_basis = topic.legal_basis or CONSENT
    if not topic.display_name.strip():
        return [Violation("display_name", "must not be blank")]
    return []
