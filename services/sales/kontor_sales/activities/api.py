"""The gRPC service of activities."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Final

from google.api import httpbody_pb2

from kontor.sales.v1 import activity_pb2, activity_service_pb2
from kontor_kit import filters
from kontor_kit.calls import Call
from kontor_kit.checks import at
from kontor_kit.db import Transaction
from kontor_kit.errors import FailedPrecondition, InvalidArgument
from kontor_kit.ids import parse_name
from kontor_kit.methods import ResourceServicer
from kontor_kit.principals import Scope
from kontor_kit.records import principal_of
from kontor_kit.shared import Shared
from kontor_kit.store import Locked, Page, Store, is_live
from kontor_sales.activities import rules
from kontor_sales.activities.table import ACTIVITY, OF_LEAD
from kontor_sales.calendars import rules as calendars
from kontor_sales.calendars.table import read_busy, replace_entries
from kontor_sales.leads.table import LEAD
from kontor_sales.opportunities.table import OPPORTUNITY
from kontor_sales.products.table import PRODUCT
from kontor_sales.visits.table import recount

MOST_DAYS: Final = 100
"""Free and busy times are told of so many days at most."""
USUAL: Final = dt.timedelta(days=7)
_FOLLOW_UPS: Final = 50
_OFFERS: Final = 1000
_OFFERED: Final = activity_pb2.Activity.HandOver.STATE_OFFERED
_TAKEN: Final = activity_pb2.Activity.HandOver.STATE_ACCEPTED
_DECLINED: Final = activity_pb2.Activity.HandOver.STATE_DECLINED


class Activities(ResourceServicer):
    """Serves activities."""

    SERVICE = activity_service_pb2.DESCRIPTOR.services_by_name["ActivityService"]
    RESOURCE = ACTIVITY

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._own = {"opportunity": Store(OPPORTUNITY), "lead": Store(LEAD), "follows": self.store}
        self._products = Store(PRODUCT)

    # What is stored.

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the activity into form, see that what it names is there, and put it where it belongs in time."""
        now = dt.datetime.now(dt.UTC)
        if before is None:
            after.state = rules.HELD if after.HasField("held_time") else rules.PLANNED
        violations = rules.normalise(after)
        violations += rules.check_held(after, now)
        if violations:
            raise InvalidArgument(*violations)
        for name, store in self._own.items():
            value = getattr(after, name)
            if value and (before is None or getattr(before, name) != value):
                self.referred(tx, call, store, value, name)
        created = now if before is None else before.create_time.ToDatetime(dt.UTC)
        after.agenda_time = rules.agenda_time(after, created)
        if before is not None:
            rules.follow_changes(before, after)

    def new(self, tx: Transaction, call: Call, record: Any, *args: Any, **options: Any) -> Any:
        """Store a new activity, and put it into calendars."""
        stored = super().new(tx, call, record, *args, **options)
        self._spread(tx, None, stored)
        return stored

    def put(self, tx: Transaction, call: Call, locked: Locked, after: Any, event: str) -> Any:
        """Store a changed activity, and move it in calendars."""
        stored = super().put(tx, call, locked, after, event)
        self._spread(tx, locked.message, stored)
        return stored

    def delete(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Delete an activity, and take it out of calendars."""
        return self._spread_again(super().delete(request, call, tx), tx)

    def undelete(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Bring an activity back, and into calendars."""
        return self._spread_again(super().undelete(request, call, tx), tx)

    def _spread_again(self, record: Any, tx: Transaction) -> Any:
        self._spread(tx, None, record)
        return record

    def _spread(self, tx: Transaction, before: Any | None, after: Any) -> None:
        """Keep calendars and the clocks of care in step with an activity."""
        entries = rules.entries(after)
        if (before is None and (entries or not is_live(after))) or (
            before is not None and rules.entries(before) != entries
        ):
            by_user = {parse_name(user, "users/{user}", "user"): entry for user, entry in entries.items()}
            replace_entries(tx, _id(after.name), by_user)
        for account in sorted(rules.resets(before, after)):
            recount(tx, parse_name(account, "accounts/{account}", "account"))

    def _open(self, tx: Transaction, call: Call, request: Any) -> tuple[Locked, Any]:
        locked = self.lock(tx, call, request.name)
        self.check_etag(call, locked, getattr(request, "etag", ""))
        return locked, _copy(locked)

    # How it goes on.

    def complete_activity(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Say that an activity took place."""
        return self._step(request, call, tx, rules.HELD, "held")

    def miss_activity(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Say that an activity did not take place."""
        return self._step(request, call, tx, rules.NOT_HELD, "not_held")

    def cancel_activity(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Call an activity off."""
        return self._step(request, call, tx, rules.CANCELLED, "cancelled")

    def reopen_activity(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Plan an activity again."""
        return self._step(request, call, tx, rules.PLANNED, "reopened")

    def _step(self, request: Any, call: Call, tx: Transaction, state: int, event: str) -> Any:
        locked, after = self._open(tx, call, request)
        rules.check_step(after.state, state)
        if state == rules.PLANNED and after.HasField("report_time"):
            raise FailedPrecondition("the activity was reported on", reason="ALREADY_REPORTED")
        after.outcome = getattr(request, "outcome", "") or after.outcome
        self._enter(after, state, request)
        return self.shown(tx, call, self.save(tx, call, locked, after, event))

    @staticmethod
    def _enter(after: Any, state: int, request: Any) -> None:
        after.state = state
        after.ClearField("offered_to")
        if state == rules.HELD:
            given = request.held_time.ToDatetime(dt.UTC) if request.HasField("held_time") else None
            after.held_time = rules.held_at(after, given, dt.datetime.now(dt.UTC))
        else:
            after.ClearField("held_time")

    def respond_to_activity(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Say whether the caller takes part: whoever is invited may, whatever else they may see."""
        subject = principal_of(call).subject
        locked, after = self._of_others(tx, call, request.name)
        for attendee in after.attendees:
            if attendee.user == subject:
                attendee.participation, attendee.comment = request.participation, request.comment
                return self.shown(tx, call, self.put(tx, call, locked, after, "answered"))
        raise self.not_found(request.name)

    def _of_others(self, tx: Transaction, call: Call, name: str) -> tuple[Locked, Any]:
        """Lock an activity that the caller need not see, where something else gives them a say in it."""
        id = parse_name(name, ACTIVITY.pattern, "name")
        everything = self.reach(self.own_call(tx, call.trace))
        locked = self.store.lock(tx, everything, Scope.ALL, [id]).get(id)
        if locked is None or not is_live(locked.message):
            raise self.not_found(name)
        return locked, _copy(locked)

    # From one to the other.

    def hand_over_activity(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Ask another user to take an activity over."""
        locked, after = self._open(tx, call, request)
        if after.state != rules.PLANNED:
            raise FailedPrecondition("only what is planned can be handed over", reason="WRONG_STATE")
        if request.user == after.owner:
            raise InvalidArgument(("user", "owns the activity already"))
        self.shared.references.check(call, request)
        offer = activity_pb2.Activity.HandOver(
            user=request.user, from_user=after.owner, state=_OFFERED, note=request.note
        )
        offer.offer_time.FromDatetime(dt.datetime.now(dt.UTC))
        after.offered_to = request.user
        after.hand_over.CopyFrom(offer)
        return self.shown(tx, call, self.save(tx, call, locked, after, "hand_over_offered"))

    def list_offered_activities(self, request: Any, call: Call, tx: Transaction) -> Any:
        """List what the caller is asked to take over, whatever else they may see."""
        subject = principal_of(call).subject
        if not subject.startswith("users/"):
            return call.method.output()  # Programs are not asked.
        offered = Page(size=_OFFERS, node=filters.parse(f"offered_to = {subject}"))
        found, _ = self.store.page(tx, self.reach(self.own_call(tx, call.trace)), offered)
        return call.method.output(activities=found)

    def accept_hand_over(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Take an activity over."""
        locked, after = self._answered(request, call, tx, _TAKEN)
        after.owner = principal_of(call).subject
        return self.shown(tx, call, self.put(tx, call, locked, after, "hand_over_accepted"))

    def decline_hand_over(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Leave an activity with its owner."""
        locked, after = self._answered(request, call, tx, _DECLINED)
        after.hand_over.reason = request.reason
        return self.shown(tx, call, self.put(tx, call, locked, after, "hand_over_declined"))

    def _answered(self, request: Any, call: Call, tx: Transaction, state: int) -> tuple[Locked, Any]:
        locked, after = self._of_others(tx, call, request.name)
        # To whom it was not offered it is not there.
        if after.offered_to != principal_of(call).subject:
            raise self.not_found(request.name)
        self.check_etag(call, locked, request.etag)
        after.ClearField("offered_to")
        after.hand_over.state = state
        after.hand_over.answer_time = dt.datetime.now(dt.UTC)
        return locked, after

    # Reports.

    def report_activity(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Report on an activity, with what follows, at once; the same report again changes nothing."""
        locked = self.lock(tx, call, request.name)
        if locked.message.HasField("report_time"):
            if not rules.same_report(locked.message, request):
                raise FailedPrecondition("the activity was reported on otherwise", reason="ALREADY_REPORTED")
            return call.method.output(activity=locked.message, follow_ups=self._follow_ups(tx, call, request.name))
        self.check_etag(call, locked, request.etag)
        after = _copy(locked)
        if after.state != rules.HELD:
            rules.check_step(after.state, rules.HELD)
            self._enter(after, rules.HELD, request)
        self._check_findings(tx, call, request)
        after.outcome = request.outcome
        after.needs.extend(request.needs)
        after.competitor_sightings.extend(request.competitor_sightings)
        after.report_time = dt.datetime.now(dt.UTC)
        stored = self.save(tx, call, locked, after, "reported")
        follow_ups = [
            self._follow_up(tx, call, stored, wanted, f"follow_ups[{place}]")
            for place, wanted in enumerate(request.follow_ups)
        ]
        self.tell_etag(call, stored)
        return call.method.output(activity=stored, follow_ups=follow_ups)

    def _check_findings(self, tx: Transaction, call: Call, request: Any) -> None:
        for place, need in enumerate(request.needs):
            if need.product:
                self.referred(tx, call, self._products, need.product, f"needs[{place}].product")
        self.shared.references.check(call, request)

    def _follow_up(self, tx: Transaction, call: Call, activity: Any, wanted: Any, path: str) -> Any:
        task = activity_pb2.Activity(
            type=activity_pb2.Activity.TYPE_TASK,
            subject=wanted.subject,
            description=wanted.description,
            priority=wanted.priority,
            owner=wanted.owner or activity.owner,
            follows=activity.name,
            time_zone=activity.time_zone,
            **{name: getattr(activity, name) for name in ("team", "account", "contacts", "opportunity", "lead")},
        )
        if wanted.HasField("due_date"):
            task.due_date.CopyFrom(wanted.due_date)
        with at(path):
            return self.new(tx, call, task, scope=self.scope(call, self.create_permission))

    def _follow_ups(self, tx: Transaction, call: Call, name: str) -> Sequence[Any]:
        following = Page(size=_FOLLOW_UPS, node=filters.parse(f"follows = {name}"))
        return self.store.page(tx, self.reach(call), following)[0]

    # For the service itself.

    def follow_lead(self, tx: Transaction, call: Call, lead: Any) -> None:
        """Point what was about a lead to what was made of it; what is planned goes to whoever owns that.

        For conversions: `call` is one of the service, and the lead is locked.
        """
        own = self.own_call(tx, call.trace)
        made = self._own["opportunity"].get(tx, self.reach(own), [_opportunity(lead)]) if lead.opportunity else {}
        owner = next((record.owner for record in made.values()), "") or lead.owner
        lead_id = parse_name(lead.name, LEAD.pattern, "name")
        ids = [row[0] for row in tx.run(OF_LEAD, {"tenant": tx.tenant_id, "lead": lead_id})]
        for locked in self.store.lock(tx, self.reach(own), Scope.ALL, ids).values():
            after = _copy(locked)
            rules.follow_lead(after, lead, owner)
            if after != locked.message:
                self.put(tx, own, locked, after, "updated")

    # For calendars.

    def export_invitation(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Return what the invited are to be sent."""
        id = parse_name(request.name, ACTIVITY.pattern, "name")
        activity = self.store.get_one(tx, self.reach(call), id)
        if activity is None or not is_live(activity):
            raise self.not_found(request.name)
        return _calendar(calendars.invitation(activity))

    def process_reply(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Take what somebody invited answered."""
        locked, after = self._open(tx, call, request)
        replies = calendars.read_reply(request.reply.data, after)
        for attendee in after.attendees:
            reply = replies.get(rules.identity(attendee))
            if reply is not None:
                attendee.participation, attendee.comment = reply.participation, reply.comment
        return self.shown(tx, call, self.save(tx, call, locked, after, "answered"))

    def query_free_busy(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Say when users are not free."""
        start, end = _period(request)
        response: Any = call.method.output()
        for user, busy in self._busy(tx, request.users, start, end).items():
            times = [{"start_time": one.start, "end_time": one.end, "type": one.type} for one in busy]
            response.calendars.add(user=user, busy=times)
        return response

    def export_free_busy(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Say when users are not free, as a calendar."""
        start, end = _period(request)
        busy = self._busy(tx, request.users, start, end)
        return _calendar(calendars.free_busy(busy, start, end, dt.datetime.now(dt.UTC)))

    @staticmethod
    def _busy(
        tx: Transaction, users: Iterable[str], start: dt.datetime, end: dt.datetime
    ) -> dict[str, list[calendars.Busy]]:
        ids = {parse_name(user, "users/{user}", f"users[{place}]"): user for place, user in enumerate(users)}
        found: dict[str, list[calendars.Busy]] = {user: [] for user in ids.values()}
        busy, away = read_busy(tx, ids, start, end)
        for id, begins, ends, kind in busy:
            found[ids[id]].append(calendars.Busy(begins, ends, kind))
        for id, begins, ends in away:
            found[ids[id]].append(calendars.Busy(begins, ends or end, calendars.UNAVAILABLE))
        return {user: calendars.merge(times, start, end) for user, times in found.items()}


def _period(request: Any) -> tuple[dt.datetime, dt.datetime]:
    start = rules.time_of(request.start_time) if request.HasField("start_time") else dt.datetime.now(dt.UTC)
    if request.HasField("end_time"):
        end = rules.time_of(request.end_time)
    else:
        end = start + USUAL if start is not None else None
    for name, moment in (("start_time", start), ("end_time", end)):
        if moment is None:
            raise InvalidArgument((name, "must be a time between the years 1900 and 9998"))
    assert start is not None
    assert end is not None
    if not dt.timedelta() < end - start <= dt.timedelta(days=MOST_DAYS):
        raise InvalidArgument(("end_time", f"must be later than start_time, by {MOST_DAYS} days at most"))
    return start, end


def _calendar(data: bytes) -> httpbody_pb2.HttpBody:
    return httpbody_pb2.HttpBody(content_type=calendars.CONTENT_TYPE, data=data)


def _copy(locked: Locked) -> Any:
    after = type(locked.message)()
    after.CopyFrom(locked.message)
    return after


def _opportunity(lead: Any) -> uuid.UUID:
    return parse_name(lead.opportunity, OPPORTUNITY.pattern, "opportunity")


def _id(name: str) -> uuid.UUID:
    return parse_name(name, ACTIVITY.pattern, "name")
