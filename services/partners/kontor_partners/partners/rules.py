"""How far a partnership can go from where it stands, and which level a partner is at, since when and until when."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from kontor_kit import normal_forms
from kontor_kit.errors import FailedPrecondition, Violation

PROSPECT, APPLIED, APPROVED, ACTIVE, SUSPENDED, ENDED = range(1, 7)
"""As Partner.State."""
RESELLER: Final = 1
"""As Partner.Type."""

STEPS: Final = {
    "applied": (frozenset((PROSPECT, ENDED)), APPLIED),
    "approved": (frozenset((APPLIED,)), APPROVED),
    "activated": (frozenset((APPROVED, SUSPENDED)), ACTIVE),
    "suspended": (frozenset((ACTIVE,)), SUSPENDED),
    "ended": (frozenset((PROSPECT, APPLIED, APPROVED, ACTIVE, SUSPENDED)), ENDED),
}
"""By event: where a partnership can come from, and where it goes."""

OFFER_CAPACITY: Final = 10
PERIODS: Final = 100
"""So many levels are remembered."""

_WORDS: Final = {
    PROSPECT: "has not applied",
    APPLIED: "was not approved",
    APPROVED: "is not active",
    ACTIVE: "is active",
    SUSPENDED: "is suspended",
    ENDED: "is no partner any more",
}
_DAY: Final = dt.timedelta(days=1)


def normalise(partner: Any) -> list[Violation]:
    """Bring a partner into its normal form, in place, and return what is wrong with it."""
    violations: list[Violation] = []
    if not partner.display_name.strip():
        violations.append(Violation("display_name", "must not be blank"))
    regions: list[str] = []
    for place, code in enumerate(partner.region_codes):
        try:
            regions.append(normal_forms.country(code))
        except ValueError as error:
            violations.append(Violation(f"region_codes[{place}]", str(error)))
    partner.region_codes[:] = dict.fromkeys(regions) if not violations else partner.region_codes
    families = [family.strip() for family in partner.product_families]
    violations += [
        Violation(f"product_families[{place}]", "must not be blank")
        for place, family in enumerate(families)
        if not family
    ]
    partner.product_families[:] = dict.fromkeys(families)
    partner.type = partner.type or RESELLER
    partner.state = partner.state or PROSPECT
    partner.offer_capacity = partner.offer_capacity or OFFER_CAPACITY
    return violations


def go(partner: Any, event: str, reason: str, now: dt.datetime) -> None:
    """Let a partnership go a step, in place. Raises FailedPrecondition where it cannot from where it stands."""
    sources, target = STEPS[event]
    if partner.state not in sources:
        raise FailedPrecondition(f"the partner {_WORDS[partner.state]}", reason=f"PARTNER_{_NAMES[partner.state]}")
    if target == ACTIVE and not partner.level:
        raise FailedPrecondition("the partner has no level in a programme", reason="PARTNER_WITHOUT_LEVEL")
    partner.state, partner.state_reason, partner.state_time = target, reason, now


_NAMES: Final = ("", "PROSPECT", "APPLIED", "APPROVED", "ACTIVE", "SUSPENDED", "ENDED")


def why_idle(partner: Any, today: dt.date) -> str:
    """Return why a partner gets no leads and registers no deals today; empty where it does."""
    if partner.HasField("delete_time"):
        return "is deleted"
    if partner.state != ACTIVE:
        return _WORDS[partner.state]
    end = day_of(partner, "agreement_end_date")
    return f"its agreement ended on {end.isoformat()}" if end is not None and end < today else ""


def first_day(ranks: tuple[int, int], grace_days: int, today: dt.date) -> dt.date:
    """Return when a level begins where nobody says: `ranks` are those of the level before (-1 for none) and the new one."""
    before, after = ranks
    return today if after >= before else today + dt.timedelta(days=grace_days)


def set_level(partner: Any, programme: str, level: str, *, reason: str, start: dt.date, today: dt.date) -> None:
    """Give a partner a level from a day on, today or later, in place; what was to come is taken back."""
    take_back(partner)
    if (partner.programme, partner.level) == (programme, level):
        return
    period = {"level": level, "programme": programme, "reason": reason, "start_date": _date(start)}
    if start <= today:
        _end(partner, start)
        partner.programme, partner.level = programme, level
    else:
        partner.next_level = level
        set_day(partner, "next_level_date", start)
    partner.level_periods.insert(0, type(partner).LevelPeriod(**period))
    del partner.level_periods[PERIODS:]


def take_back(partner: Any) -> None:
    """Take back a level that is to come, in place."""
    if partner.next_level:
        del partner.level_periods[0]
        _clear_next(partner)


def follow_level(partner: Any, today: dt.date) -> bool:
    """Let a level begin whose day has come, in place; return whether one did."""
    start = day_of(partner, "next_level_date")
    if start is None or start > today:
        return False
    coming = type(partner).LevelPeriod()
    coming.CopyFrom(partner.level_periods[0])
    del partner.level_periods[0]
    _end(partner, start)
    partner.level_periods.insert(0, coming)
    partner.level = partner.next_level
    _clear_next(partner)
    return True


def _clear_next(partner: Any) -> None:
    partner.next_level = ""
    partner.ClearField("next_level_date")


def _end(partner: Any, start: dt.date) -> None:
    """End the level that holds on the day before another one starts; one that began that day never held."""
    if not partner.level_periods:
        return
    newest = partner.level_periods[0]
    began = day_of(newest, "start_date")
    if began is not None and began >= start:
        del partner.level_periods[0]
    else:
        set_day(newest, "end_date", start - _DAY)


def day_of(record: Any, field: str) -> dt.date | None:
    """Return a day of a record; None where it has none. Raises ValueError where it is none."""
    if not record.HasField(field):
        return None
    date = getattr(record, field)
    return dt.date(date.year, date.month, date.day)


def set_day(record: Any, field: str, day: dt.date) -> None:
    """Set a day of a record."""
    date = getattr(record, field)
    date.year, date.month, date.day = day.year, day.month, day.day


def _date(day: dt.date) -> dict[str, int]:
    return {"year": day.year, "month": day.month, "day": day.day}
