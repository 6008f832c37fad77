"""What happens to opportunities when something happens elsewhere."""

from __future__ import annotations

import datetime as dt
from typing import Any

from kontor.partners.v1 import deal_registration_pb2
from kontor_kit.ids import parse_name
from kontor_kit.inbox.events import Event, Handlers
from kontor_kit.inbox.handling import Work
from kontor_kit.principals import Scope
from kontor_sales.opportunities.table import OPPORTUNITY
from kontor_sales.pipelines import rules as pipelines

_REGISTRATION = "kontor.partners.v1.deal_registration"


def declare(handlers: Handlers) -> None:
    """Declare the handlers of opportunities."""
    ended = [f"{_REGISTRATION}.{event}" for event in ("cancelled", "expired")]
    handlers.on(*ended, optional=True)(end_protection)
    handlers.on(f"{_REGISTRATION}.extended", optional=True)(extend_protection)


def end_protection(event: Event, work: Work) -> None:
    """Take the partner and the protection from an opportunity that is open still; one that is closed keeps who brought it."""
    registration: Any = event.record(deal_registration_pb2.DealRegistration())
    _change(work, registration, registration.protection_end_time.ToDatetime(dt.UTC), extend=False)


def extend_protection(event: Event, work: Work) -> None:
    """Let an opportunity say until when it is protected by now."""
    registration: Any = event.record(deal_registration_pb2.DealRegistration())
    before = registration.protection_end_time.ToDatetime(dt.UTC) - dt.timedelta(days=registration.extensions[-1].days)
    _change(work, registration, before, extend=True)


def _change(work: Work, registration: Any, before: dt.datetime, *, extend: bool) -> None:
    """Change the opportunity of a registration where its protection, that ended at `before`, is what it still has."""
    if not registration.opportunity:
        return
    opportunities = work.service["opportunities"]
    call = opportunities.own_call(work.tx, work.trace)
    id = parse_name(registration.opportunity, OPPORTUNITY.pattern, "opportunity")
    locked = opportunities.store.lock(work.tx, opportunities.reach(call), Scope.ALL, [id]).get(id)
    if locked is None or locked.message.state != pipelines.OPEN:
        return
    after = type(locked.message)()
    after.CopyFrom(locked.message)
    if after.partner_protection_end_time.ToDatetime(dt.UTC) != before:
        return
    after.ClearField("partner_protection_end_time")
    if extend:
        after.partner_protection_end_time.CopyFrom(registration.protection_end_time)
    else:
        after.ClearField("partner")
    opportunities.put(work.tx, call, locked, after, "updated")
