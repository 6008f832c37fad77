"""When a contract ends, until when notice can be given, and when its renewal is due."""

from __future__ import annotations

import calendar
import datetime as dt
from typing import Any, Final

from kontor_kit import money
from kontor_kit.errors import Violation
from kontor_sales.lines.rules import MOST_TOTAL

RENEWAL_NONE: Final = 1
RENEWAL_MANUAL: Final = 2
RENEWAL_AUTOMATIC: Final = 3
"""As Contract.Renewal."""
ACTIVE: Final = 1
TERMINATED: Final = 2
"""As Contract.State."""

FIRST_YEAR, LAST_YEAR = 1900, 9000
"""Beyond these, the days that follow from others may be none."""

_DAY: Final = dt.timedelta(days=1)


def day_of(contract: Any, field: str) -> dt.date | None:
    """Return a day of a contract; None where it has none. Raises ValueError where it is none."""
    if not contract.HasField(field):
        return None
    date = getattr(contract, field)
    return dt.date(date.year, date.month, date.day)


def set_day(contract: Any, field: str, day: dt.date | None) -> None:
    """Set or clear a day of a contract."""
    contract.ClearField(field)
    if day is not None:
        date = getattr(contract, field)
        date.year, date.month, date.day = day.year, day.month, day.day


def add_months(day: dt.date, months: int, anchor: int = 0) -> dt.date:
    """Return the same day of another month, or its last day where it is shorter; `anchor` is the day of the month."""
    number = day.year * 12 + day.month - 1 + months
    year, month = divmod(number, 12)
    return dt.date(year, month + 1, min(anchor or day.day, calendar.monthrange(year, month + 1)[1]))


def notice_date(end: dt.date, months: int, days: int) -> dt.date:
    """Return the last day on which notice can be given for a contract whose last day is `end`.

    Counted back from the day after the end: three months before the end of June is the end of March.
    """
    return add_months(end + _DAY, -months) - dt.timedelta(days=days) - _DAY


def renewed_end(start: dt.date, end: dt.date, months: int) -> dt.date:
    """Return the last day of the next term; terms that begin on the 31st stay at the ends of the months."""
    following = end + _DAY
    aligned = following == add_months(following, 0, start.day)
    return add_months(following, months, start.day if aligned else 0) - _DAY


def normalise(contract: Any) -> list[Violation]:
    """Bring a contract into its normal form, in place, with the days that follow, and return what is wrong with it."""
    violations: list[Violation] = []
    if contract.display_name and not contract.display_name.strip():
        violations.append(Violation("display_name", "must not be blank"))
    contract.renewal = contract.renewal or RENEWAL_NONE
    contract.state = contract.state or ACTIVE
    if contract.HasField("amount"):
        violations += money.check(contract.amount, "amount", most=MOST_TOTAL)
    violations += [*check_day(contract, "start_date"), *check_day(contract, "end_date")]
    if violations:
        return violations
    start, end = day_of(contract, "start_date"), day_of(contract, "end_date")
    if start is not None and end is not None and end < start:
        violations.append(Violation("end_date", "must not be before start_date"))
    if contract.renewal != RENEWAL_NONE and end is None:
        violations.append(Violation("end_date", "is required for what is renewed"))
    if contract.renewal != RENEWAL_NONE and not contract.renewal_months:
        violations.append(Violation("renewal_months", "is required for what is renewed"))
    if not violations:
        follow(contract)
    return violations


def check_day(message: Any, field: str) -> list[Violation]:
    """Return what is wrong with a day of a contract, or of a request about one."""
    try:
        day = day_of(message, field)
    except ValueError:
        return [Violation(field, "must be a day that exists")]
    if day is not None and not FIRST_YEAR <= day.year <= LAST_YEAR:
        return [Violation(field, f"must lie in the years {FIRST_YEAR} to {LAST_YEAR}")]
    return []


def follow(contract: Any) -> None:
    """Write the days that follow from the others into a contract, in place."""
    end = day_of(contract, "end_date")
    notice = None if end is None else notice_date(end, contract.notice_months, contract.notice_days)
    set_day(contract, "notice_date", notice)
    due = None
    raised = day_of(contract, "renewal_raised_for")
    if notice is not None and contract.state == ACTIVE and contract.renewal != RENEWAL_NONE and raised != end:
        due = notice - dt.timedelta(days=contract.renewal_lead_days)
    set_day(contract, "renewal_due_date", due)


def terminate(contract: Any, given: dt.date, reason: str) -> None:
    """End a contract by notice that is given on a day, in place."""
    start, end = day_of(contract, "start_date"), day_of(contract, "end_date")
    assert start is not None, "a contract has a first day"
    if end is None:
        # Notice holds from the day after it was given.
        end = add_months(given + _DAY, contract.notice_months) + dt.timedelta(days=contract.notice_days) - _DAY
        end = max(end, start)
    elif contract.renewal == RENEWAL_AUTOMATIC:
        while notice_date(end, contract.notice_months, contract.notice_days) < given:
            end = renewed_end(start, end, contract.renewal_months)
            contract.renewal_count += 1
    set_day(contract, "end_date", end)
    set_day(contract, "termination_date", given)
    contract.termination_reason = reason
    contract.state = TERMINATED
    follow(contract)


def renew(contract: Any) -> None:
    """Let a contract with an end go on for another term, in place."""
    start, end = day_of(contract, "start_date"), day_of(contract, "end_date")
    assert start is not None, "a contract has a first day"
    assert end is not None, "only what ends is renewed"
    set_day(contract, "end_date", renewed_end(start, end, contract.renewal_months))
    contract.renewal_count += 1
    follow(contract)


def is_over(contract: Any, today: dt.date) -> bool:
    """Whether the term of a contract that goes on by itself is over."""
    end = day_of(contract, "end_date")
    automatic = contract.state == ACTIVE and contract.renewal == RENEWAL_AUTOMATIC
    return automatic and end is not None and end < today


def is_due(contract: Any, today: dt.date) -> bool:
    """Whether an opportunity for the renewal is to be raised."""
    due = day_of(contract, "renewal_due_date")
    return due is not None and due <= today
