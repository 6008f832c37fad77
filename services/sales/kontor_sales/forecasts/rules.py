"""The periods of forecasts: months, and quarters and years as the fiscal year has them."""

from __future__ import annotations

import calendar
import datetime as dt
from typing import Any, Final, NamedTuple

from kontor_kit.errors import InvalidArgument, Violation

MONTHS: Final = {1: 1, 2: 3, 3: 12}
"""How many months a ForecastPeriod has."""


class Period(NamedTuple):
    """From the first day to the last."""

    start: dt.date
    end: dt.date

    def has(self, day: dt.date | None) -> bool:
        """Tell whether a day lies in the period."""
        return day is not None and self.start <= day <= self.end


def beginning(kind: int, start: dt.date) -> Period:
    """Return the period of a kind (as ForecastPeriod) that begins with the month of `start`."""
    last = start.year * 12 + start.month - 1 + MONTHS[kind] - 1
    year, month = divmod(last, 12)
    return Period(start.replace(day=1), dt.date(year, month + 1, calendar.monthrange(year, month + 1)[1]))


def around(kind: int, day: dt.date, fiscal_start: int = 1) -> Period:
    """Return the period of a kind that `day` lies in, where the fiscal year begins with the month `fiscal_start`."""
    since = (day.month - fiscal_start) % 12
    first = day.year * 12 + day.month - 1 - since % MONTHS[kind]
    return beginning(kind, dt.date(first // 12, first % 12 + 1, 1))


def asked(request: Any, today: dt.date) -> Period:
    """Return the period that a request with `period`, `date` and `fiscal_year_start_month` is about."""
    day = today
    if request.HasField("date"):
        try:
            day = dt.date(request.date.year, request.date.month, request.date.day)
        except ValueError:
            raise InvalidArgument(("date", "must be a whole date: a year, a month and a day that exist")) from None
    if not dt.MINYEAR + 1 < day.year < dt.MAXYEAR - 1:
        raise InvalidArgument(("date", "is too far away"))
    return around(request.period, day, request.fiscal_year_start_month or 1)


def tell(date: Any, day: dt.date) -> None:
    """Set a google.type.Date."""
    date.year, date.month, date.day = day.year, day.month, day.day


def check_start(record: Any) -> list[Violation]:
    """Return what is wrong with the first day of the period of a record."""
    if record.start_date.day != 1 or not dt.MINYEAR < record.start_date.year < dt.MAXYEAR:
        return [Violation("start_date", "must be the first of a month")]
    return []
