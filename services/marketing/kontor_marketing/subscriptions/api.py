"""The gRPC service of subscriptions."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import sqlalchemy as sa

from kontor.marketing.v1 import subscription_service_pb2
from kontor_kit.calls import Call
from kontor_kit.checks import at
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import InvalidArgument
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import format_name, parse_name
from kontor_kit.methods import ResourceServicer
from kontor_kit.records import principal_of
from kontor_kit.shared import Shared
from kontor_kit.store import Store
from kontor_kit.tracing import Trace
from kontor_marketing.parties.table import PARTY
from kontor_marketing.subscriptions import rules
from kontor_marketing.subscriptions.table import SUBSCRIPTION, subscriptions
from kontor_marketing.topics.table import TOPIC

_FIND: Final = Statement(
    sa.select(subscriptions.c.id).where(
        subscriptions.c.tenant_id == TENANT,
        subscriptions.c.party == sa.bindparam("party", type_=sa.Uuid),
        subscriptions.c.topic == sa.bindparam("topic", type_=sa.Uuid),
        subscriptions.c.delete_time.is_(None),
    )
)


class Subscriptions(ResourceServicer):
    """Serves subscriptions."""

    SERVICE = subscription_service_pb2.DESCRIPTOR.services_by_name["SubscriptionService"]
    RESOURCE = SUBSCRIPTION

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._parties = Store(PARTY)
        self._topics = Store(TOPIC)

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Check that what is said now may follow on what was said before, and complete it."""
        if before is None:
            self._refer(tx, call, after)
        if violations := rules.check_step(before, after):
            raise InvalidArgument(*violations)
        if before is None or before.state != after.state:
            after.state_time.FromDatetime(dt.datetime.now(dt.UTC))

    def _refer(self, tx: Transaction, call: Call, subscription: Any) -> None:
        if self._is_own(call):
            return  # It knows what it is about.
        self._check_party(tx, call, subscription)
        topic = self.referred(tx, call, self._topics, subscription.topic, "topic")
        subscription.legal_basis = subscription.legal_basis or topic.legal_basis

    def _check_party(self, tx: Transaction, call: Call, subscription: Any) -> None:
        party = self.referred(tx, call, self._parties, subscription.party, "party")
        # To see a party is not enough: who speaks for it changes what it gets.
        PARTY.scope.check(principal_of(call), self.scope(call, self.create_permission), party)

    def record_consent(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Store what a party said to a topic, whether it said something before or not."""
        with at("subscription"):
            self._check_party(tx, call, request.subscription)
            return self.shown(tx, call, self._put(tx, call, request.subscription))

    def say(self, tx: Transaction, trace: Trace, subscription: Any) -> Any:
        """Store what a party said to a topic by itself, over a link for example; return the subscription."""
        return self._put(tx, self.own_call(tx, trace), subscription)

    def _put(self, tx: Transaction, call: Call, given: Any) -> Any:
        key = {
            "party": parse_name(given.party, PARTY.pattern, "party"),
            "topic": parse_name(given.topic, TOPIC.pattern, "topic"),
        }
        self.shared.requests.serialise(tx, f"subscriptions/{key['party']}/{key['topic']}")
        rows = tx.run(_FIND, {"tenant": tx.tenant_id, **key})
        if not rows:
            scope = None if self._is_own(call) else self.scope(call, self.create_permission)
            return self.new(tx, call, given, scope=scope)
        locked = self.lock(tx, call, format_name(SUBSCRIPTION.collection, rows[0][0]), "party")
        after: Any = SUBSCRIPTION.message()
        after.CopyFrom(locked.message)
        given.legal_basis = given.legal_basis or after.legal_basis
        rules.merge(after, given)
        return self.save(tx, call, locked, after, "updated")

    @staticmethod
    def _is_own(call: Call) -> bool:
        return call.principal is not None and call.principal.subject.startswith("services/")
