"""The gRPC service of leads."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from kontor.sales.v1 import lead_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import InvalidArgument
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name
from kontor_kit.methods import ResourceServicer
from kontor_kit.operations.servicer import Operations
from kontor_kit.operations.work import Work
from kontor_kit.principals import Scope
from kontor_kit.records import principal_of
from kontor_kit.shared import Shared
from kontor_kit.store import Locked, Reach, Store, is_live
from kontor_kit.terms import Term
from kontor_kit.tracing import Trace
from kontor_sales.leads import assigning, rules
from kontor_sales.leads.conversion import CONVERT_LEAD
from kontor_sales.leads.converting import Converting, finished
from kontor_sales.leads.scoring import Scoring
from kontor_sales.leads.table import LEAD, known_emails, leads
from kontor_sales.opportunities.table import OPPORTUNITY
from kontor_sales.products.table import PRODUCT

FORM_SUBMITTED: Final = "form.submitted"
"""The event of a lead that a form captured."""
LINKED: Final = 100
"""So many leads with one e-mail address are pointed to its contact; nobody has more."""

_CONTACTS: Final = Statement(
    sa.select(known_emails.c.contact)
    .where(
        known_emails.c.tenant_id == TENANT,
        known_emails.c.email == sa.bindparam("email", type_=known_emails.c.email.type),
    )
    .limit(2)
)
_SCORED: Final = Statement(
    sa.select(leads.c.id)
    .where(leads.c.tenant_id == TENANT, leads.c.id > sa.bindparam("last", type_=sa.Uuid))
    .order_by(leads.c.id)
    .limit(200)
)

Move = Callable[[Transaction, Call, Any], None]
"""Moves what hangs on a lead that was converted, which it is given, to what was made of it."""


class Leads(ResourceServicer):
    """Serves leads."""

    SERVICE = lead_service_pb2.DESCRIPTOR.services_by_name["LeadService"]
    RESOURCE = LEAD

    def __init__(self, shared: Shared, converting: Converting, moves: Sequence[Move] = ()) -> None:
        super().__init__(shared)
        self._converting = converting
        self._moves = moves
        self._products = Store(PRODUCT)
        self._opportunities = Store(OPPORTUNITY)
        self._scoring = Scoring()
        self._operations = Operations(shared.domain)

    # Hooks.

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the lead into form; say what is known of it: the contact, its territories, its score, its owner."""
        if before is not None:
            rules.check_writable(before.state)
        if violations := rules.normalise(after, before):
            raise InvalidArgument(*violations)
        self._check_interests(tx, call, before, after)
        if after.email and not after.contact and (before is None or before.email != after.email):
            self._link(tx, after)
        now = dt.datetime.now(dt.UTC)
        self._scoring.score(tx, after, _id(after.name), now)
        if before is None and not after.owner:
            assigning.assign(tx, self.shared.requests, after, now)
        elif before is None or any(getattr(before, name) != getattr(after, name) for name in _PLACE):
            assigning.place(tx, after)

    def match_terms(self, record: Any) -> set[Term]:
        """Suspect leads with the same e-mail address, phone number and name, or name and company."""
        return {self.term(f"match.{field}", value) for field, value in rules.match_keys(record)}

    def new(self, tx: Transaction, call: Call, record: Any, *args: Any, **options: Any) -> Any:
        """Store a new lead, and look at its score again in time."""
        stored = super().new(tx, call, record, *args, **options)
        self._scoring.schedule(tx, parse_name(stored.name, LEAD.pattern, "name"), "")
        return stored

    def put(self, tx: Transaction, call: Call, locked: Locked, after: Any, event: str) -> Any:
        """Store a changed lead, and look at its score again in time."""
        stored = super().put(tx, call, locked, after, event)
        self._scoring.schedule(tx, locked.id, stored.name)
        return stored

    def _check_interests(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        new = set(after.interests) - set(before.interests if before is not None else ())
        places = {name: f"interests[{place}]" for place, name in enumerate(after.interests) if name in new}
        ids = {parse_name(name, PRODUCT.pattern, path): name for name, path in places.items()}
        if ids:
            # Products belong to the whole tenant: whoever may name one may know that it is there.
            found = self._products.get(tx, Reach(principal_of(call), Scope.ALL), list(ids))
            missing = [name for id, name in ids.items() if id not in found or not is_live(found[id])]
            if missing:
                raise InvalidArgument(*((places[name], f"there is no {name}") for name in missing))

    @staticmethod
    def _link(tx: Transaction, lead: Any) -> None:
        """Point to the contact with the lead's e-mail address, where there is one and no other."""
        found = tx.run(_CONTACTS, {"tenant": tx.tenant_id, "email": lead.email.lower()})
        if len(found) == 1:
            lead.contact = f"contacts/{found[0][0]}"

    # Custom methods.

    def work_lead(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Say that somebody works on a lead."""
        return self._step(request, call, tx, rules.WORKING)

    def qualify_lead(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Say that a lead is worth an opportunity."""
        return self._step(request, call, tx, rules.QUALIFIED)

    def disqualify_lead(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Say that a lead is not worth an opportunity."""
        return self._step(request, call, tx, rules.UNQUALIFIED, request.reason)

    def _step(self, request: Any, call: Call, tx: Transaction, state: int, reason: str = "") -> Any:
        locked, after = self.writable(tx, call, request)
        rules.check_step(after.state, state)
        after.state, after.unqualified_reason = state, reason
        return self.shown(tx, call, self.save(tx, call, locked, after, "updated"))

    def assign_lead(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Have rules assign a lead. Whom they choose need not be in the caller's reach."""
        locked, after = self.writable(tx, call, request)
        assigning.assign(tx, self.shared.requests, after, dt.datetime.now(dt.UTC))
        return self.shown(tx, call, self.put(tx, call, locked, after, "assigned"))

    def record_lead_event(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Write down that something happened to a lead."""
        locked, after = self.writable(tx, call, request)
        now = dt.datetime.now(dt.UTC)
        time = request.event_time.ToDatetime(dt.UTC) if request.HasField("event_time") else now
        if time > now:
            raise InvalidArgument(("event_time", "must not lie in the future"))
        self._scoring.add_event(tx, locked.id, request.event_type, time)
        stored = self.save(tx, call, locked, after, "scored")
        self._scoring.schedule(tx, locked.id, stored.name)
        return self.shown(tx, call, stored)

    def explain_lead_score(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Say what a lead's score is made of."""
        id = parse_name(request.name, LEAD.pattern, "name")
        lead = self.store.get_one(tx, self.reach(call), id)
        if lead is None:
            raise self.not_found(request.name)
        given = request.evaluation_time
        at = given.ToDatetime(dt.UTC) if request.HasField("evaluation_time") else dt.datetime.now(dt.UTC)
        return self._scoring.explained(tx, lead, id, at)

    def convert_lead(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Begin to convert a lead; for one that was converted, return what came of it, and do nothing."""
        locked = self.lock(tx, call, request.name)
        lead = locked.message
        if lead.state in (rules.CONVERTING, rules.CONVERTED):
            return self._operations.find(tx, lead.conversion) or finished(lead)
        self.check_etag(call, locked, request.etag)
        rules.check_step(lead.state, rules.CONVERTING)
        if request.opportunity.opportunity:
            name = request.opportunity.opportunity
            self.referred(tx, call, self._opportunities, name, "opportunity.opportunity")
        plan = self._converting.plan(tx, call, request, lead)
        operation = self._operations.start(tx, call, CONVERT_LEAD.kind, plan, CONVERT_LEAD.begun())
        after = _copy(locked)
        after.state, after.conversion = rules.CONVERTING, operation.name
        self.put(tx, call, locked, after, "conversion_started")
        self._scoring.forget(tx, locked.id)
        return operation

    def writable(self, tx: Transaction, call: Call, request: Any) -> tuple[Locked, Any]:
        """Lock the lead that a request names and that can be changed; return it, and a copy to change."""
        locked = self.lock(tx, call, request.name)
        self.check_etag(call, locked, getattr(request, "etag", ""))
        rules.check_writable(locked.message.state)
        return locked, _copy(locked)

    def delete(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Delete a lead, unless it is being converted, or was: then its links are what is left of it."""
        rules.check_writable(self.lock(tx, call, request.name, live=False).message.state)
        return super().delete(request, call, tx)

    def undelete(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Bring a lead back, and look at its score again in time."""
        lead = super().undelete(request, call, tx)
        self._scoring.schedule(tx, parse_name(lead.name, LEAD.pattern, "name"), lead.name)
        return lead

    # For the service itself.

    def capture(self, tx: Transaction, trace: Trace, lead: Any) -> Any:
        """Store a lead that a form captured, by nobody's right; paths in violations begin in it."""
        call = self.own_call(tx, trace)
        self.shared.checks.record(lead)
        stored = self.new(tx, call, lead)
        id = parse_name(stored.name, LEAD.pattern, "name")
        self._scoring.add_event(tx, id, FORM_SUBMITTED, dt.datetime.now(dt.UTC))
        self.rescore(tx, trace, [id])
        return stored

    def finish_conversion(self, tx: Transaction, trace: Trace, name: str, made: Mapping[str, str]) -> dict[str, str]:
        """Point a lead to what was made of it, by field, and move what hangs on it; return its name and where it points."""
        call = self.own_call(tx, trace)
        locked = self.lock(tx, call, name, live=False)
        after = _copy(locked)
        for field, record in made.items():
            if record:
                setattr(after, field, record)
        after.state, after.convert_time = rules.CONVERTED, dt.datetime.now(dt.UTC)
        stored = self.put(tx, call, locked, after, "converted")
        for move in self._moves:
            move(tx, call, stored)
        return {"lead": name, **made}

    def end_conversion(self, tx: Transaction, trace: Trace, lead: Any) -> None:
        """Free a lead whose conversion came to nothing: it is in the state it was in before."""
        call = self.own_call(tx, trace)
        locked = self.lock(tx, call, lead.name, live=False)
        if locked.message.state == rules.CONVERTING:
            after = _copy(locked)
            after.state, after.conversion = lead.state, lead.conversion
            self.put(tx, call, locked, after, "conversion_failed")

    def rescore(self, tx: Transaction, trace: Trace, ids: Sequence[uuid.UUID]) -> None:
        """Bring the scores of leads up to now; of those that can be changed."""
        call, now = self.own_call(tx, trace), dt.datetime.now(dt.UTC)
        locked = self.store.lock(tx, self.reach(call), Scope.ALL, ids)
        for id in ids:
            if id not in locked or not is_live(locked[id].message) or locked[id].message.state >= rules.CONVERTING:
                self._scoring.forget(tx, id)
                continue
            after = _copy(locked[id])
            self._scoring.score(tx, after, id, now)
            if after != locked[id].message:
                self.put(tx, call, locked[id], after, "scored")
            self._scoring.schedule(tx, id, after.name)

    def rescore_all(self, work: Work) -> None:
        """Bring the scores of all leads of an operation's tenant up to now."""
        last = uuid.UUID(work.checkpoint.get("last", str(uuid.UUID(int=0))))
        while True:
            work.check()
            with work.write() as tx:
                ids = [row[0] for row in tx.run(_SCORED, {"tenant": tx.tenant_id, "last": last})]
                self.rescore(tx, work.trace, ids)
                if not ids:
                    return
                last = ids[-1]
                work.save(tx, {"last": str(last)})

    def link(self, tx: Transaction, trace: Trace, contact: str, emails: Sequence[str]) -> None:
        """Point the leads to a contact that have one of its e-mail addresses, and point to none yet."""
        call = self.own_call(tx, trace)
        terms = {self.term("match.email", email) for email in emails}
        found = [id for id, _ in self.store.find_by_terms(tx, terms, LINKED)]
        for locked in self.store.lock(tx, self.reach(call), Scope.ALL, sorted(set(found))).values():
            after = _copy(locked)
            if not after.contact and after.state < rules.CONVERTING:
                self._link(tx, after)
                if after.contact == contact:
                    self.put(tx, call, locked, after, "linked")


_PLACE: Final = ("region_code", "postal_code", "industry", "employee_count")


def _copy(locked: Locked) -> Any:
    after = type(locked.message)()
    after.CopyFrom(locked.message)
    return after


def _id(name: str) -> uuid.UUID | None:
    return parse_name(name, LEAD.pattern, "name") if name else None
