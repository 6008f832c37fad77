"""The gRPC service of deal registrations."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from kontor.partners.v1 import deal_approval_pb2, deal_registration_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Transaction
from kontor_kit.due import Due
from kontor_kit.errors import Aborted, FailedPrecondition, InvalidArgument, PermissionDenied
from kontor_kit.ids import parse_name
from kontor_kit.methods import ResourceServicer
from kontor_kit.operations.servicer import Operations
from kontor_kit.principals import Scope
from kontor_kit.records import out_of_scope, principal_of
from kontor_kit.shared import Shared
from kontor_kit.store import Locked, Reach, Store
from kontor_kit.tracing import Trace
from kontor_partners.deal_registrations import rules, verdicts
from kontor_partners.deal_registrations.approval import APPROVE_DEAL, TryOpportunity
from kontor_partners.deal_registrations.arbiter import Finding, arbitrate
from kontor_partners.deal_registrations.claims import Claims
from kontor_partners.deal_registrations.table import DEAL_REGISTRATION
from kontor_partners.known_deals.rules import Key, Kind
from kontor_partners.partners import rules as partner_rules
from kontor_partners.partners.table import PARTNER, require_reach
from kontor_partners.programmes.table import PROGRAMME

_APPROVE = "partners.dealRegistrations.approve"
_Arbitration = deal_registration_service_pb2.DealArbitration
_SUBMISSION, _REVIEW, _APPROVAL, _CHANGE = (
    _Arbitration.OCCASION_SUBMISSION,
    _Arbitration.OCCASION_REVIEW,
    _Arbitration.OCCASION_APPROVAL,
    _Arbitration.OCCASION_CHANGE,
)


class DealRegistrations(ResourceServicer):
    """Serves deal registrations; `try_opportunity` asks whether one would be taken."""

    SERVICE = deal_registration_service_pb2.DESCRIPTOR.services_by_name["DealRegistrationService"]
    RESOURCE = DEAL_REGISTRATION

    def __init__(self, shared: Shared, try_opportunity: TryOpportunity) -> None:
        super().__init__(shared)
        self._try_opportunity = try_opportunity
        self._claims = Claims(shared.requests)
        self._partners = Store(PARTNER)
        self._programmes = Store(PROGRAMME)
        self._operations = Operations(shared.domain)

    # Hooks.

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the registration into form; who creates it registers it, for a partner in their reach."""
        if violations := rules.normalise(after):
            raise InvalidArgument(*violations)
        principal = principal_of(call)
        if before is None:
            partner = self.referred(tx, call, self._partners, after.partner, "partner")
            require_reach(principal, self.scope(call), partner)
            after.registrant = principal.subject
        elif before.state not in rules.OPEN:
            if rules.claimed(before) != rules.claimed(after):
                raise FailedPrecondition("what is claimed stays as it was submitted", reason="CLAIM_FIXED")
            if before.state in rules.CLAIMING:
                rules.check_complete(after)
        if after.account != (before.account if before is not None else "") and principal.scope(_APPROVE) is None:
            raise PermissionDenied("account is written by those who may approve", metadata={"permission": _APPROVE})

    def change(self, tx: Transaction, call: Call, locked: Locked, given: Any, paths: tuple[str, ...]) -> Any:
        """Change a registration that is not over."""
        rules.check_editable(locked.message)
        return super().change(tx, call, locked, given, paths)

    def delete(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Delete a registration that claims nothing."""
        if self.lock(tx, call, request.name, live=False).message.state in rules.CLAIMING:
            raise FailedPrecondition("the registration claims a deal; cancel it first", reason="CLAIMS")
        return super().delete(request, call, tx)

    # Custom methods.

    def submit_deal_registration(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Take a place in the line."""
        locked, after, keys = self._begin(request, call, tx)
        rules.go(after, "submitted")
        rules.complete(after, dt.datetime.now(dt.UTC).date())
        partner = self._busy_partner(tx, call, after)
        rules.check_allowed(after, partner)
        after.submit_time = self._claims.now(tx, self._claims.meeting(tx, keys))
        if not after.HasField("first_submit_time"):
            after.first_submit_time.CopyFrom(after.submit_time)
        self._claims.take(tx, locked.id, keys)
        self._decide(tx, after, keys, partner=partner, occasion=_SUBMISSION)
        return self.shown(tx, call, self.put(tx, call, locked, after, "submitted"))

    def start_deal_registration_review(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Say that somebody looks at it, and who the end customer is."""
        self.shared.references.check(call, request)
        locked, after, keys = self._begin(request, call, tx, request.account)
        rules.go(after, "review_started")
        before = self._claims.keys_of(tx, locked.id)
        self._claims.take(tx, locked.id, keys)
        self._decide(tx, after, keys, partner=self._partner(tx, call, after), occasion=_REVIEW)
        stored = self.put(tx, call, locked, after, "review_started")
        if keys != before:
            self.look_again(tx, call.trace, keys | before, self._claims.now(tx))
        return self.shown(tx, call, stored)

    def approve_deal_registration(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Begin to approve a registration; for one that was approved, return how, and do nothing."""
        seen = self._seen(tx, call, request.name)
        if seen.state in rules.HOLDING and (operation := self._operations.find(tx, seen.approval)):
            return operation
        self._require_writable(tx, call, seen)
        plan = self._plan(tx, call, seen, request.opportunity)
        self._try_opportunity(call, plan)
        locked, after, keys = self._begin(request, call, tx)
        rules.go(after, "approval_started")
        before = self._claims.keys_of(tx, locked.id)
        self._claims.take(tx, locked.id, keys)
        plan.registration.CopyFrom(after)
        partner = self._partner(tx, call, after)
        finding = self._decide(tx, after, keys, partner=partner, occasion=_APPROVAL, linked=request.opportunity)
        verdicts.check_clear(finding)
        operation = self._operations.start(tx, call, APPROVE_DEAL.kind, plan, APPROVE_DEAL.begun())
        after.approval, after.opportunity = operation.name, request.opportunity
        self.put(tx, call, locked, after, "approval_started")
        self.look_again(tx, call.trace, keys | before, self._claims.now(tx))
        return operation

    def return_deal_registration(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Give it back to be completed."""
        return self._end(request, call, tx, "returned", request.missing)

    def reject_deal_registration(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Turn it down."""
        return self._end(request, call, tx, "rejected", request.reason)

    def cancel_deal_registration(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Give it up."""
        return self._end(request, call, tx, "cancelled", request.reason)

    def extend_deal_registration(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Prolong the protection."""
        locked = self.lock(tx, call, request.name)
        self.check_etag(call, locked, request.etag)
        after = _copy(locked.message)
        rules.extend(after, request.days, request.evidence, dt.datetime.now(dt.UTC))
        return self.shown(tx, call, self.put(tx, call, locked, after, "extended"))

    def explain_deal_registration(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Tell what was decided, and with whom it met."""
        self._seen(tx, call, request.name)
        id = parse_name(request.name, self.RESOURCE.pattern, "name")
        return call.method.output(arbitrations=self._claims.decisions(tx, id))

    # What they have in common.

    def _seen(self, tx: Transaction, call: Call, name: str) -> Any:
        record = self.store.get_one(tx, self.reach(call), parse_name(name, self.RESOURCE.pattern, "name"))
        if record is None:
            raise self.not_found(name)
        return record

    def _require_writable(self, tx: Transaction, call: Call, seen: Any) -> None:
        """Raise PermissionDenied where the method's permission does not reach it: before sales is asked for the caller."""
        id = parse_name(seen.name, self.RESOURCE.pattern, "name")
        if self.store.get_one(tx, Reach(principal_of(call), self.scope(call)), id, ("name",)) is None:
            raise out_of_scope(call, seen.name)

    def _begin(
        self, request: Any, call: Call, tx: Transaction, account: str = ""
    ) -> tuple[Locked, Any, frozenset[Key]]:
        """Lock what a request names, after its end customer; return it, a copy to change, and what is known of the customer.

        `account` is the end customer's, where the request says so.
        """
        seen = self._seen(tx, call, request.name)
        claimed = rules.claimed(_copy(seen))
        seen.account = account or seen.account
        keys = self._claims.known_by(tx, seen)
        id = parse_name(request.name, self.RESOURCE.pattern, "name")
        self._claims.serialise(tx, keys | self._claims.keys_of(tx, id))
        locked = self.lock(tx, call, request.name)
        self.check_etag(call, locked, request.etag)
        if rules.claimed(locked.message) != claimed:
            raise Aborted("the registration was changed by somebody else; look at it, and repeat", reason="CHANGED")
        after = _copy(locked.message)
        after.account = seen.account
        return locked, after, keys

    def _end(self, request: Any, call: Call, tx: Transaction, event: str, reason: str) -> Any:
        """Let a registration claim nothing any more."""
        locked, after, _ = self._begin(request, call, tx)
        if after.state == rules.APPROVING:
            raise FailedPrecondition(f"it is being approved; cancel {after.approval} first", reason="APPROVING")
        rules.go(after, event, reason)
        stored = self.put(tx, call, locked, after, event)
        self._leave(tx, call.trace, locked.id, self._claims.now(tx))
        return self.shown(tx, call, stored)

    def _leave(self, tx: Transaction, trace: Trace, id: uuid.UUID, now: dt.datetime) -> None:
        keys = self._claims.keys_of(tx, id)
        self._claims.take(tx, id, [])
        self.look_again(tx, trace, keys, now)

    def _decide(
        self, tx: Transaction, record: Any, keys: frozenset[Key], *, partner: Any, occasion: int, linked: str = ""
    ) -> Finding:
        """Decide on a claim, in place, and keep why; the opportunity that it is `linked` to is not in its way."""
        now = self._claims.now(tx)
        deals = [deal for deal in self._claims.deals(tx, keys) if deal.id != linked]
        finding = arbitrate(verdicts.claim(record, keys, partner.account), self._claims.meeting(tx, keys), deals, now)
        verdicts.tell(record, finding, now)
        self._claims.keep(tx, record.name, verdicts.arbitration(finding, occasion=occasion, now=now, keys=keys))
        return finding

    def _partner(self, tx: Transaction, call: Call, registration: Any) -> Any:
        """Return the partner of a registration, which whoever sees the registration sees."""
        id = parse_name(registration.partner, PARTNER.pattern, "partner")
        return self._partners.get_one(tx, Reach(principal_of(call), Scope.ALL), id)

    def _busy_partner(self, tx: Transaction, call: Call, registration: Any) -> Any:
        partner = self._partner(tx, call, registration)
        if idle := partner_rules.why_idle(partner, dt.datetime.now(dt.UTC).date()):
            raise FailedPrecondition(f"the partner {idle}", reason="PARTNER_IDLE")
        return partner

    def _plan(self, tx: Transaction, call: Call, registration: Any, opportunity: str) -> Any:
        """Return what an approval does: protection by the level that the partner has now, from now on."""
        partner = self._busy_partner(tx, call, registration)
        programme = None
        if partner.programme:
            id = parse_name(partner.programme, PROGRAMME.pattern, "programme")
            programme = self._programmes.get_one(tx, Reach(principal_of(call), Scope.ALL), id)
        days, most = rules.protection_days(partner, programme)
        now = self._claims.now(tx)
        known = [key.value for key in self._claims.known_by(tx, registration) if key.kind is Kind.ACCOUNT]
        return deal_approval_pb2.DealApproval(
            registration=registration,
            partner_account=partner.account,
            account=known[0] if known else "",
            opportunity=opportunity,
            approve_time=now,
            protection_end_time=now + dt.timedelta(days=days),
            max_protection_end_time=now + dt.timedelta(days=most),
        )

    # What the service does itself.

    def look_again(self, tx: Transaction, trace: Trace, keys: frozenset[Key], now: dt.datetime) -> None:
        """Decide anew on the undecided claims for end customers with one of the keys, whose locks are held."""
        found = [claim.id for claim in self._claims.meeting(tx, keys) if not claim.approved]
        if not found:
            return
        call = self.own_call(tx, trace)
        ids = [parse_name(name, self.RESOURCE.pattern, "name") for name in found]
        waiting = self.store.lock(tx, self.reach(call), Scope.ALL, ids).values()
        # Read once they are locked: who looks at one of them last sees what all before have done.
        wide = frozenset().union(*(claim.customer for claim in self._claims.meeting(tx, keys)))
        claims, deals = {claim.id: claim for claim in self._claims.meeting(tx, wide)}, self._claims.deals(tx, wide)
        for locked in waiting:
            claim, after = claims.get(locked.message.name), _copy(locked.message)
            if claim is None or after.state not in rules.UNDECIDED:
                continue
            finding = arbitrate(claim, claims.values(), deals, now)
            if verdicts.tell(after, finding, now):
                self.put(tx, call, locked, after, "arbitrated")
                said = verdicts.arbitration(finding, occasion=_CHANGE, now=now, keys=claim.customer)
                self._claims.keep(tx, claim.id, said)

    def know_deals(self, tx: Transaction, trace: Trace, keys: frozenset[Key]) -> None:
        """Look again at what is claimed for a customer with whom the own sales force has other deals than before."""
        self._claims.serialise(tx, keys)
        self.look_again(tx, trace, keys, self._claims.now(tx))

    def finish_approval(self, tx: Transaction, trace: Trace, plan: Any, opportunity: str) -> Any:
        """Say that a registration is approved, and which opportunity came of it."""
        call = self.own_call(tx, trace)
        locked = self.lock(tx, call, plan.registration.name, live=False)
        after = _copy(locked.message)
        rules.go(after, "approved")
        after.opportunity = opportunity
        for field in ("approve_time", "protection_end_time", "max_protection_end_time"):
            getattr(after, field).CopyFrom(getattr(plan, field))
        return self.put(tx, call, locked, after, "approved")

    def give_up_approval(self, tx: Transaction, trace: Trace, plan: Any, reason: str) -> None:
        """Say that nothing came of an approval, and why; the registration is pending again."""
        call = self.own_call(tx, trace)
        id = parse_name(plan.registration.name, self.RESOURCE.pattern, "name")
        keys = self._claims.keys_of(tx, id)
        self._claims.serialise(tx, keys)
        locked = self.lock(tx, call, plan.registration.name, live=False)
        after = _copy(locked.message)
        rules.go(after, "approval_failed", reason)
        after.opportunity = ""
        self.put(tx, call, locked, after, "approval_failed")
        self.look_again(tx, trace, keys, self._claims.now(tx))

    def expire(self, tx: Transaction, trace: Trace, id: uuid.UUID, now: dt.datetime) -> bool:
        """End a protection whose time is over by `now`; return whether there was one."""
        call = self.own_call(tx, trace)
        self._claims.serialise(tx, self._claims.keys_of(tx, id))
        locked = self.store.lock(tx, self.reach(call), Scope.ALL, [id]).get(id)
        if locked is None or locked.message.state != rules.APPROVED:
            return False
        if locked.message.protection_end_time.ToDatetime(dt.UTC) > now:
            return False
        after = _copy(locked.message)
        rules.go(after, "expired")
        self.put(tx, call, locked, after, "expired")
        self._leave(tx, trace, id, now)
        return True


def _copy(registration: Any) -> Any:
    copy = type(registration)()
    copy.CopyFrom(registration)
    return copy


def _expire(records: Any, tx: Transaction, trace: Trace, id: uuid.UUID, now: dt.datetime) -> None:
    records["dealRegistrations"].expire(tx, trace, id, now)


EXPIRE_REGISTRATIONS = Due(
    "expire-deal-registrations", "deal_registrations", ["state = 4 AND protection_end_time <= :now"], _expire
)
