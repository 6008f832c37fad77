"""How the conversion of a lead begins: everything is asked before anything is stored.

Who converts must be allowed to make or to change each record, and contacts and the opportunities are asked whether they
would take it. Only then the lead is marked, and an operation started, in one transaction.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable
from typing import Any, Final

import grpc
from google.longrunning import operations_pb2 as longrunning
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from kontor.api.v1 import conflict_pb2
from kontor.sales.v1 import lead_conversion_pb2, lead_service_pb2
from kontor_kit.calls import Call, MethodSpec
from kontor_kit.clients import Peers
from kontor_kit.custom_fields import FieldType
from kontor_kit.db import Transaction
from kontor_kit.definitions import Definitions
from kontor_kit.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    KontorError,
    PermissionDenied,
    Unavailable,
    Violation,
)
from kontor_kit.records import principal_of
from kontor_sales.leads import targets
from kontor_sales.leads.targets import ACCOUNT, CONTACT, OPPORTUNITY, Target

Try = Callable[[Transaction, Call, Any], None]
"""Checks whether an opportunity would be taken, and stores nothing; raises what storing it would."""

_OPT_OUT: Final = "contacts.addressStatuses.update"
_AFFILIATE: Final = "contacts.affiliations.create"


class Converting:
    """Begins conversions."""

    def __init__(self, peers: Peers, definitions: Definitions, try_opportunity: Try) -> None:
        self._peers = peers
        self._definitions = definitions
        self._try_opportunity = try_opportunity

    def plan(self, tx: Transaction, call: Call, request: Any, lead: Any) -> lead_conversion_pb2.LeadConversion:
        """Return what is to be done, once everybody who has a say has said that it could be.

        An opportunity that is there was looked up before.
        """
        request = self._completed(request, lead)
        plan = lead_conversion_pb2.LeadConversion(request=request, lead=lead)
        _check_rights(call, request, lead)

        def custom(collection: str) -> dict[str, FieldType]:
            return {key: found.type for key, found in self._definitions.load(tx, collection).items()}

        today = dt.datetime.now(dt.UTC).date()
        for target in targets.TARGETS:
            if not request.HasField(target.field):
                continue
            record = targets.wanted(target, request, lead, custom, today)
            getattr(plan, target.field).Pack(record)
            existing = name_of(request, target)
            if target is OPPORTUNITY and not existing:
                self._try_new_opportunity(tx, call, request, record)
            elif target is not OPPORTUNITY and existing:
                self._look(call, target, existing)
            elif target is not OPPORTUNITY:
                self._try_new(call, target, record, request.allow_duplicates)
        return plan

    @staticmethod
    def _completed(given: Any, lead: Any) -> Any:
        """Return the request with what the lead knows."""
        request = lead_service_pb2.ConvertLeadRequest()
        request.CopyFrom(given)
        if not any(request.HasField(target.field) for target in targets.TARGETS):
            for target in targets.TARGETS:
                getattr(request, target.field).SetInParent()
        if request.HasField("account"):
            request.account.account = request.account.account or lead.account
        if request.HasField("contact"):
            request.contact.contact = request.contact.contact or lead.contact
        return request

    def _look(self, call: Call, target: Target, name: str) -> None:
        """See that a record is there which the caller may see."""
        try:
            method = target.method("Get")
            self._peers.ask(call, method, MethodSpec.of(method).input(name=name))
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT):
                raise InvalidArgument((f"{target.field}.{target.field}", f"there is no {name}")) from error
            raise _as_business_error(error, target.field) from error

    def _try_new(self, call: Call, target: Target, record: Any, allow_duplicates: bool) -> None:
        """See that a new record would be taken."""
        method = target.method("Create")
        sent = MethodSpec.of(method).input(
            **{target.field: record}, allow_duplicates=allow_duplicates, validate_only=True
        )
        try:
            self._peers.ask(call, method, sent)
        except grpc.RpcError as error:
            raise _as_business_error(error, target.field) from error

    def _try_new_opportunity(self, tx: Transaction, call: Call, request: Any, record: Any) -> None:
        trial = type(record)()
        trial.CopyFrom(record)
        trial.account = "" if request.HasField("account") else record.account
        try:
            self._try_opportunity(tx, call, trial)
        except InvalidArgument as error:
            raise InvalidArgument(
                *(Violation(f"opportunity.{path}", text) for path, text in error.violations)
            ) from error


def name_of(request: Any, target: Target) -> str:
    """Return the name of the record that is there; empty where a new one is wanted."""
    return str(getattr(getattr(request, target.field), target.field))


def finished(lead: Any) -> longrunning.Operation:
    """Return the operation that converted a lead, with its result."""
    operation = longrunning.Operation(name=lead.conversion, done=True)
    operation.response.Pack(response_of(lead))
    return operation


def response_of(lead: Any) -> lead_service_pb2.ConvertLeadResponse:
    """Return what was made of a lead that was converted."""
    return lead_service_pb2.ConvertLeadResponse(
        lead=lead.name, account=lead.account, contact=lead.contact, opportunity=lead.opportunity
    )


def _check_rights(call: Call, request: Any, lead: Any) -> None:
    """Raise PermissionDenied where the caller lacks a right to one of the records."""
    needed = [
        f"{target.permissions}.{'update' if name_of(request, target) else 'create'}"
        for target in targets.TARGETS
        if request.HasField(target.field)
    ]
    if request.HasField(ACCOUNT.field) and request.HasField(CONTACT.field):
        needed.append(_AFFILIATE)
    if request.HasField(CONTACT.field) and (lead.email_opted_out or lead.phone_opted_out):
        needed.append(_OPT_OUT)
    for permission in needed:
        if principal_of(call).scope(permission) is None:
            raise PermissionDenied(f"the permission {permission} is needed", metadata={"permission": permission})


_ERRORS: Final[dict[grpc.StatusCode, type[KontorError]]] = {
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
}


def _as_business_error(error: grpc.RpcError, field: str) -> KontorError:
    """Return what another service said as our own error; fields stand in `field` of the request."""
    call: Any = error
    info, bad, suspects = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), conflict_pb2.Suspects()
    status = rpc_status.from_call(call)
    for detail in status.details if status is not None else ():
        _ = detail.Unpack(info) or detail.Unpack(bad) or detail.Unpack(suspects)
    if call.code() is grpc.StatusCode.INVALID_ARGUMENT:
        return InvalidArgument(*((violation.field, violation.description) for violation in bad.field_violations))
    kind = _ERRORS.get(call.code())
    if kind is None:
        return Unavailable(f"{field} cannot be checked; repeat later", reason="SERVICE_UNAVAILABLE")
    details = [suspects] if suspects.suspects else []
    return kind(call.details(), reason=info.reason, metadata=dict(info.metadata), details=details)


class _Undo(Exception):
    """Ends a savepoint of which nothing is to stay."""


def trying(create: Callable[[Transaction, Call, Any], Any]) -> Try:
    """Return what does as `create` does, and undoes it."""

    def attempt(tx: Transaction, call: Call, record: Any) -> None:
        with contextlib.suppress(_Undo), tx.savepoint():
            create(tx, call, record)
            raise _Undo

    return attempt
