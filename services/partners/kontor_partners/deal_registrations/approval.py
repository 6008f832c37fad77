"""The approval of a deal registration: a saga that creates or links the opportunity, on behalf of who approves.

What is refused is undone: an opportunity that was created is deleted, one that was linked loses the partner, and the
registration is pending again, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from kontor.partners.v1 import deal_approval_pb2, deal_registration_pb2
from kontor.sales.v1 import opportunity_pb2, opportunity_service_pb2
from kontor_kit.calls import Call
from kontor_kit.clients import Peers
from kontor_kit.errors import FailedPrecondition, PermissionDenied, Unavailable
from kontor_kit.mapping import plain
from kontor_kit.operations.work import Verdict, judge
from kontor_kit.records import principal_of
from kontor_kit.sagas import Saga, Step, StepWork

TryOpportunity = Callable[[Call, Any], None]
"""Asks whether sales would take the opportunity of a plan, and stores nothing; raises where it would not."""

_METHODS: Final = opportunity_service_pb2.DESCRIPTOR.services_by_name["OpportunityService"].methods_by_name
_GET, _CREATE, _UPDATE, _DELETE = (_METHODS[f"{verb}Opportunity"] for verb in ("Get", "Create", "Update", "Delete"))
_LINKED: Final = FieldMask(paths=["partner", "partner_protection_end_time"])
_OPEN: Final = opportunity_pb2.Opportunity.STATE_OPEN
SOURCE: Final = "partner"
"""Where opportunities come from that are created here."""


def wanted(plan: Any) -> opportunity_pb2.Opportunity:
    """Return the opportunity as it is to be created."""
    registration = plan.registration
    return opportunity_pb2.Opportunity(
        display_name=registration.display_name,
        description=f"Registered as {registration.name}\n\n{registration.description}".strip(),
        account=plan.account,
        partner=plan.partner_account,
        partner_protection_end_time=plan.protection_end_time,
        source=SOURCE,
        amount=registration.amount,
        close_date=registration.expected_close_date,
    )


def check_linkable(opportunity: Any, plan: Any) -> None:
    """Raise FailedPrecondition where an opportunity cannot be the one of a registration."""
    if opportunity.state != _OPEN:
        raise FailedPrecondition(f"{opportunity.name} is not open", reason="OPPORTUNITY_CLOSED")
    if opportunity.partner not in ("", plan.partner_account):
        raise FailedPrecondition(f"{opportunity.name} is another partner's", reason="OPPORTUNITY_TAKEN")
    if plan.account and opportunity.account != plan.account:
        raise FailedPrecondition(f"{opportunity.name} is of another account", reason="OTHER_ACCOUNT")


def trying(peers: Peers) -> TryOpportunity:
    """Return what asks sales, with the caller's own token."""

    def ask(call: Call, method: Any, request: Message) -> Any:
        try:
            return peers.ask(call, method, request)
        except grpc.RpcError as error:
            answer: Any = error
            if judge(error) is Verdict.REFUSED:
                raise FailedPrecondition(f"sales: {answer.details()}", reason="OPPORTUNITY_REFUSED") from error
            raise Unavailable("sales cannot be asked; repeat later", reason="SERVICE_UNAVAILABLE") from error

    def attempt(call: Call, plan: Any) -> None:
        needed = f"sales.opportunities.{'update' if plan.opportunity else 'create'}"
        if principal_of(call).scope(needed) is None:
            raise PermissionDenied(f"the permission {needed} is needed", metadata={"permission": needed})
        if plan.opportunity:
            found = ask(call, _GET, opportunity_service_pb2.GetOpportunityRequest(name=plan.opportunity))
            check_linkable(found, plan)
        else:
            sent = opportunity_service_pb2.CreateOpportunityRequest(opportunity=wanted(plan), validate_only=True)
            ask(call, _CREATE, sent)

    return attempt


def _release(given: StepWork) -> None:
    reason = given.failure.message if given.failure else "the approval was cancelled"
    given.work.service["dealRegistrations"].give_up_approval(given.tx, given.work.trace, given.work.request, reason)


def _enter(given: StepWork) -> dict[str, str]:
    plan = given.work.request
    if plan.opportunity:
        found = given.call(_GET, opportunity_service_pb2.GetOpportunityRequest(name=plan.opportunity))
        check_linkable(found, plan)
        _set(given, found, plan.partner_account, plan.protection_end_time)
        return {"name": plan.opportunity}
    return {"name": _create(given, given.request_id)}


def _create(given: StepWork, request_id: str) -> str:
    sent = opportunity_service_pb2.CreateOpportunityRequest(opportunity=wanted(given.work.request))
    return str(given.work.call(_CREATE, sent, request_id=request_id).name)


def _set(given: StepWork, found: Any, partner: str, end: Any) -> None:
    changed = opportunity_pb2.Opportunity(name=found.name, etag=found.etag, partner=partner)
    if end is not None:
        changed.partner_protection_end_time.CopyFrom(end)
    sent = opportunity_service_pb2.UpdateOpportunityRequest(opportunity=changed, update_mask=_LINKED)
    # Against another version of the record it is another request.
    given.work.call(_UPDATE, sent, request_id=f"{given.request_id}/{found.etag}")


def _take_back(given: StepWork) -> None:
    plan = given.work.request
    if plan.opportunity:
        asked = opportunity_service_pb2.GetOpportunityRequest(name=plan.opportunity)
        found = _unless(grpc.StatusCode.NOT_FOUND, lambda: given.call(_GET, asked))
        if found is not None and found.partner_protection_end_time == plan.protection_end_time:
            _set(given, found, "", None)
    elif name := given.results.get("opportunity", {}).get("name", "") or _made(given):
        sent = opportunity_service_pb2.DeleteOpportunityRequest(name=name)
        _unless(grpc.StatusCode.NOT_FOUND, lambda: given.call(_DELETE, sent))


def _made(given: StepWork) -> str:
    """Return the name of what a try made whose answer was lost: asked for again, it is the same; empty where there is none."""
    try:
        return _create(given, given.request_id.removesuffix("/undo"))
    except Exception as error:
        if judge(error) is Verdict.REFUSED:
            return ""
        raise


def _unless(code: grpc.StatusCode, ask: Callable[[], Any]) -> Any:
    """Return an answer; None where it was refused with this code."""
    try:
        return ask()
    except grpc.RpcError as error:
        answer: Any = error
        if answer.code() is not code:
            raise
        return None


def _finish(given: StepWork) -> dict[str, Any]:
    registrations = given.work.service["dealRegistrations"]
    name = given.results["opportunity"]["name"]
    return plain(registrations.finish_approval(given.tx, given.work.trace, given.work.request, name))


def _mark(_given: StepWork) -> None:
    """Nothing: the registration was marked with the request."""


APPROVE_DEAL: Final = Saga(
    "approve_deal_registration",
    [
        Step("mark", _mark, _release),
        Step("opportunity", _enter, _take_back),
        Step("finish", _finish),
    ],
    request=deal_approval_pb2.DealApproval,
    result=lambda results: deal_registration_pb2.DealRegistration(**results["finish"]),
)
