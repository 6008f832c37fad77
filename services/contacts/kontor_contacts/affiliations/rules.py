"""What an affiliation must be like."""

from __future__ import annotations

import datetime as dt
from typing import Protocol

from kontor_kit.errors import Violation


class Date(Protocol):
    """As google.type.Date."""

    year: int
    month: int
    day: int


def check_period(valid_from: Date | None, valid_to: Date | None) -> list[Violation]:
    """Return what is wrong with the days from and to which an affiliation holds; None is an open end."""
    violations: list[Violation] = []
    days: dict[str, dt.date] = {}
    for field, date in (("valid_from", valid_from), ("valid_to", valid_to)):
        if date is None:
            continue
        try:
            days[field] = dt.date(date.year, date.month, date.day)
        except ValueError:
            violations.append(Violation(field, "is not a day: year, month and day are needed"))
    if len(days) == 2 and days["valid_to"] < days["valid_from"]:
        violations.append(Violation("valid_to", "must not be before valid_from"))
    return violations
