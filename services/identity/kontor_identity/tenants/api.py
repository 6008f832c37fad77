"""The gRPC service of tenants."""

import datetime as dt
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from kontor.identity.v1 import tenant_pb2, tenant_service_pb2
from kontor_identity.crossing import inside
from kontor_identity.scopes import WholeScope
from kontor_identity.tenants import rules
from kontor_identity.tenants.deletion import DELETE_TENANT, told_time
from kontor_identity.tenants.table import all_tenants, tenants
from kontor_identity.users.rules import normalise_locale
from kontor_kit.calls import Behavior, Call
from kontor_kit.checks import at
from kontor_kit.db import Transaction
from kontor_kit.ids import format_name, parse_name, uuid7
from kontor_kit.methods import ResourceServicer
from kontor_kit.operations.servicer import Operations
from kontor_kit.principals import PLATFORM_TENANT, Scope
from kontor_kit.records import principal_of
from kontor_kit.resource import STANDARD_EVENTS, Resource
from kontor_kit.shared import Shared
from kontor_kit.store import etag_of

Settle = Callable[[Transaction, Call, Any], None]
"""Gives a new tenant, which the transaction is inside of, what it starts with; the last is its Administrator, or None."""

_SERVICE: Final = tenant_service_pb2.DESCRIPTOR.services_by_name["TenantService"]
_FOR_OPERATORS: Final = frozenset({"CreateTenant", "DeleteTenant", "UndeleteTenant", "SuspendTenant", "ResumeTenant"})


class _AllTenants(ResourceServicer):
    """Lists tenants for operators."""

    SERVICE = _SERVICE
    RESOURCE = Resource(tenant_pb2.Tenant, all_tenants, scope=WholeScope())


class Tenants(ResourceServicer):
    """Serves tenants.

    Everybody works inside of the own tenant, and so sees that one only. Operators do what they do to a tenant inside of
    it as well: row security stays as it is, and the tenant's own log tells of it.
    """

    SERVICE = _SERVICE
    RESOURCE = Resource(
        tenant_pb2.Tenant,
        tenants,
        scope=WholeScope(),
        conflicts={"tenants_slug": "there is a tenant with this short name already"},
        events=(*STANDARD_EVENTS, "suspended", "resumed"),
    )

    def __init__(self, shared: Shared, settle: Settle) -> None:
        super().__init__(shared)
        self._settle = settle
        self._operations = Operations(shared.domain)
        self._all = _AllTenants(shared)

    def handler(self, method: str) -> Behavior | None:
        """Return what serves the RPC of this name; None where nothing does."""
        serve = super().handler(method)
        if serve is None:
            return None

        def run(request: Any, call: Call) -> Any:
            tenant_id = principal_of(call).tenant_id
            if method in _FOR_OPERATORS:
                rules.require_operator(tenant_id)
            if method in ("CreateTenant", "ListTenants") or tenant_id != PLATFORM_TENANT:
                return serve(request, call)
            name, field = (request.tenant.name, "tenant.name") if method == "UpdateTenant" else (request.name, "name")
            return serve(request, _entering(call, parse_name(name, self.RESOURCE.pattern, field)))

        return run

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the language into form; check the time zone."""
        normalise_locale(after)
        if before is None:
            after.state = rules.State.ACTIVE

    def page(self, request: Any, call: Call, tx: Transaction) -> Any:
        """List all tenants for operators, and for others their own."""
        if tx.tenant_id == PLATFORM_TENANT:
            return self._all.page(request, call, tx)
        return super().page(request, call, tx)

    def create(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Create a tenant, with the standard roles and its administrator."""
        self.RESOURCE.scope.check(principal_of(call), self.scope(call), request.tenant)
        administrator = request.administrator if request.HasField("administrator") else None
        return self.shown(tx, call, self.found(tx, call, request.tenant, uuid7(), administrator))

    def found(self, tx: Transaction, call: Call, record: Any, id: uuid.UUID, administrator: Any | None = None) -> Any:
        """Store a new tenant with everything it starts with, and return it; `record` is changed."""
        with inside(tx, id):
            inner = _entering(call, id, permissions={"*": Scope.ALL})
            with at("tenant"):
                self.prepare(tx, inner, None, record)
            now = dt.datetime.now(dt.UTC)
            self.store.insert(tx, id, {**self.RESOURCE.codec.dump(record, ""), **self.RESOURCE.derived(record)}, now)
            record.name = format_name(self.RESOURCE.collection, id)
            record.etag = etag_of(1)
            record.create_time = record.update_time = now
            self.record(tx, inner, "created", before=None, after=record, version=1)
            self._settle(tx, inner, administrator)
        return record

    def delete(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Delete a tenant: nobody of it is let in any more. The operation, which is the operators', does the rest."""
        rules.require_ordinary(parse_name(request.name, self.RESOURCE.pattern, "name"))
        begun = DELETE_TENANT.begun(told_time(super().delete(request, call, tx).delete_time.ToDatetime(dt.UTC)))
        with inside(tx, PLATFORM_TENANT):
            return self._operations.start(tx, call, DELETE_TENANT.kind, request, begun)

    def undelete(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Bring a deleted tenant back."""
        locked = self.lock(tx, call, request.name, live=False)
        rules.require_kept(rules.State(locked.message.state))
        return super().undelete(request, call, tx)

    def restore(self, tx: Transaction, call: Call, id: uuid.UUID) -> None:
        """Undelete the tenant that the transaction is inside of, which is deleted."""
        locked = self.lock(tx, call, format_name(self.RESOURCE.collection, id), live=False)
        self._mark(tx, call, locked, deleted=False)

    def suspend_tenant(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Let nobody of a tenant in any more, until it is resumed."""
        rules.require_ordinary(parse_name(request.name, self.RESOURCE.pattern, "name"))
        return self._change_state(request, call, tx, rules.suspend)

    def resume_tenant(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Let a tenant's people and programs in again."""
        return self._change_state(request, call, tx, rules.resume)

    def _change_state(self, request: Any, call: Call, tx: Transaction, rule: rules.Transition) -> Any:
        locked = self.lock(tx, call, request.name)
        self.check_etag(call, locked, request.etag)
        after: Any = tenant_pb2.Tenant()
        after.CopyFrom(locked.message)
        after.state = rule(rules.State(after.state))
        after.suspend_reason = request.reason if rule is rules.suspend else ""
        event = "suspended" if rule is rules.suspend else "resumed"
        return self.shown(tx, call, self.save(tx, call, locked, after, event))


def _entering(call: Call, tenant_id: uuid.UUID, **changes: Any) -> Call:
    """Return the call as if its caller belonged to a tenant."""
    return replace(call, principal=replace(principal_of(call), tenant_id=tenant_id, **changes))
