"""How the partner for a lead is found: who may get it, what each was offered of late, and what is kept of the choice."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from kontor.partners.v1 import lead_offer_service_pb2
from kontor_kit import filters
from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name
from kontor_kit.mapping import plain
from kontor_kit.store import Page, Reach, Store
from kontor_partners.lead_offers import rules
from kontor_partners.lead_offers.leads import LEAD
from kontor_partners.lead_offers.rules import Candidate, Choice, Wanted
from kontor_partners.lead_offers.table import IS_COUNTED, IS_OPEN, LEAD_OFFER, lead_offer_choices, lead_offers
from kontor_partners.partners import rules as partners
from kontor_partners.partners.table import PARTNER
from kontor_partners.programmes import rules as programmes
from kontor_partners.programmes.table import PROGRAMME

EXPLAINED: Final = 200
"""So many partners are told of in an explanation."""
_PAGE: Final = 500
_ACTIVE: Final = filters.parse("state = STATE_ACTIVE")

_OPEN: Final = Statement(
    sa.select(lead_offers.c.partner, sa.func.count())
    .where(lead_offers.c.tenant_id == TENANT, IS_OPEN)
    .group_by(lead_offers.c.partner)
)
_REFUSED: Final = Statement(
    sa.select(lead_offers.c.partner).where(
        lead_offers.c.tenant_id == TENANT,
        lead_offers.c.lead == sa.bindparam("lead", type_=sa.Uuid),
        sa.or_(lead_offers.c.state == rules.DECLINED, lead_offers.c.state == rules.EXPIRED),
    )
)
_OFFERED: Final = Statement(
    sa.select(lead_offers.c.partner, sa.func.count())
    .where(
        lead_offers.c.tenant_id == TENANT,
        lead_offers.c.partner == sa.any_(sa.bindparam("partners", type_=ARRAY(sa.Uuid))),
        lead_offers.c.create_time >= sa.bindparam("since", type_=sa.DateTime(timezone=True)),
        IS_COUNTED,
    )
    .group_by(lead_offers.c.partner)
)
_ID: Final = sa.bindparam("lead_offer", type_=sa.Uuid)
_ITS: Final = (lead_offer_choices.c.tenant_id == TENANT, lead_offer_choices.c.lead_offer == _ID)
_KEEP: Final = Statement(
    insert(lead_offer_choices).values(
        tenant_id=TENANT, lead_offer=_ID, choice=sa.bindparam("choice", type_=lead_offer_choices.c.choice.type)
    )
)
_KEEP_NEXT: Final = Statement(
    lead_offer_choices.update()
    .where(*_ITS)
    .values(next_choice=sa.bindparam("choice", type_=lead_offer_choices.c.choice.type))
)
_FIND: Final = Statement(sa.select(lead_offer_choices.c.choice, lead_offer_choices.c.next_choice).where(*_ITS))

Explained = lead_offer_service_pb2.ExplainLeadOfferResponse.Choice


class Choosing:
    """Chooses partners."""

    def __init__(self) -> None:
        self._partners = Store(PARTNER)
        self._programmes = Store(PROGRAMME)

    def choose(self, tx: Transaction, reach: Reach, lead: str, wanted: Wanted, now: dt.datetime) -> Explained:
        """Return who of the partners in `reach` is to be offered a lead; the caller has taken turns."""
        candidates = self._candidates(tx, reach, lead, now.date())
        skipped = {each.partner: why for each in candidates if (why := rules.why_not(each, wanted))}
        fit = [each for each in candidates if each.partner not in skipped]
        since = rules.counted_since(fit, now)
        ids = [parse_name(each.partner, PARTNER.pattern, "partner") for each in fit]
        rows = tx.run(_OFFERED, {"tenant": tx.tenant_id, "partners": ids, "since": since}) if ids else []
        choice = rules.choose(fit, _by_name(rows))
        return _explained(choice, candidates, skipped, since, now)

    def _candidates(self, tx: Transaction, reach: Reach, lead: str, today: dt.date) -> list[Candidate]:
        found = self._active(tx, reach)
        terms = self._programmes_of(tx, reach, found)
        open_offers, refused = tx.run_all(
            [
                (_OPEN, {"tenant": tx.tenant_id}),
                (_REFUSED, {"tenant": tx.tenant_id, "lead": parse_name(lead, LEAD, "lead")}),
            ]
        )
        counted, not_again = _by_name(open_offers), {f"partners/{id}" for (id,) in refused}
        return [
            Candidate(
                partner=each.name,
                display_name=each.display_name,
                idle=partners.why_idle(each, today),
                weight=level_of(each, terms).weight,
                regions=frozenset(each.region_codes),
                products=frozenset(each.products),
                families=frozenset(each.product_families),
                capacity=each.offer_capacity,
                open_offers=counted.get(each.name, 0),
                refused=each.name in not_again,
                since=_since(each),
            )
            for each in found
        ]

    def _active(self, tx: Transaction, reach: Reach) -> list[Any]:
        found: list[Any] = []
        after: list[Any] | None = None
        while True:
            part, after = self._partners.page(tx, reach, Page(size=_PAGE, node=_ACTIVE, after=after))
            found += part
            if after is None:
                return found

    def _programmes_of(self, tx: Transaction, reach: Reach, found: Sequence[Any]) -> dict[str, Any]:
        ids = {parse_name(each.programme, PROGRAMME.pattern, "programme") for each in found}
        return {f"programmes/{id}": each for id, each in self._programmes.get(tx, reach, list(ids)).items()}

    def hours(self, tx: Transaction, reach: Reach, partner: Any) -> int:
        """Return how many hours a partner has to answer."""
        return int(level_of(partner, self._programmes_of(tx, reach, [partner])).offer_hours)


def level_of(partner: Any, terms: Mapping[str, Any]) -> Any:
    """Return the level that an active partner is at, of the programmes by name; none is removed while one is at it."""
    level = programmes.find(terms[partner.programme], partner.level)
    assert level is not None, "a level with partners at it cannot be removed"
    return level


def keep(tx: Transaction, offer: str, choice: Explained) -> None:
    """Queue how the partner of an offer was chosen."""
    tx.defer(_KEEP, _values(tx, offer, choice))


def keep_next(tx: Transaction, offer: str, choice: Explained) -> None:
    """Queue how the next one was chosen."""
    tx.defer(_KEEP_NEXT, _values(tx, offer, choice))


def kept(tx: Transaction, offer: str) -> Any | None:
    """Return how the partner of an offer was chosen, and the next one; None where somebody named it."""
    rows = tx.run(_FIND, {"tenant": tx.tenant_id, "lead_offer": _id(offer)})
    if not rows:
        return None
    choice, next_choice = rows[0]
    return lead_offer_service_pb2.ExplainLeadOfferResponse(choice=choice, next_choice=next_choice)


def _explained(
    choice: Choice, candidates: Sequence[Candidate], skipped: Mapping[str, str], since: dt.datetime, now: dt.datetime
) -> Explained:
    names = {each.partner: each.display_name for each in candidates}
    listed = [*choice.ranked, *(name for name in names if name in skipped)][:EXPLAINED]
    return Explained(
        partner=choice.partner,
        reason=choice.reason,
        since_time=since,
        choose_time=now,
        candidates=[
            {
                "partner": name,
                "display_name": names[name],
                "standing": choice.standings.get(name, ""),
                "skipped_reason": skipped.get(name, ""),
            }
            for name in listed
        ],
    )


def _since(partner: Any) -> dt.datetime:
    """Return when a partner came to stand where it stands: active, and at its level."""
    held = partner.level_periods[1 if partner.next_level else 0]
    day = partners.day_of(held, "start_date")
    assert day is not None, "a level has a first day"
    active: dt.datetime = partner.state_time.ToDatetime(dt.UTC)
    return max(active, dt.datetime.combine(day, dt.time(), dt.UTC))


def _by_name(rows: Sequence[Any]) -> dict[str, int]:
    return {f"partners/{id}": count for id, count in rows}


def _values(tx: Transaction, offer: str, choice: Explained) -> dict[str, Any]:
    return {"tenant": tx.tenant_id, "lead_offer": _id(offer), "choice": plain(choice)}


def _id(offer: str) -> uuid.UUID:
    return parse_name(offer, LEAD_OFFER.pattern, "name")
