"""The gRPC service of lead offers."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any, Final

import sqlalchemy as sa

from kontor.partners.v1 import lead_offer_pb2, lead_offer_service_pb2
from kontor_kit import money
from kontor_kit.calls import Call
from kontor_kit.clients import Peers
from kontor_kit.db import Statement, Transaction
from kontor_kit.due import Due
from kontor_kit.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name
from kontor_kit.methods import ResourceServicer
from kontor_kit.principals import Scope
from kontor_kit.records import principal_of
from kontor_kit.shared import Shared
from kontor_kit.store import Locked, Reach, Store
from kontor_kit.tracing import Trace
from kontor_partners.lead_offers import choosing, leads, rules
from kontor_partners.lead_offers.choosing import Choosing
from kontor_partners.lead_offers.leads import LEAD, Leads
from kontor_partners.lead_offers.table import IS_OPEN, LEAD_OFFER, lead_offers
from kontor_partners.partners import rules as partners
from kontor_partners.partners.table import PARTNER, require_reach, take_turns

_OPEN: Final = sa.select(lead_offers.c.id).where(lead_offers.c.tenant_id == TENANT, IS_OPEN)
_OF_PARTNER: Final = Statement(_OPEN.where(lead_offers.c.partner == sa.bindparam("partner", type_=sa.Uuid)))
_OF_LEAD: Final = Statement(_OPEN.where(lead_offers.c.lead == sa.bindparam("lead", type_=sa.Uuid)))


class LeadOffers(ResourceServicer):
    """Serves lead offers; `peers` are asked for leads."""

    SERVICE = lead_offer_service_pb2.DESCRIPTOR.services_by_name["LeadOfferService"]
    RESOURCE = LEAD_OFFER

    def __init__(self, shared: Shared, peers: Peers) -> None:
        super().__init__(shared)
        self._partners = Store(PARTNER)
        self._leads = Leads(peers)
        self._choosing = Choosing()

    # Hooks.

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Fill in what the partner sees of the lead, and until when it can answer."""
        now = dt.datetime.now(dt.UTC)
        if before is None:
            self._begin(tx, call, after, now)
        elif before.expire_time != after.expire_time:
            rules.require_open(before, now)
        else:
            return
        if after.expire_time.ToDatetime(dt.UTC) <= now:
            raise InvalidArgument(("expire_time", "must lie ahead"))

    def _begin(self, tx: Transaction, call: Call, offer: Any, now: dt.datetime) -> None:
        partner = self.referred(tx, call, self._partners, offer.partner, "partner")
        require_reach(principal_of(call), self.scope(call), partner)
        self._require_busy(partner, now)
        shown = leads.require(tx, offer.lead)
        shown.ClearField("person")
        offer.MergeFrom(shown)
        offer.state = rules.OFFERED
        if not offer.HasField("expire_time"):
            hours = self._choosing.hours(tx, Reach(principal_of(call), Scope.ALL), partner)
            offer.expire_time = now + dt.timedelta(hours=hours)

    @staticmethod
    def _require_busy(partner: Any, now: dt.datetime) -> None:
        if why := partners.why_idle(partner, now.date()):
            raise FailedPrecondition(f"the partner gets no leads: {why}", reason="PARTNER_IDLE")

    def create(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Offer a lead to a partner that the caller names."""
        self._learn(tx, call, request.lead_offer.lead, "lead_offer.lead")
        return super().create(request, call, tx)

    def _learn(self, tx: Transaction, call: Call, name: str, field: str) -> None:
        """Ask for a lead, and take turns."""
        lead = self._leads.ask(call, name, field)
        take_turns(self.shared.requests, tx)
        leads.keep(tx, name, lead)

    # Custom methods. Whatever ends an offer takes turns before it locks anything, so that nothing waits in a circle.

    def distribute_lead(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Offer a lead to the partner that has the largest claim to it."""
        self._learn(tx, call, request.lead, "lead")
        wanted = leads.wanted(tx, leads.require(tx, request.lead))
        scope, now = self.scope(call), dt.datetime.now(dt.UTC)
        reach = Reach(principal_of(call), scope)
        choice = self._choosing.choose(tx, reach, request.lead, wanted, now)
        if not choice.partner:
            raise _nobody(choice, scope)
        return self.shown(tx, call, self._offer(tx, call, request.lead, choice))

    def explain_lead_offer(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Say how partners were chosen."""
        id = parse_name(request.name, LEAD_OFFER.pattern, "name")
        if self.store.get_one(tx, self.reach(call), id, ("name",)) is None:
            raise self.not_found(request.name)
        return choosing.kept(tx, request.name) or call.method.output()

    def accept_lead_offer(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Take a lead, and learn who it is."""
        if violations := money.check(request.expected_amount, "expected_amount"):
            raise InvalidArgument(*violations)
        now = dt.datetime.now(dt.UTC)
        locked, after = self._answer(request, call, tx, now)
        id = parse_name(after.partner, PARTNER.pattern, "partner")
        self._require_busy(self._partners.get_one(tx, Reach(principal_of(call), Scope.ALL), id), now)
        after.person.CopyFrom(leads.require(tx, after.lead).person)
        after.state, after.next_step = rules.ACCEPTED, request.next_step
        after.expected_amount.CopyFrom(request.expected_amount)
        leads.forget(tx, after.lead)
        return self.shown(tx, call, self.save(tx, call, locked, after, "accepted"))

    def decline_lead_offer(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Do not take a lead; the next partner is offered it."""
        locked, after = self._answer(request, call, tx, dt.datetime.now(dt.UTC))
        after.state, after.reason = rules.DECLINED, request.reason
        stored = self.save(tx, call, locked, after, "declined")
        self._offer_on(tx, call.trace, stored)
        return self.shown(tx, call, stored)

    def recall_lead_offer(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Take a lead back."""
        take_turns(self.shared.requests, tx)
        locked = self.lock(tx, call, request.name)
        self.check_etag(call, locked, request.etag)
        rules.require_recallable(locked.message)
        leads.forget(tx, locked.message.lead)
        return self.shown(tx, call, self._recall(tx, call, locked, request.reason))

    def _answer(self, request: Any, call: Call, tx: Transaction, now: dt.datetime) -> tuple[Locked, Any]:
        take_turns(self.shared.requests, tx)
        locked = self.lock(tx, call, request.name)
        self.check_etag(call, locked, request.etag)
        rules.require_open(locked.message, now)
        after = _copy(locked)
        after.answer_time = now
        subject = principal_of(call).subject
        after.answerer = subject if subject.startswith("users/") else ""
        return locked, after

    def _recall(self, tx: Transaction, call: Call, locked: Locked, reason: str) -> Any:
        after = _copy(locked)
        after.state, after.reason, after.answer_time = rules.RECALLED, reason, dt.datetime.now(dt.UTC)
        after.ClearField("person")
        return self.put(tx, call, locked, after, "recalled")

    def _offer(self, tx: Transaction, call: Call, lead: str, choice: Any) -> Any:
        offer = self.new(tx, call, lead_offer_pb2.LeadOffer(lead=lead, partner=choice.partner))
        choosing.keep(tx, offer.name, choice)
        return offer

    # For the service itself.

    def _offer_on(self, tx: Transaction, trace: Trace, offer: Any) -> None:
        """Offer a lead to the next partner, unless somebody named the one that it was offered to."""
        content = leads.known(tx, offer.lead)
        if content is None:
            return
        if choosing.kept(tx, offer.name) is None:
            leads.forget(tx, offer.lead)
            return
        call, now = self.own_call(tx, trace), dt.datetime.now(dt.UTC)
        choice = self._choosing.choose(tx, self.reach(call), offer.lead, leads.wanted(tx, content), now)
        choosing.keep_next(tx, offer.name, choice)
        if choice.partner:
            self._offer(tx, call, offer.lead, choice)
        else:
            leads.forget(tx, offer.lead)

    def release(self, tx: Transaction, trace: Trace, partner: Any) -> None:
        """Take back what waits for a partner that gets no leads any more, and offer it to the next."""
        id = parse_name(partner.name, PARTNER.pattern, "name")
        rows = tx.run(_OF_PARTNER, {"tenant": tx.tenant_id, "partner": id})
        for stored in self._recall_all(tx, trace, rows, "the partnership was suspended or ended"):
            self._offer_on(tx, trace, stored)

    def follow(self, tx: Transaction, trace: Trace, lead: Any, version: int) -> None:
        """Keep what became of a lead; take the offer of it back where it is for nobody any more."""
        take_turns(self.shared.requests, tx)
        if leads.follow(tx, lead, version):
            rows = tx.run(_OF_LEAD, {"tenant": tx.tenant_id, "lead": parse_name(lead.name, LEAD, "lead")})
            self._recall_all(tx, trace, rows, rules.why_closed(lead))

    def _recall_all(self, tx: Transaction, trace: Trace, rows: Any, reason: str) -> list[Any]:
        call = self.own_call(tx, trace)
        found = self.store.lock(tx, self.reach(call), Scope.ALL, [id for (id,) in rows]).values()
        # Somebody may have answered meanwhile.
        waiting = [locked for locked in found if locked.message.state == rules.OFFERED]
        return [self._recall(tx, call, locked, reason) for locked in waiting]

    def expire(self, tx: Transaction, trace: Trace, id: uuid.UUID, now: dt.datetime) -> bool:
        """End an offer that nobody answered in time, and offer the lead to the next; return whether there was one."""
        take_turns(self.shared.requests, tx)
        call = self.own_call(tx, trace)
        locked = self.store.lock(tx, self.reach(call), Scope.ALL, [id]).get(id)
        # Somebody may have been faster: due is what the locked record says.
        if locked is None or locked.message.state != rules.OFFERED:
            return False
        if locked.message.expire_time.ToDatetime(dt.UTC) > now:
            return False
        after = _copy(locked)
        after.state, after.answer_time = rules.EXPIRED, now
        self._offer_on(tx, trace, self.put(tx, call, locked, after, "expired"))
        return True


def _nobody(choice: Any, scope: Scope) -> FailedPrecondition | PermissionDenied:
    if not choice.candidates and scope is not Scope.ALL:
        return PermissionDenied("your permission reaches no active partner", reason="OUT_OF_SCOPE")
    why = {each.partner: each.skipped_reason for each in choice.candidates[:20]}
    return FailedPrecondition("no active partner is fit for the lead", reason="NO_PARTNER", metadata=why)


def _copy(locked: Locked) -> Any:
    after = type(locked.message)()
    after.CopyFrom(locked.message)
    return after


def _expire(records: Any, tx: Transaction, trace: Trace, id: uuid.UUID, now: dt.datetime) -> None:
    records["leadOffers"].expire(tx, trace, id, now)


EXPIRE_OFFERS = Due("expire-lead-offers", "lead_offers", ["state = 1 AND expire_time <= :now"], _expire, seconds=30.0)
