"""The gRPC service of campaigns, and the way that they go."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

from kontor.marketing.v1 import campaign_pb2, campaign_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Transaction
from kontor_kit.due import Due
from kontor_kit.errors import FailedPrecondition, InvalidArgument, KontorError
from kontor_kit.ids import parse_name
from kontor_kit.mapping import plain
from kontor_kit.methods import ResourceServicer
from kontor_kit.operations.servicer import Operations
from kontor_kit.operations.work import Kind, Work
from kontor_kit.principals import Scope
from kontor_kit.shared import Shared
from kontor_kit.store import Locked, Store, is_live
from kontor_kit.tracing import Trace, start_span
from kontor_marketing.campaigns import rules
from kontor_marketing.campaigns.table import CAMPAIGN, FREEZE, FROZEN
from kontor_marketing.recipients.table import count
from kontor_marketing.segments.table import REFERRING, SEGMENT
from kontor_marketing.templates import rules as template_rules
from kontor_marketing.templates.table import TEMPLATE
from kontor_marketing.topics.table import TOPIC


def _prepare(work: Work) -> None:
    work.service["campaignRecipients"].prepare_campaign(work)


PREPARE: Final = Kind("prepare_campaign", campaign_service_pb2.SendCampaignRequest, _prepare)
"""Finds out who gets a campaign."""


class Campaigns(ResourceServicer):
    """Serves campaigns; `can_send` tells whether there is a mail server."""

    SERVICE = campaign_service_pb2.DESCRIPTOR.services_by_name["CampaignService"]
    RESOURCE = CAMPAIGN

    def __init__(self, shared: Shared, *, can_send: bool) -> None:
        super().__init__(shared)
        self._can_send = can_send
        self._operations = Operations(shared.domain)
        self._stores = {"topic": Store(TOPIC), "template": Store(TEMPLATE)}
        self._segments = Store(SEGMENT)

    # What is stored.

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring a campaign into form, and see that what it refers to is there; refuse to change one on its way."""
        if before is None:
            after.state = rules.DRAFT
        elif rules.does_the_same(before, after):
            return
        elif before.state != rules.DRAFT:
            _refuse(before.state)
        if violations := rules.normalise(after):
            raise InvalidArgument(*violations)
        for field, store in self._stores.items():
            if before is None or getattr(before, field) != getattr(after, field):
                self.referred(tx, call, store, getattr(after, field), field)
        for field in ("segments", "excluded_segments"):
            known = set(getattr(before, field)) if before is not None else set()
            for index, name in enumerate(getattr(after, field)):
                if name not in known:
                    self.referred(tx, call, self._segments, name, f"{field}[{index}]")

    def delete(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Delete a campaign that is not under way."""
        state = self.lock(tx, call, request.name, live=False).message.state
        if state in rules.RUNNING:
            _refuse(state)
        return super().delete(request, call, tx)

    def decorate(self, tx: Transaction, records: Sequence[Any]) -> None:
        """Tell how many got the mail: of those that were sent what was counted then, of others what it is now."""
        ids = [parse_name(record.name, CAMPAIGN.pattern, "name") for record in records]
        if not ids:
            return
        frozen = {row[0]: row[1] for row in tx.run(FROZEN, {"tenant": tx.tenant_id, "ids": ids})}
        counted = count(tx, [id for id in ids if id not in frozen])
        for id, record in zip(ids, records, strict=True):
            known = campaign_pb2.Campaign.Statistics(**frozen[id]) if id in frozen else counted[id]
            record.statistics.CopyFrom(known)

    # Its way.

    def send_campaign(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Start a campaign now."""
        return self._change(request, call, tx, lambda campaign: self._start(tx, call, campaign))

    def schedule_campaign(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Let a campaign start at a time."""
        if request.schedule_time.ToDatetime(dt.UTC) < _now():
            raise InvalidArgument(("schedule_time", "must not be in the past"))

        def schedule(campaign: Any) -> str:
            self._check_ready(tx, campaign)
            self._go(campaign, rules.SCHEDULED)
            campaign.schedule_time.CopyFrom(request.schedule_time)
            return "scheduled"

        return self._change(request, call, tx, schedule)

    def pause_campaign(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Stop a campaign for a while."""

        def pause(campaign: Any) -> str:
            self._go(campaign, rules.PAUSED)
            return "paused"

        return self._change(request, call, tx, pause)

    def resume_campaign(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Let a paused campaign go on."""

        def resume(campaign: Any) -> str:
            if campaign.state != rules.PAUSED:
                _refuse(campaign.state)
            campaign.pause_reason = ""
            self._require_server()
            campaign.state = rules.after_pause(campaign)
            if campaign.state == rules.PREPARING:
                self._begin_preparing(tx, call, campaign)
            return "resumed"

        return self._change(request, call, tx, resume)

    def cancel_campaign(self, request: Any, call: Call, tx: Transaction) -> Any:
        """End a campaign for good."""

        def cancel(campaign: Any) -> str:
            self._go(campaign, rules.CANCELLED)
            campaign.end_time.FromDatetime(_now())
            return "cancelled"

        return self._change(request, call, tx, cancel)

    # What the service does by itself.

    def start_by_itself(self, tx: Transaction, trace: Trace, id: uuid.UUID, now: dt.datetime) -> None:
        """Start a campaign whose time has come; pause it where that cannot be."""
        call = self.own_call(tx, trace)
        locked = self.lock_one(tx, call, id)
        if locked is None or locked.message.state != rules.SCHEDULED:
            return
        if locked.message.schedule_time.ToDatetime(dt.UTC) > now:
            return
        after = _copy(locked.message)
        try:
            event = self._start(tx, call, after)
        except KontorError as error:
            after = _copy(locked.message)
            after.state, after.pause_reason, event = rules.PAUSED, str(error)[:500], "paused"
        self.put(tx, call, locked, after, event)

    def prepared(self, tx: Transaction, call: Call, locked: Locked) -> None:
        """Let the mails of a campaign go out: it is known who gets them."""
        after = _copy(locked.message)
        after.state = rules.SENDING
        after.prepare_time.FromDatetime(_now())
        self.put(tx, call, locked, after, "prepared")

    def finish(self, tx: Transaction, call: Call, locked: Locked) -> None:
        """End a campaign of which no mail is left, and keep its numbers."""
        after = _copy(locked.message)
        after.state = rules.SENT
        after.end_time.FromDatetime(_now())
        self.put(tx, call, locked, after, "sent")
        counted = count(tx, [locked.id])[locked.id]
        tx.defer(FREEZE, {"tenant": tx.tenant_id, "campaign_id": locked.id, "counted": plain(counted)})

    def pause_by_itself(self, tx: Transaction, call: Call, id: uuid.UUID, reason: str) -> None:
        """Stop a campaign that cannot go on, and say why."""
        locked = self.lock_one(tx, call, id)
        if locked is not None and rules.can_go(locked.message.state, rules.PAUSED):
            after = _copy(locked.message)
            after.state, after.pause_reason = rules.PAUSED, reason[:500]
            self.put(tx, call, locked, after, "paused")

    def lock_one(self, tx: Transaction, call: Call, id: uuid.UUID) -> Locked | None:
        """Lock a campaign as the service itself; None where it is gone."""
        locked = self.store.lock(tx, self.reach(call), Scope.ALL, [id]).get(id)
        return locked if locked is not None and is_live(locked.message) else None

    # Parts.

    def _change(self, request: Any, call: Call, tx: Transaction, change: Callable[[Any], str]) -> Any:
        """Change a campaign; `change` returns the event."""
        locked = self.lock(tx, call, request.name)
        self.check_etag(call, locked, request.etag)
        after = _copy(locked.message)
        event = change(after)
        return self.shown(tx, call, self.save(tx, call, locked, after, event))

    def _start(self, tx: Transaction, call: Call, campaign: Any) -> str:
        self._check_ready(tx, campaign)
        self._go(campaign, rules.PREPARING)
        campaign.start_time.FromDatetime(_now())
        self._begin_preparing(tx, call, campaign)
        return "started"

    def _begin_preparing(self, tx: Transaction, call: Call, campaign: Any) -> None:
        self._operations.start(tx, call, PREPARE, campaign_service_pb2.SendCampaignRequest(name=campaign.name))

    def _check_ready(self, tx: Transaction, campaign: Any) -> None:
        """Raise FailedPrecondition where a campaign cannot be sent; let it keep to the template as it is now."""
        self._require_server()
        reach = self.reach(self.own_call(tx, start_span()))
        template = self._stores["template"].get_one(
            tx, reach, parse_name(campaign.template, TEMPLATE.pattern, "template")
        )
        topic = self._stores["topic"].get_one(tx, reach, parse_name(campaign.topic, TOPIC.pattern, "topic"))
        if template is None or topic is None or not (is_live(template) and is_live(topic)):
            raise FailedPrecondition("its template or its topic was deleted", reason="DELETED")
        # Without one that is left out, it would reach whom it is not to.
        self.shared.requests.serialise(tx, REFERRING)
        names = {*campaign.segments, *campaign.excluded_segments}
        ids = [parse_name(name, SEGMENT.pattern, "segments") for name in names]
        live = filter(is_live, self._segments.get(tx, reach, ids, ("name", "delete_time")).values())
        if names - {segment.name for segment in live}:
            raise FailedPrecondition("one of its segments was deleted", reason="DELETED")
        for body in template_rules.bodies(template):
            if not template_rules.uses(body, "unsubscribe_url"):
                raise FailedPrecondition(
                    "a text of its template does not say `unsubscribe_url`", reason="NO_UNSUBSCRIBE_LINK"
                )
        campaign.template_revision = template.revision

    def _require_server(self) -> None:
        if not self._can_send:
            raise FailedPrecondition("there is no mail server: KONTOR_MARKETING_SMTP_URL is not set", reason="NO_SMTP")

    @staticmethod
    def _go(campaign: Any, state: int) -> None:
        if not rules.can_go(campaign.state, state):
            _refuse(campaign.state)
        campaign.state = state


def _copy(campaign: Any) -> Any:
    copy = type(campaign)()
    copy.CopyFrom(campaign)
    return copy


def _refuse(state: int) -> NoReturn:
    reason, message = rules.REASONS[state]
    raise FailedPrecondition(message, reason=reason)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _begin(records: Any, tx: Transaction, trace: Trace, id: uuid.UUID, now: dt.datetime) -> None:
    records["campaigns"].start_by_itself(tx, trace, id, now)


START_CAMPAIGNS: Final = Due(
    "start-campaigns", "campaigns", ["state = 2 AND schedule_time <= :now"], _begin, seconds=10.0
)
"""Starts what is scheduled."""
