"""Who is to have a deal that several want: decided from what was registered when, the same whoever looks at it.

A deal is some products for an end customer in some countries. Two claims meet where the customer is the same and they
have a product and a country in common. The claim that was complete first goes first: by the time of the server, and by
id where that is the same. Later claims never change what is said of earlier ones.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from kontor_partners.known_deals import rules as customers
from kontor_partners.known_deals.rules import Key, Kind


class Verdict(enum.IntEnum):
    """What is said of a claim; as DealRegistration.Verdict."""

    CLEAR = 1
    """Nobody else has the deal, or asked for it earlier."""
    CONFLICT = 2
    """Somebody else has it."""
    WAITING = 3
    """Somebody else asked earlier, and nothing is decided yet."""


class Rule(enum.IntEnum):
    """What is looked at, in this order; as DealRegistration.Rule."""

    PROTECTED = 1
    """No approved registration holds the deal within its protection period."""
    DIRECT = 2
    """The own sales force was not on to it before."""
    FIRST = 3
    """Nobody asked for it earlier."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a registration claims."""

    id: str
    """The name of the registration."""
    customer: frozenset[Key]
    products: frozenset[str]
    regions: frozenset[str]
    """Countries (ISO 3166-1); everywhere where there are none."""
    submit_time: dt.datetime
    partner: str = ""
    partner_account: str = ""
    """The account that the partner is."""
    approved: bool = False
    protection_end_time: dt.datetime | None = None
    """Until when it holds the deal, where it is approved; without an end where that is not known yet."""

    def holds(self, now: dt.datetime) -> bool:
        """Tell whether it has the deal."""
        return self.approved and (self.protection_end_time is None or now < self.protection_end_time)

    @property
    def turn(self) -> tuple[dt.datetime, str]:
        """What claims are ordered by."""
        return (self.submit_time, self.id)


@dataclass(frozen=True, slots=True)
class Deal:
    """An opportunity that is open in the own sales force."""

    id: str
    """The name of the opportunity."""
    customer: frozenset[Key]
    products: frozenset[str]
    open_time: dt.datetime
    partner: str = ""
    """The account of the partner who brought it; to that partner it is no obstacle."""


@dataclass(frozen=True, slots=True)
class Blocker:
    """What stands in the way of a claim."""

    id: str
    """The name of a registration or an opportunity."""
    partner: str
    """The partner, or of an opportunity the account of the partner who brought it; empty where nobody did."""
    since: dt.datetime
    matched_by: Kind
    """By what the customers are known to be the same."""
    products: tuple[str, ...]
    """Those in common."""
    regions: tuple[str, ...]
    """Those in common; everywhere where there are none."""
    until: dt.datetime | None = None
    """Until when it stands in the way, where that is known."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of looking at one rule: it is kept where nothing stands in the way."""

    rule: Rule
    blockers: tuple[Blocker, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What is said of a claim, and why: one outcome for each rule."""

    verdict: Verdict
    outcomes: tuple[Outcome, ...]

    @property
    def since(self) -> dt.datetime | None:
        """Return since when something has stood in the way; None where nothing does."""
        return min((blocker.since for outcome in self.outcomes for blocker in outcome.blockers), default=None)


_SAYS: Final = {Rule.PROTECTED: Verdict.CONFLICT, Rule.DIRECT: Verdict.CONFLICT, Rule.FIRST: Verdict.WAITING}


def arbitrate(claim: Claim, others: Iterable[Claim], deals: Iterable[Deal], now: dt.datetime) -> Finding:
    """Decide on a claim; `others` are all claims that are open or approved (its own is left out), in any order."""
    rivals = [other for other in others if other.id != claim.id]
    held = [_claimed(claim, other) for other in rivals if other.holds(now)]
    earlier = [_claimed(claim, other) for other in rivals if not other.approved and other.turn < claim.turn]
    direct = [_sold(claim, deal) for deal in deals if deal.open_time < claim.submit_time and not _brought(claim, deal)]
    outcomes = (
        Outcome(Rule.PROTECTED, _sorted(held)),
        Outcome(Rule.DIRECT, _sorted(direct)),
        Outcome(Rule.FIRST, _sorted(earlier)),
    )
    broken = [_SAYS[outcome.rule] for outcome in outcomes if outcome.blockers]
    return Finding(broken[0] if broken else Verdict.CLEAR, outcomes)


def _brought(claim: Claim, deal: Deal) -> bool:
    return bool(deal.partner) and deal.partner == claim.partner_account


def _claimed(claim: Claim, other: Claim) -> Blocker | None:
    """Return what stands in the way of `claim` where the other one meets it."""
    regions = claim.regions & other.regions
    if not regions and claim.regions and other.regions:
        return None
    regions = regions or claim.regions | other.regions
    return _blocker(claim, other, other.submit_time, tuple(sorted(regions)), other.protection_end_time)


def _sold(claim: Claim, deal: Deal) -> Blocker | None:
    return _blocker(claim, deal, deal.open_time, tuple(sorted(claim.regions)), None)


def _blocker(
    claim: Claim, other: Claim | Deal, since: dt.datetime, regions: tuple[str, ...], until: dt.datetime | None
) -> Blocker | None:
    products = claim.products & other.products
    matched_by = customers.match(claim.customer, other.customer) if products else None
    if matched_by is None:
        return None
    return Blocker(other.id, other.partner, since, matched_by, tuple(sorted(products)), regions, until)


def _sorted(found: Iterable[Blocker | None]) -> tuple[Blocker, ...]:
    return tuple(sorted((each for each in found if each), key=lambda blocker: (blocker.since, blocker.id)))
