"""Registrations before the arbiter: what they claim, and what their partner, and what staff are told of the verdict."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any, Final

from kontor_kit.errors import FailedPrecondition
from kontor_partners.deal_registrations import rules
from kontor_partners.deal_registrations.arbiter import Claim, Finding, Outcome, Rule, Verdict
from kontor_partners.known_deals.rules import Key

_KEPT: Final = {
    Rule.PROTECTED: "Nobody else holds this deal.",
    Rule.DIRECT: "Our own sales force was not on to this deal before you.",
    Rule.FIRST: "Nobody asked for this deal before you.",
}
_BROKEN: Final = {
    Rule.PROTECTED: "The deal is protected: a registration for the same end customer with a product in common, submitted"
    " on {since}, is approved.",
    Rule.DIRECT: "Our own sales force has been working on a deal with the same end customer and a product in common since"
    " {since}, before this was submitted.",
    Rule.FIRST: "A registration for the same end customer with a product in common was submitted on {since}, before this"
    " one, and is not decided yet.",
}


def claim(registration: Any, keys: frozenset[Key], partner_account: str) -> Claim:
    """Return what a registration that is submitted claims."""
    held = registration.HasField("protection_end_time")
    return Claim(
        registration.name,
        keys,
        frozenset(registration.products),
        frozenset(registration.region_codes),
        registration.submit_time.ToDatetime(dt.UTC),
        registration.partner,
        partner_account,
        registration.state in rules.HOLDING,
        registration.protection_end_time.ToDatetime(dt.UTC) if held else None,
    )


def tell(registration: Any, finding: Finding, now: dt.datetime) -> bool:
    """Write into a registration what was decided, in place, without a word of who the others are; return whether it is new."""
    before = registration.verdict, [*registration.rule_outcomes]
    if registration.verdict != finding.verdict:
        registration.verdict, registration.verdict_time = finding.verdict, now
    del registration.rule_outcomes[:]
    for outcome in finding.outcomes:
        registration.rule_outcomes.add(**_told(outcome))
    return before != (registration.verdict, [*registration.rule_outcomes])


def _told(outcome: Outcome) -> dict[str, Any]:
    if not outcome.blockers:
        return {"rule": outcome.rule, "kept": True, "description": _KEPT[outcome.rule]}
    since = outcome.blockers[0].since
    said = _BROKEN[outcome.rule].format(since=f"{since:%Y-%m-%d %H:%M} UTC")
    return {"rule": outcome.rule, "kept": False, "description": said, "since_time": since}


def check_clear(finding: Finding) -> None:
    """Raise FailedPrecondition where something stands in the way of a claim."""
    if finding.verdict is not Verdict.CLEAR:
        broken = next(outcome for outcome in finding.outcomes if outcome.blockers)
        first = broken.blockers[0]
        raise FailedPrecondition(
            f"{first.id} stands in the way, since {first.since:%Y-%m-%d %H:%M} UTC",
            reason=finding.verdict.name,
            metadata={"resource": first.id, "rule": broken.rule.name},
        )


def arbitration(
    finding: Finding, *, occasion: int, now: dt.datetime, keys: Iterable[Key], blockers: int = 20
) -> dict[str, Any]:
    """Return the fields of a DealArbitration, which staff read."""
    return {
        "occasion": occasion,
        "decide_time": now,
        "verdict": finding.verdict,
        "customer_keys": sorted(map(str, keys)),
        "outcomes": [
            {
                "rule": outcome.rule,
                "kept": not outcome.blockers,
                "blockers": [
                    {
                        "record": blocker.id,
                        "partner": blocker.partner,
                        "since_time": blocker.since,
                        "until_time": blocker.until,
                        "matched_by": blocker.matched_by,
                        "products": blocker.products,
                        "region_codes": blocker.regions,
                    }
                    for blocker in outcome.blockers[:blockers]
                ],
            }
            for outcome in finding.outcomes
        ],
    }
