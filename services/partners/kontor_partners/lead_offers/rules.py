"""Which partner is to be offered a lead, and where an offer can go from where it stands."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

from kontor_kit.errors import FailedPrecondition

OFFERED, ACCEPTED, DECLINED, EXPIRED, RECALLED = range(1, 6)
"""As LeadOffer.State."""
LEAD_NEW, LEAD_WORKING, LEAD_QUALIFIED, LEAD_UNQUALIFIED, LEAD_CONVERTING, LEAD_CONVERTED = range(1, 7)
"""As kontor.sales.v1.Lead.State."""

PERIOD: Final = dt.timedelta(days=90)
"""Shares are of what was offered in this time."""

_NAMES: Final = ("", "OFFERED", "ACCEPTED", "DECLINED", "EXPIRED", "RECALLED")
_WORDS: Final = (
    "",
    "waits for an answer",
    "was accepted",
    "was declined",
    "was not answered in time",
    "was taken back",
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a partner must be fit for to be offered a lead."""

    region_code: str = ""
    products: frozenset[str] = frozenset()
    families: frozenset[str] = frozenset()
    """Those of the products, as far as they are known."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A partner that may be offered a lead."""

    partner: str
    display_name: str = ""
    idle: str = ""
    """Why it gets none at present; empty where it does."""
    weight: int = 1
    regions: frozenset[str] = frozenset()
    products: frozenset[str] = frozenset()
    families: frozenset[str] = frozenset()
    capacity: int = 1
    open_offers: int = 0
    refused: bool = False
    """It did not want this lead, or let it lapse."""
    since: dt.datetime = field(default=dt.datetime.min.replace(tzinfo=dt.UTC))
    """When it became active, or its level began."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Whom a lead is offered to, and why."""

    partner: str
    """Empty where nobody can get it."""
    reason: str
    ranked: list[str]
    """Those who came into question, the largest claim first."""
    standings: dict[str, str]
    """What was compared."""


def why_not(candidate: Candidate, wanted: Wanted) -> str:
    """Return why a partner cannot be offered a lead; empty where it can."""
    if candidate.idle:
        return candidate.idle
    if not candidate.weight:
        return "gets no leads at its level"
    if candidate.refused:
        return "did not take this lead before"
    if candidate.regions and wanted.region_code not in candidate.regions:
        return f"does not sell in {wanted.region_code}" if wanted.region_code else "sells in some countries only"
    sells_some = bool(candidate.products or candidate.families)
    if sells_some and wanted.products and not _sells(candidate, wanted):
        return "sells none of the products"
    if candidate.open_offers >= candidate.capacity:
        return f"has {candidate.open_offers} open offers, which is all"
    return ""


def _sells(candidate: Candidate, wanted: Wanted) -> bool:
    return bool(candidate.products & wanted.products or candidate.families & wanted.families)


def counted_since(fit: Sequence[Candidate], now: dt.datetime) -> dt.datetime:
    """Return since when offers are counted: the same time for all who are fit, so that a new one need not catch up."""
    return max([now - PERIOD, *(candidate.since for candidate in fit)])


def choose(fit: Sequence[Candidate], offered: Mapping[str, int]) -> Choice:
    """Choose the one of those who are fit that lacks most of its share; `offered` counts what each was offered.

    A share is the weight by the sum of the weights. Each is due its share of everything that was offered, this lead
    included. Of equal ones the one with fewer open offers is chosen, then the one that is a partner for longer.
    """
    if not fit:
        return Choice("", "nobody is fit for this lead", [], {})
    weights = sum(candidate.weight for candidate in fit)
    total = sum(offered.get(candidate.partner, 0) for candidate in fit)

    def lacks(candidate: Candidate) -> Fraction:
        return Fraction(candidate.weight * (total + 1), weights) - offered.get(candidate.partner, 0)

    ranked = sorted(fit, key=lambda candidate: (-lacks(candidate), candidate.open_offers, candidate.partner))
    standings = {
        candidate.partner: (
            f"share {candidate.weight} of {weights}, was offered {offered.get(candidate.partner, 0)} of {total}"
        )
        for candidate in fit
    }
    return Choice(
        ranked[0].partner,
        "lacks most of its share" if len(fit) > 1 else "is the only one that is fit",
        [candidate.partner for candidate in ranked],
        standings,
    )


def require_open(offer: Any, now: dt.datetime) -> None:
    """Raise FailedPrecondition where an offer cannot be answered any more."""
    state = offer.state
    if state == OFFERED and offer.expire_time.ToDatetime(dt.UTC) <= now:
        state = EXPIRED
    if state != OFFERED:
        raise FailedPrecondition(f"the offer {_WORDS[state]}", reason=f"LEAD_OFFER_{_NAMES[state]}")


def require_recallable(offer: Any) -> None:
    """Raise FailedPrecondition where there is nothing to take back."""
    if offer.state not in (OFFERED, ACCEPTED):
        raise FailedPrecondition(f"the offer {_WORDS[offer.state]}", reason=f"LEAD_OFFER_{_NAMES[offer.state]}")


def why_closed(lead: Any) -> str:
    """Return why a lead is for nobody any more; empty where it may be for somebody."""
    if lead.HasField("delete_time"):
        return "the lead was deleted"
    closed = {LEAD_UNQUALIFIED: "the lead is worth no opportunity", LEAD_CONVERTED: "the lead was converted"}
    return closed.get(lead.state, "")
