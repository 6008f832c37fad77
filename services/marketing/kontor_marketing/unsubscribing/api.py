"""The gRPC service of the links in mails; the token is all that its callers have."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa
from google.api import httpbody_pb2

from kontor.marketing.v1 import campaign_recipient_pb2, subscription_pb2, suppression_pb2, unsubscribe_service_pb2
from kontor_kit.calls import Behavior, Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.methods import ResourceServicer
from kontor_kit.principals import Scope
from kontor_kit.shared import Shared
from kontor_kit.store import Locked
from kontor_kit.tracing import Trace
from kontor_marketing.campaigns.table import campaigns
from kontor_marketing.recipients.table import CAMPAIGN_RECIPIENT, campaign_recipients
from kontor_marketing.subscriptions.table import subscriptions
from kontor_marketing.topics.table import topics
from kontor_marketing.unsubscribing import page, rules

Store = Callable[[Transaction, Trace, Any], Any]
"""Stores what somebody said by themselves: a subscription, or a suppression."""

_SOURCE: Final = "unsubscribe link"
_FIND: Final = Statement(
    sa.select(
        campaigns.c.link_key,
        campaigns.c.topic,
        topics.c.display_name,
        sa.select(subscriptions.c.state)
        .where(
            subscriptions.c.tenant_id == TENANT,
            subscriptions.c.party == campaign_recipients.c.party,
            subscriptions.c.topic == campaigns.c.topic,
            subscriptions.c.delete_time.is_(None),
        )
        .scalar_subquery(),
    )
    .join(
        campaigns,
        sa.and_(
            campaigns.c.tenant_id == campaign_recipients.c.tenant_id, campaigns.c.id == campaign_recipients.c.campaign
        ),
    )
    .join(topics, sa.and_(topics.c.tenant_id == campaigns.c.tenant_id, topics.c.id == campaigns.c.topic))
    .where(
        campaign_recipients.c.tenant_id == TENANT,
        campaign_recipients.c.id == sa.bindparam("recipient", type_=sa.Uuid),
    )
)


class _UnknownLinkError(Exception):
    """There is nothing behind a link."""


class Unsubscribing(ResourceServicer):
    """Serves those who have a link. `say` stores a subscription, `suppress` a suppression."""

    SERVICE = unsubscribe_service_pb2.DESCRIPTOR.services_by_name["UnsubscribeService"]
    RESOURCE = CAMPAIGN_RECIPIENT

    def __init__(self, shared: Shared, *, say: Store, suppress: Store) -> None:
        super().__init__(shared)
        self._say = say
        self._suppress = suppress

    def handler(self, method: str) -> Behavior | None:
        """Return what serves a method: before the token is read nobody knows of which tenant the caller is."""
        found = {
            "ShowUnsubscribePage": self.show_page,
            "Unsubscribe": self.unsubscribe,
            "UnsubscribeFromAll": self.unsubscribe_from_all,
        }.get(method)
        return _as_page(found) if found else None

    def show_page(self, request: Any, call: Call) -> bytes:
        """Return the page; change nothing."""
        link = _parse(request.token)
        with self.shared.database.read(link.tenant) as tx:
            _, display_name, state = _find(tx, link)
        return page.ask(display_name, request.token, left=state == rules.SAID_NO)

    def unsubscribe(self, request: Any, call: Call) -> bytes:
        """Opt the person out of the topic."""
        link = _parse(request.token)
        with self.shared.database.write(link.tenant) as tx:
            topic, display_name, state = _find(tx, link)
            locked = self._lock(tx, call, link.recipient)
            if state != rules.SAID_NO:
                said = subscription_pb2.Subscription(
                    party=locked.message.party,
                    topic=f"topics/{topic}",
                    state=subscription_pb2.Subscription.STATE_OPTED_OUT,
                    source=_SOURCE,
                )
                said.evidence.statement_time.FromDatetime(_now())
                said.evidence.form = _SOURCE
                said.evidence.ip_address = _address(call)
                said.evidence.message_id = locked.message.message_id
                self._say(tx, call.trace, said)
            self._keep_time(tx, call, locked)
        return page.ask(display_name, request.token, left=True)

    def unsubscribe_from_all(self, request: Any, call: Call) -> bytes:
        """Let the person have no mail any more."""
        link = _parse(request.token)
        with self.shared.database.write(link.tenant) as tx:
            _find(tx, link)
            locked = self._lock(tx, call, link.recipient)
            self._suppress(
                tx,
                call.trace,
                suppression_pb2.Suppression(
                    party=locked.message.party,
                    address=locked.message.email,
                    channel=suppression_pb2.Suppression.CHANNEL_EMAIL,
                    reason=suppression_pb2.Suppression.REASON_UNSUBSCRIBED,
                    note=_SOURCE,
                ),
            )
            self._keep_time(tx, call, locked)
        return page.left_all()

    def _lock(self, tx: Transaction, call: Call, id: uuid.UUID) -> Locked:
        """Lock the recipient, so that two clicks at once are one after the other."""
        own = self.own_call(tx, call.trace)
        return self.store.lock(tx, self.reach(own), Scope.ALL, [id])[id]

    def _keep_time(self, tx: Transaction, call: Call, locked: Locked) -> None:
        """Keep when the person first left by this link."""
        if locked.message.HasField("unsubscribe_time"):
            return
        after = campaign_recipient_pb2.CampaignRecipient()
        after.CopyFrom(locked.message)
        after.unsubscribe_time.FromDatetime(_now())
        self.put(tx, self.own_call(tx, call.trace), locked, after, "unsubscribed")


def _find(tx: Transaction, link: rules.Link) -> tuple[uuid.UUID, str, int | None]:
    """Return the topic of the mail, what it is called, and the state of the person's subscription to it."""
    rows = tx.run(_FIND, {"tenant": tx.tenant_id, "recipient": link.recipient})
    if not rows or not rules.is_sealed(link, bytes(rows[0][0])):
        raise _UnknownLinkError
    _, topic, display_name, state = rows[0]
    return topic, display_name, state


def _parse(token: str) -> rules.Link:
    link = rules.parse(token)
    if link is None:
        raise _UnknownLinkError
    return link


def _as_page(show: Callable[[Any, Call], bytes]) -> Behavior:
    """Answer with the page that `show` returns: who comes by a link is a person, also where it leads nowhere."""

    def answer(request: Any, call: Call) -> Any:
        call.set_header("cache-control", "no-store")
        call.set_header("referrer-policy", "no-referrer")
        try:
            data = show(request, call)
        except _UnknownLinkError:
            call.set_http_status(404)
            data = page.unknown()
        return httpbody_pb2.HttpBody(content_type="text/html; charset=utf-8", data=data)

    return answer


def _address(call: Call) -> str:
    """Return the address of who called as the gateway saw it: the last one that was added on the way."""
    route = str(call.metadata.get("x-forwarded-for", "")).split(",")
    return (route[-1].strip() or call.peer)[:45]


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
