"""The conversion of a lead: a saga that makes account, contact and opportunity of it, on behalf of who asked for it.

Each step does one thing that another service, or this one, does once however often it is asked. What fails is undone:
what was made is deleted, what was filled in is emptied again, and the lead is as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import grpc
from google.protobuf import json_format
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from kontor.contacts.v1 import address_status_pb2, address_status_service_pb2, affiliation_pb2
from kontor.sales.v1 import buying_centre_pb2, lead_conversion_pb2, lead_service_pb2
from kontor_kit.calls import MethodSpec
from kontor_kit.operations.work import Verdict, judge
from kontor_kit.sagas import Saga, Step, StepWork
from kontor_sales.leads import targets
from kontor_sales.leads.converting import name_of
from kontor_sales.leads.targets import ACCOUNT, AFFILIATIONS, CONTACT, OPPORTUNITY, Target

_GET, _CREATE, _UPDATE, _DELETE = "Get", "Create", "Update", "Delete"
_SET_STATUS: Final = address_status_service_pb2.DESCRIPTOR.services_by_name["AddressStatusService"].methods_by_name[
    "SetAddressStatus"
]
_LIST_AFFILIATIONS: Final = AFFILIATIONS.methods_by_name["ListAffiliations"]
_CREATE_AFFILIATION: Final = AFFILIATIONS.methods_by_name["CreateAffiliation"]
_DELETE_AFFILIATION: Final = AFFILIATIONS.methods_by_name["DeleteAffiliation"]


def _plan(given: StepWork) -> Any:
    return given.work.request


def _is_wanted(given: StepWork, target: Target) -> bool:
    return bool(_plan(given).request.HasField(target.field))


def _wanted(given: StepWork, target: Target) -> Any:
    """Return the record as it is to be made; with what the steps before have made."""
    record: Any = target.message()
    getattr(_plan(given), target.field).Unpack(record)
    if target is OPPORTUNITY:
        record.account = _result(given, ACCOUNT) or record.account
        contact = _result(given, CONTACT)
        if contact:
            record.buying_centre.add(contact=contact, role=buying_centre_pb2.BUYING_ROLE_INFLUENCER)
    return record


def _result(given: StepWork, target: Target) -> str:
    return str(given.results.get(target.field, {}).get("name", ""))


def _read(given: StepWork, target: Target, name: str) -> Any:
    method = target.method(_GET)
    return given.call(method, MethodSpec.of(method).input(name=name))


# The lead was marked with the request; undone, it is free again.


def _mark(_given: StepWork) -> None:
    pass


def _release(given: StepWork) -> None:
    given.work.service["leads"].end_conversion(given.tx, given.work.trace, _plan(given).lead)


# What records that are there lack, as long as it is known what is not ours.


def _look(given: StepWork) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for target in targets.TARGETS:
        name = name_of(_plan(given).request, target) if _is_wanted(given, target) else ""
        if name:
            record = _wanted(given, target)
            part = targets.with_fields(record, targets.blanks(_read(given, target, name), record))
            found[target.field] = json_format.MessageToDict(part, preserving_proto_field_name=True)
    return found


# Make a record, or fill in what one lacks.


def _doing(target: Target) -> Callable[[StepWork], Any]:
    def do(given: StepWork) -> dict[str, Any] | None:
        if not _is_wanted(given, target):
            return None
        name = name_of(_plan(given).request, target)
        if name:
            _fill(given, target, name)
            return {"name": name}
        return {"name": _create(given, target, given.request_id).name}

    return do


def _undoing(target: Target) -> Callable[[StepWork], None]:
    def undo(given: StepWork) -> None:
        if not _is_wanted(given, target):
            return
        name = name_of(_plan(given).request, target)
        if name:
            _empty(given, target, name)
        elif made := _result(given, target) or _made(given, target):
            _gone(lambda: given.call(target.method(_DELETE), MethodSpec.of(target.method(_DELETE)).input(name=made)))

    return undo


def _create(given: StepWork, target: Target, request_id: str) -> Any:
    method = target.method(_CREATE)
    create = MethodSpec.of(method).input
    more = {"allow_duplicates": _plan(given).request.allow_duplicates} if target is not OPPORTUNITY else {}
    return given.work.call(method, create(**{target.field: _wanted(given, target)}, **more), request_id=request_id)


def _made(given: StepWork, target: Target) -> str:
    """Return the name of what a try made whose answer was lost: asked for again, it is the same; empty where there is none."""
    return _name_or_nothing(lambda: str(_create(given, target, given.request_id.removesuffix("/undo")).name))


def _name_or_nothing(create: Callable[[], str]) -> str:
    try:
        return create()
    except Exception as error:
        if judge(error) is Verdict.REFUSED:
            return ""
        raise


def _gone(delete: Callable[[], Any]) -> None:
    """Delete something that may be gone already."""
    try:
        delete()
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise


def _patch(given: StepWork, target: Target) -> Any:
    """Return what the record lacked when it was looked at."""
    return json_format.ParseDict(given.results["look"][target.field], target.message())


def _fill(given: StepWork, target: Target, name: str) -> None:
    """Fill in what the record still lacks."""
    patch, existing = _patch(given, target), _read(given, target, name)
    if names := targets.blanks(existing, patch):
        _update(given, target, targets.with_fields(patch, names), existing, names)


def _empty(given: StepWork, target: Target, name: str) -> None:
    """Empty what we filled in, as far as it is what we filled in."""
    if target.field not in given.results.get("look", {}):
        return
    patch, existing = _patch(given, target), _read(given, target, name)
    names = [field.name for field, value in patch.ListFields() if _same(getattr(existing, field.name), value)]
    if names:
        _update(given, target, target.message(), existing, names)


def _same(held: Any, filled: Any) -> bool:
    """Tell whether what is there is what was filled in; others may have completed it, as in marking it primary."""
    if isinstance(filled, str | int | float):
        return bool(held == filled)
    if isinstance(filled, Message):
        return bool(held == filled)
    return len(held) == len(filled) and all(
        getattr(there, field.name) == value
        for there, ours in zip(held, filled, strict=True)
        for field, value in ours.ListFields()
    )


def _update(given: StepWork, target: Target, record: Any, existing: Any, names: list[str]) -> None:
    method = target.method(_UPDATE)
    record.name, record.etag = existing.name, existing.etag
    sent = MethodSpec.of(method).input(**{target.field: record}, update_mask=FieldMask(paths=names))
    # Against another version of the record it is another request.
    given.work.call(method, sent, request_id=f"{given.request_id}/{existing.etag}")


# What a contact is at the account.


def _affiliate(given: StepWork) -> dict[str, str]:
    contact, account = _result(given, CONTACT), _result(given, ACCOUNT)
    if not contact or not account:
        return {"name": ""}
    if name_of(_plan(given).request, CONTACT) and name_of(_plan(given).request, ACCOUNT):
        asked = MethodSpec.of(_LIST_AFFILIATIONS).input(filter=f"contact = {contact} AND account = {account}")
        if given.call(_LIST_AFFILIATIONS, asked).affiliations:
            return {"name": ""}
    return {"name": _create_affiliation(given, given.request_id)}


def _create_affiliation(given: StepWork, request_id: str) -> str:
    lead = _plan(given).lead
    affiliation = affiliation_pb2.Affiliation(
        contact=_result(given, CONTACT),
        account=_result(given, ACCOUNT),
        title=lead.job_title,
        primary=not name_of(_plan(given).request, CONTACT),
    )
    sent = MethodSpec.of(_CREATE_AFFILIATION).input(affiliation=affiliation)
    return str(given.work.call(_CREATE_AFFILIATION, sent, request_id=request_id).name)


def _separate(given: StepWork) -> None:
    if "affiliation" in given.results:
        made = given.results["affiliation"]["name"]
    elif _result(given, CONTACT) and _result(given, ACCOUNT):
        made = _name_or_nothing(lambda: _create_affiliation(given, given.request_id.removesuffix("/undo")))
    else:
        made = ""
    if made:
        sent = MethodSpec.of(_DELETE_AFFILIATION).input(name=made)
        _gone(lambda: given.call(_DELETE_AFFILIATION, sent))


# Who does not want to be written to, or called, is not: whether they said so as a lead or as a contact before.


def _opt_out(given: StepWork) -> None:
    lead = _plan(given).lead
    if not _result(given, CONTACT):
        return
    status = address_status_pb2.AddressStatus
    for kind, address, wish in (
        (status.KIND_EMAIL, lead.email, lead.email_opted_out),
        (status.KIND_PHONE, lead.phone, lead.phone_opted_out),
    ):
        if address and wish:
            said = status(kind=kind, address=address, opted_out=True, source=lead.name)
            sent = MethodSpec.of(_SET_STATUS).input(address_status=said, update_mask=FieldMask(paths=["opted_out"]))
            given.work.call(_SET_STATUS, sent, request_id=f"{given.request_id}/{kind}")


def _finish(given: StepWork) -> dict[str, Any]:
    made = {target.field: _result(given, target) for target in targets.TARGETS}
    leads = given.work.service["leads"]
    return dict(leads.finish_conversion(given.tx, given.work.trace, _plan(given).lead.name, made))


def _response(results: dict[str, Any]) -> Message:
    return lead_service_pb2.ConvertLeadResponse(**results["finish"])


CONVERT_LEAD: Final = Saga(
    "convert_lead",
    [
        Step("mark", _mark, _release),
        Step("look", _look),
        Step(ACCOUNT.field, _doing(ACCOUNT), _undoing(ACCOUNT)),
        Step(CONTACT.field, _doing(CONTACT), _undoing(CONTACT)),
        Step("affiliation", _affiliate, _separate),
        Step(OPPORTUNITY.field, _doing(OPPORTUNITY), _undoing(OPPORTUNITY)),
        Step("opt_out", _opt_out, no_return=True),
        Step("finish", _finish),
    ],
    request=lead_conversion_pb2.LeadConversion,
    result=_response,
)
