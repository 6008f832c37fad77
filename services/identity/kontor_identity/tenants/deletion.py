"""The deletion of a tenant: a saga over all services.

It waits while the tenant can be undeleted, which also ends it, as cancelling does, which undeletes the tenant. Then there
is no way back: every service forgets the tenant, identity last. Those steps have nothing that undoes them; what fails is
tried again, and is shown as stuck where it fails for good.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from google.protobuf.json_format import ParseDict

from kontor.identity.v1 import tenant_service_pb2
from kontor.operations.v1 import tenant_data_service_pb2
from kontor_identity.crossing import inside
from kontor_identity.tenants.rules import State
from kontor_identity.tenants.table import tenants
from kontor_kit.calls import MethodSpec
from kontor_kit.clients import Peers
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import FailedPrecondition, Unavailable
from kontor_kit.forgetting import Forgetting
from kontor_kit.ids import parse_name
from kontor_kit.sagas import Saga, Step, StepWork

_DELETE: Final = MethodSpec.of(
    tenant_data_service_pb2.DESCRIPTOR.services_by_name["TenantDataService"].methods_by_name["DeleteTenantData"]
)
_CALL_SECONDS: Final = 30.0
_ID: Final = sa.bindparam("id", type_=sa.Uuid)
_OWN: Final = (tenants.c.tenant_id == _ID, tenants.c.id == _ID)
_LOCK: Final = Statement(sa.select(tenants.c.slug, tenants.c.delete_time).where(*_OWN).with_for_update())
_FORGET: Final = Statement(tenants.update().where(*_OWN).values(state=int(State.FORGOTTEN)))


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """What the steps work with."""

    restore: Callable[[Transaction, uuid.UUID], None]
    """Undeletes the tenant that the transaction is inside of, which is deleted."""
    grace: dt.timedelta
    """How long a deleted tenant can be undeleted."""
    services: Sequence[str]
    """The other services, by short name."""
    peers: Peers
    """Leads to them, with tokens of identity's own."""
    forgetting: Forgetting


def _tenant_of(given: StepWork) -> uuid.UUID:
    return parse_name(given.work.request.name, "tenants/{tenant}", "name")


def told_time(deleted: dt.datetime) -> str:
    """Return what the step that deletes a tenant returns: when that was, so that no saga meddles with a later one's."""
    return deleted.astimezone(dt.UTC).isoformat()


def _deleted(given: StepWork) -> None:
    """Nothing is left to do: the method that starts the saga deleted the tenant."""


def _wait(given: StepWork) -> None:
    with inside(given.tx, _tenant_of(given)):
        _, until = _lock(given)
        if until > dt.datetime.now(dt.UTC):
            raise Unavailable(f"the tenant can be undeleted until {until:%Y-%m-%d %H:%M} UTC", reason="NOT_DUE")


def _close(given: StepWork) -> dict[str, Any]:
    with inside(given.tx, _tenant_of(given)):
        slug, _ = _lock(given)
        given.tx.defer(_FORGET, {"id": _tenant_of(given)})
    return {"tenant": given.work.request.name, "slug": slug}


def _lock(given: StepWork) -> tuple[str, dt.datetime]:
    """Lock the tenant, which the transaction is inside of; return its short name, and until when it can be undeleted."""
    slug, deleted = _find(given)
    if deleted is None:
        raise FailedPrecondition("the tenant was undeleted", reason="UNDELETED")
    return slug, deleted + given.work.service.grace


def _find(given: StepWork) -> tuple[str, dt.datetime | None]:
    """Lock the tenant; return its short name, and when this saga's deletion was, None where it holds no more."""
    rows = given.tx.run(_LOCK, {"id": _tenant_of(given)})
    slug, deleted = rows[0] if rows else ("", None)
    if deleted is not None:
        told = told_time(deleted)
        # Sagas that began before this was told have nothing to compare with.
        deleted = deleted if given.results.get("delete", told) == told else None
    return slug, deleted


def _restore(given: StepWork) -> None:
    tenant_id = _tenant_of(given)
    with inside(given.tx, tenant_id):
        if _find(given)[1] is not None:
            given.work.service.restore(given.tx, tenant_id)


def _forget_elsewhere(given: StepWork) -> list[dict[str, Any]]:
    """Have each service forget the tenant; one that did so already says what it came to."""
    return [_forget_at(given, service) for service in given.work.service.services]


def _forget_at(given: StepWork, service: str) -> dict[str, Any]:
    sent = _DELETE.input(tenant=given.work.request.name, request_id=given.request_id)
    while True:
        channel = given.work.service.peers.channel(service)
        send = channel.unary_unary(_DELETE.full_name, _DELETE.input.SerializeToString, _DELETE.output.FromString)
        answer = send(sent, timeout=_CALL_SECONDS)
        rows = dict(answer.rows)
        given.work.note(f"{service}: {sum(rows.values())} rows")
        if answer.done:
            return _told(service, rows, answer.begin_time.ToJsonString(), answer.end_time.ToJsonString())


def _forget_here(given: StepWork) -> dict[str, Any]:
    while True:
        receipt = given.work.service.forgetting.advance(_tenant_of(given), given.request_id)
        given.work.note(f"identity: {sum(receipt.rows.values())} rows")
        if receipt.end_time is not None:
            return _told("identity", receipt.rows, receipt.begin_time.isoformat(), receipt.end_time.isoformat())


def _told(service: str, rows: dict[str, int], begin: str, end: str) -> dict[str, Any]:
    return {"service": service, "rows": rows, "begin_time": begin, "end_time": end}


def _certify(results: dict[str, Any]) -> Any:
    told = {
        **results["close"],
        "services": [*results["forget_elsewhere"], results["forget_here"]],
    }
    return ParseDict(told, tenant_service_pb2.DeleteTenantResponse())


DELETE_TENANT: Final = Saga(
    "delete_tenant",
    [
        Step("delete", _deleted, _restore),
        Step("wait", _wait),
        Step("close", _close, no_return=True),
        Step("forget_elsewhere", _forget_elsewhere),
        Step("forget_here", _forget_here),
    ],
    request=tenant_service_pb2.DeleteTenantRequest,
    result=_certify,
)
