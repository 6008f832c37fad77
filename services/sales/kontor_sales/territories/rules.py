"""What a territory must be like, and which of them a lead, or an account, belongs to."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from kontor_kit import normal_forms
from kontor_kit.errors import Violation
from kontor_kit.folding import fold

MAX_DEPTH: Final = 10
"""How many territories stand below one another at most, the topmost counted."""


class Placed(Protocol):
    """What belongs to territories: the message Lead, for one."""

    region_code: str
    postal_code: str
    industry: str
    employee_count: int


class Fit(NamedTuple):
    """How closely a territory is drawn around something; the larger is the more specific one."""

    conditions: int
    """How many of place, industry and size it asks for, with those above it."""
    prefix: int
    """How many characters of the postal code it names."""
    depth: int


def normalise(territory: Any) -> list[Violation]:
    """Bring the message of a territory into its normal form, in place, and return what is wrong with it."""
    found: list[Violation] = []
    if not territory.display_name.strip():
        found.append(Violation("display_name", "must not be blank"))
    for place, area in enumerate(territory.areas):
        found += normal_forms.normalise_field(area, "region_code", normal_forms.country, f"areas[{place}].region_code")
        area.postal_prefixes[:] = sorted({plain_code(prefix) for prefix in area.postal_prefixes})
        if "" in area.postal_prefixes:
            found.append(Violation(f"areas[{place}].postal_prefixes", "must have a letter or a digit"))
    if 0 < territory.max_employee_count < territory.min_employee_count:
        found.append(Violation("max_employee_count", "must not be less than min_employee_count"))
    return found


def plain_code(code: str) -> str:
    """Return a postal code without spaces and hyphens, in upper case."""
    return "".join(filter(str.isalnum, code)).upper()


def parent_problem(territory: str, ancestors: Sequence[str], height: int) -> str:
    """Return why a territory cannot stand below a parent; empty where it can.

    `ancestors` are the parent, its parent and so on to the top; `height` is how many levels are below the territory.
    """
    if territory in ancestors:
        return "a territory cannot stand below itself"
    if len(ancestors) + 1 + height > MAX_DEPTH:
        return f"territories cannot stand more than {MAX_DEPTH} deep"
    return ""


def line(territory: str, territories: Mapping[str, Any]) -> list[str]:
    """Return the names of a territory, its parent and so on to the top; it ends where one is not there, or comes again."""
    found: list[str] = []
    while territory in territories and territory not in found:
        found.append(territory)
        territory = territories[territory].parent
    return found


def height(territory: str, territories: Mapping[str, Any]) -> int:
    """Return how many levels of territories are below one."""
    lines = (line(name, territories) for name in territories)
    return max((found.index(territory) for found in lines if territory in found), default=0)


def own_fit(territory: Any, placed: Placed) -> Fit | None:
    """Return how a territory fits, whatever stands above it; None where it does not."""
    conditions, prefix = 0, 0
    if territory.areas:
        code = plain_code(placed.postal_code)
        lengths = [_area_fit(area, placed.region_code, code) for area in territory.areas]
        prefix = max(lengths)
        if prefix < 0:
            return None
        conditions += 1
    if territory.industries:
        if fold(placed.industry) not in map(fold, territory.industries):
            return None
        conditions += 1
    if territory.min_employee_count or territory.max_employee_count:
        size = placed.employee_count
        if not size or size < territory.min_employee_count or size > (territory.max_employee_count or size):
            return None
        conditions += 1
    return Fit(conditions, prefix, 1)


def _area_fit(area: Any, region: str, code: str) -> int:
    """Return how many characters of the postal code the area names; -1 where it does not fit."""
    if area.region_code != region:
        return -1
    if not area.postal_prefixes:
        return 0
    return max((len(prefix) for prefix in area.postal_prefixes if code.startswith(prefix)), default=-1)


def matching(territories: Iterable[Any], placed: Placed) -> list[Any]:
    """Return the territories that something belongs to, the most specific one first.

    It has to belong to all that stand above. More conditions are more specific, then more of the postal code, then what
    stands deeper, then what is older.
    """
    by_name = {territory.name: territory for territory in territories}
    own = {name: own_fit(territory, placed) for name, territory in by_name.items()}
    found: list[tuple[Fit, str]] = []
    for name in by_name:
        above = line(name, by_name)
        fits = [fit for each in above if (fit := own[each]) is not None]
        if len(fits) == len(above):
            whole = Fit(sum(fit.conditions for fit in fits), max(fit.prefix for fit in fits), len(fits))
            found.append((whole, name))
    found.sort(key=lambda item: (*(-number for number in item[0]), _age(item[1])))
    return [by_name[name] for _, name in found]


def _age(name: str) -> uuid.UUID:
    return uuid.UUID(name.rpartition("/")[2])
