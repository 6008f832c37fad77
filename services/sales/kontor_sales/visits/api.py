"""The gRPC services of care cadences and visit plans."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from typing import Any, Final

from kontor.sales.v1 import (
    activity_pb2,
    care_cadence_service_pb2,
    visit_plan_pb2,
    visit_plan_service_pb2,
)
from kontor_kit import normal_forms, pages
from kontor_kit.calls import Call
from kontor_kit.checks import at
from kontor_kit.db import Transaction
from kontor_kit.errors import InvalidArgument
from kontor_kit.ids import parse_name
from kontor_kit.methods import ResourceServicer
from kontor_kit.records import principal_of
from kontor_kit.shared import Shared
from kontor_sales.activities.rules import UTC, midnight
from kontor_sales.visits import gathering, overdue, rules
from kontor_sales.visits.gathering import Period
from kontor_sales.visits.table import CARE_CADENCE, VISIT_PLAN

_USER: Final = "users/{user}"
_PROPOSED: Final = visit_plan_pb2.VisitPlan.STATE_PROPOSED
_CONFIRMED: Final = visit_plan_pb2.VisitPlan.STATE_CONFIRMED


class CareCadences(ResourceServicer):
    """Serves care cadences, and tells who is overdue by them."""

    SERVICE = care_cadence_service_pb2.DESCRIPTOR.services_by_name["CareCadenceService"]
    RESOURCE = CARE_CADENCE

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the cadence into form."""
        if violations := rules.normalise(after):
            raise InvalidArgument(*violations)

    def list_overdue_care(self, request: Any, call: Call, tx: Transaction) -> Any:
        """List the accounts that were not heard of for too long."""
        owner = parse_name(request.owner, _USER, "owner") if request.owner else None
        channel = request.type if request.HasField("type") else None
        arguments = (call.method.full_name, str(tx.tenant_id), request.owner, channel)
        token = request.page_token
        after = overdue.BEGINNING
        if token:
            due, kind, account = self.shared.page_tokens.open(token, arguments)
            after = overdue.Position(due, kind, account)
        size = pages.page_size(request.page_size)
        asked = overdue.Asked(principal_of(call), self.scope(call), owner, size + 1, after)
        classes = rules.care_classes(gathering.live_cadences(tx), channel)
        found = overdue.read(tx, asked, classes, dt.datetime.now(dt.UTC))
        response: Any = call.method.output()
        for one in found[:size]:
            response.overdue.add(
                account=f"accounts/{one.account}",
                display_name=one.display_name,
                type=one.channel,
                last_time=one.last,
                due_time=one.due,
                care_cadence=one.cadence,
            )
        if len(found) > size:
            last = found[size - 1]
            response.next_page_token = self.shared.page_tokens.seal(arguments, (last.due, last.channel, last.account))
        return response


class VisitPlans(ResourceServicer):
    """Serves visit plans; `activities` makes their visits."""

    SERVICE = visit_plan_service_pb2.DESCRIPTOR.services_by_name["VisitPlanService"]
    RESOURCE = VISIT_PLAN

    def __init__(self, shared: Shared, activities: ResourceServicer) -> None:
        super().__init__(shared)
        self._activities = activities

    def plan_visits(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Propose whom a user could visit when."""
        user = request.user or principal_of(call).subject
        user_id = parse_name(user, _USER, "user")
        period = _period(request)
        per_day = request.visits_per_day or rules.USUAL_PER_DAY
        weekdays = request.weekdays or rules.WORKDAYS
        candidates, room = gathering.gather(tx, principal_of(call), user_id, period, weekdays, per_day=per_day)
        visits, left_out = rules.plan(candidates, period.start, period.end, room)
        plan = visit_plan_pb2.VisitPlan(
            state=_PROPOSED,
            start_date=_date(period.start),
            end_date=_date(period.end),
            visits_per_day=per_day,
            time_zone=period.zone.key,
            left_out=left_out,
            owner=user,
            team=request.team,
        )
        for visit in visits:
            plan.visits.add(
                account=visit.account,
                display_name=visit.display_name,
                date=_date(visit.date),
                score=visit.score,
                reasons=[reason._asdict() for reason in visit.reasons],
                day_reason=visit.day_reason,
            )
        return self.shown(tx, call, self.new(tx, call, plan))

    def confirm_visit_plan(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Make activities of the visits of a plan; of one that is confirmed, none."""
        locked = self.lock(tx, call, request.name)
        if locked.message.state == _CONFIRMED:
            return self.shown(tx, call, locked.message)
        self.check_etag(call, locked, request.etag)
        after = type(locked.message)()
        after.CopyFrom(locked.message)
        chosen = set(request.accounts)
        for place, account in enumerate(request.accounts):
            if account not in {visit.account for visit in after.visits}:
                raise InvalidArgument((f"accounts[{place}]", f"the plan has no visit of {account}"))
        scope = self._activities.scope(call, self._activities.create_permission)
        for place, visit in enumerate(after.visits):
            if not chosen or visit.account in chosen:
                with at(f"visits[{place}]"):
                    made = self._activities.new(tx, call, _activity(after, visit), scope=scope)
                visit.activity = made.name
        after.state = _CONFIRMED
        return self.shown(tx, call, self.save(tx, call, locked, after, "confirmed"))


def _activity(plan: Any, visit: Any) -> Any:
    """Return a visit as an activity: on its day, at no time yet, so that it keeps nobody busy."""
    zone = zoneinfo.ZoneInfo(plan.time_zone)
    day = dt.date(visit.date.year, visit.date.month, visit.date.day)
    return activity_pb2.Activity(
        type=activity_pb2.Activity.TYPE_VISIT,
        subject=f"Visit {visit.display_name}",
        description="\n".join(reason.message for reason in visit.reasons),
        start_time=midnight(day, zone),
        end_time=midnight(day + dt.timedelta(days=1), zone),
        time_zone=plan.time_zone,
        all_day=True,
        transparent=True,
        account=visit.account,
        owner=plan.owner,
        team=plan.team,
    )


def _period(request: Any) -> Period:
    try:
        zone = zoneinfo.ZoneInfo(normal_forms.time_zone(request.time_zone or UTC))
    except ValueError as error:
        raise InvalidArgument(("time_zone", str(error))) from error
    tomorrow = dt.datetime.now(zone).date() + dt.timedelta(days=1)
    start = _day(request, "start_date") or tomorrow
    end = _day(request, "end_date") or start + dt.timedelta(days=6)
    if not dt.timedelta() <= end - start <= dt.timedelta(days=rules.MOST_DAYS):
        raise InvalidArgument(("end_date", f"must not be before start_date, nor {rules.MOST_DAYS} days after it"))
    return Period(start, end, zone)


def _day(request: Any, field: str) -> dt.date | None:
    if not request.HasField(field):
        return None
    given = getattr(request, field)
    try:
        day = dt.date(given.year, given.month, given.day)
    except ValueError:
        day = dt.date.min
    if not 1900 <= day.year <= 9998:
        raise InvalidArgument((field, "must be a whole date between the years 1900 and 9998"))
    return day


def _date(day: dt.date) -> dict[str, int]:
    return {"year": day.year, "month": day.month, "day": day.day}
