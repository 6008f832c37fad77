"""The gRPC service of service accounts."""

from typing import Any

from kontor.identity.v1 import service_account_pb2, service_account_service_pb2
from kontor_identity.membership import check_membership, require_outranked
from kontor_identity.scopes import SubjectScope
from kontor_identity.service_accounts.table import service_accounts
from kontor_identity.users.rules import State, Transition, deactivate, reactivate
from kontor_kit.calls import Call
from kontor_kit.db import Transaction
from kontor_kit.methods import ResourceServicer
from kontor_kit.records import principal_of
from kontor_kit.resource import STANDARD_EVENTS, Resource
from kontor_kit.store import Locked


class ServiceAccounts(ResourceServicer):
    """Serves service accounts."""

    SERVICE = service_account_service_pb2.DESCRIPTOR.services_by_name["ServiceAccountService"]
    RESOURCE = Resource(
        service_account_pb2.ServiceAccount,
        service_accounts,
        scope=SubjectScope(),
        conflicts={"service_accounts_display_name_key": "there is a service account of this name already"},
        events=(*STANDARD_EVENTS, "deactivated", "reactivated"),
    )

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Check roles and teams."""
        if before is None:
            after.state = State.ACTIVE
        check_membership(tx, call, before, after)

    def lock(self, tx: Transaction, call: Call, name: str, field: str = "name", *, live: bool = True) -> Locked:
        """Lock a service account that the caller may change: one that may do no more than the caller."""
        locked = super().lock(tx, call, name, field, live=live)
        if name != principal_of(call).subject:
            require_outranked(tx, call, locked.message)
        return locked

    def deactivate_service_account(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Give the service account no more tokens."""
        return self._change_state(request, call, tx, deactivate)

    def reactivate_service_account(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Give the service account tokens again."""
        return self._change_state(request, call, tx, reactivate)

    def _change_state(self, request: Any, call: Call, tx: Transaction, rule: Transition) -> Any:
        locked = self.lock(tx, call, request.name)
        self.check_etag(call, locked, request.etag)
        after: Any = service_account_pb2.ServiceAccount()
        after.CopyFrom(locked.message)
        after.state = rule(State(after.state))
        event = "deactivated" if after.state == State.DEACTIVATED else "reactivated"
        return self.shown(tx, call, self.save(tx, call, locked, after, event))
