"""The public holidays of countries and their parts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from functools import lru_cache, partial

from kontor_kit.errors import Violation

_ENGLISH = "en_US"


def holidays_of(country: str, subdivision: str) -> Callable[[dt.date], str]:
    """Return a function that says what a public holiday is called, in English where that is known; else nothing."""
    return partial(_name, country, subdivision)


def check(country: str, subdivision: str) -> list[Violation]:
    """Return what is wrong with a country (ISO 3166-1) and its part (ISO 3166-2 without the country)."""
    import holidays  # noqa: PLC0415  # it loads slowly, and not every process needs it

    known = holidays.list_supported_countries()
    if country not in known:
        return [Violation("country_code", "is no country whose public holidays are known")]
    if subdivision and subdivision not in known[country]:
        return [Violation("subdivision", f"is none of {', '.join(known[country]) or 'the country'}")]
    return []


def _name(country: str, subdivision: str, day: dt.date) -> str:
    return _of_year(country, subdivision, day.year).get(day, "")


@lru_cache(maxsize=1024)
def _of_year(country: str, subdivision: str, year: int) -> Mapping[dt.date, str]:
    import holidays  # noqa: PLC0415  # as above

    kind = getattr(holidays, country)
    language = _ENGLISH if _ENGLISH in kind.supported_languages else kind.default_language
    # A calendar that grows while it is asked is not for several threads: one a year is.
    return dict(
        holidays.country_holidays(country, subdiv=subdivision or None, years=year, expand=False, language=language)
    )
