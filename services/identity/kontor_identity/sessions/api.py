"""The gRPC service that answers for whom a token speaks."""

from typing import Any

import sqlalchemy as sa

from kontor.identity.v1 import session_service_pb2
from kontor_identity.grants import to_messages
from kontor_identity.service_accounts.table import service_accounts
from kontor_identity.tenants.table import tenants
from kontor_identity.users.table import users
from kontor_kit.calls import Behavior, Call
from kontor_kit.db import Statement
from kontor_kit.records import principal_of
from kontor_kit.shared import Shared

_TENANT = sa.bindparam("tenant", type_=sa.Uuid)
_ID = sa.bindparam("id", type_=sa.Uuid)
_FIND_TENANT = Statement(sa.select(tenants.c.slug, tenants.c.display_name).where(tenants.c.tenant_id == _TENANT))


def _find(table: sa.Table, email: sa.ColumnElement[Any]) -> Statement:
    return Statement(sa.select(table.c.display_name, email).where(table.c.tenant_id == _TENANT, table.c.id == _ID))


_FIND_CALLER = {
    "users": _find(users, users.c.email),
    "serviceAccounts": _find(service_accounts, sa.literal_column("''", sa.Text)),
}


class Sessions:
    """Tells callers who they are."""

    SERVICE = session_service_pb2.DESCRIPTOR.services_by_name["SessionService"]

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def handler(self, method: str) -> Behavior | None:
        """Return what serves the RPC of this name; None where nothing does."""
        return self.who_am_i if method == "WhoAmI" else None

    def who_am_i(self, request: Any, call: Call) -> Any:
        """Return who calls, and what the token permits."""
        principal = principal_of(call)
        collection = principal.subject.partition("/")[0]
        key = {"tenant": principal.tenant_id}
        with self._shared.database.read(principal.tenant_id) as tx:
            found_tenant, found_caller = tx.run_all(
                [(_FIND_TENANT, key), (_FIND_CALLER[collection], {**key, "id": principal.subject_id})]
            )
        slug, tenant_name = found_tenant[0] if found_tenant else ("", "")
        display_name, email = found_caller[0] if found_caller else ("", "")
        return session_service_pb2.WhoAmIResponse(
            principal=principal.subject,
            display_name=display_name,
            email=email,
            tenant=f"tenants/{principal.tenant_id}",
            tenant_slug=slug,
            tenant_display_name=tenant_name,
            teams=[f"teams/{team}" for team in sorted(principal.teams)],
            grants=to_messages(principal.permissions.items()),
            client_id=principal.client_id,
            actor=principal.actor,
        )
