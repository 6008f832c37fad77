"""What an absence must be like."""

from __future__ import annotations

from typing import Any

from kontor_kit.errors import Violation


def check(absence: Any) -> list[Violation]:
    """Return what is wrong with the message of an absence."""
    if absence.HasField("end_time") and absence.end_time.ToNanoseconds() <= absence.start_time.ToNanoseconds():
        return [Violation("end_time", "must be later than start_time")]
    return []
