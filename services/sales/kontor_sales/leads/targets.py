"""What a lead becomes: the records that are made of it, or what those that are there may lack."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from kontor.contacts.v1 import (
    account_pb2,
    account_service_pb2,
    affiliation_service_pb2,
    contact_pb2,
    contact_service_pb2,
)
from kontor.sales.v1 import opportunity_pb2, opportunity_service_pb2
from kontor_kit.custom_fields import FieldType


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of record that a lead can become."""

    field: str
    """What it is called in the request, and in the lead."""
    message: type[Message]
    service: ServiceDescriptor
    permissions: str
    """What the permissions for it begin with."""
    collection: str

    def method(self, verb: str) -> MethodDescriptor:
        """Return the standard method of a verb, for example `Create`."""
        kind = str(self.message.DESCRIPTOR.name)
        return self.service.methods_by_name[f"{verb}{kind}"]


ACCOUNT: Final = Target(
    "account",
    account_pb2.Account,
    account_service_pb2.DESCRIPTOR.services_by_name["AccountService"],
    "contacts.accounts",
    "accounts",
)
CONTACT: Final = Target(
    "contact",
    contact_pb2.Contact,
    contact_service_pb2.DESCRIPTOR.services_by_name["ContactService"],
    "contacts.contacts",
    "contacts",
)
OPPORTUNITY: Final = Target(
    "opportunity",
    opportunity_pb2.Opportunity,
    opportunity_service_pb2.DESCRIPTOR.services_by_name["OpportunityService"],
    "sales.opportunities",
    "opportunities",
)
TARGETS: Final = (ACCOUNT, CONTACT, OPPORTUNITY)
AFFILIATIONS: Final = affiliation_service_pb2.DESCRIPTOR.services_by_name["AffiliationService"]

CustomFields = Callable[[str], Mapping[str, FieldType]]
"""Returns the tenant's own fields of a collection, by key."""


def wanted(target: Target, request: Any, lead: Any, custom: CustomFields, today: dt.date) -> Any:
    """Return the record that a lead becomes, as its service takes it; `request` is that of ConvertLead."""
    record = _MAKE[target.field](request, lead, today)
    record.owner, record.team = request.owner or lead.owner, lead.team
    record.tags.extend(lead.tags)
    own, there = custom("leads"), custom(target.collection)
    for key, value in lead.custom_fields.items():
        # By equal key and type: what else it would mean, nobody has said.
        if there.get(key) is not None and there[key] == own.get(key):
            record.custom_fields[key] = value
    return record


def _account(request: Any, lead: Any, _: dt.date) -> Any:
    account = account_pb2.Account(
        display_name=request.account.display_name or lead.company or lead.display_name,
        industry=lead.industry,
        employee_count=lead.employee_count,
        website=lead.website,
        language_code=lead.language_code,
        roles=[account_pb2.Account.ROLE_PROSPECT],
    )
    _add_address(account, lead)
    return account


def _contact(request: Any, lead: Any, _: dt.date) -> Any:
    stages = contact_pb2.Contact
    contact = contact_pb2.Contact(
        # Made of the names, where there are any.
        display_name="" if lead.given_name or lead.family_name else lead.display_name,
        salutation=lead.salutation,
        given_name=lead.given_name,
        family_name=lead.family_name,
        title=lead.job_title,
        language_code=lead.language_code,
        lifecycle_stage=(
            stages.LIFECYCLE_STAGE_OPPORTUNITY
            if request.HasField("opportunity")
            else stages.LIFECYCLE_STAGE_QUALIFIED_LEAD
        ),
    )
    if lead.email:
        contact.emails.add(address=lead.email)
    if lead.phone:
        contact.phones.add(number=lead.phone)
    _add_address(contact, lead)
    return contact


def _opportunity(request: Any, lead: Any, today: dt.date) -> Any:
    given = request.opportunity
    end = quarter_end(today)
    parts = [request.account.display_name or lead.company, f"{lead.given_name} {lead.family_name}".strip()]
    opportunity = opportunity_pb2.Opportunity(
        display_name=given.display_name or " - ".join(filter(None, parts))[:200] or lead.display_name,
        account=lead.account,
        pipeline=given.pipeline,
        description=lead.description,
        source=lead.source,
        close_date={"year": end.year, "month": end.month, "day": end.day},
    )
    for field in ("amount", "close_date"):
        if given.HasField(field):
            getattr(opportunity, field).CopyFrom(getattr(given, field))
    return opportunity


_MAKE: Final[dict[str, Callable[[Any, Any, dt.date], Any]]] = {
    "account": _account,
    "contact": _contact,
    "opportunity": _opportunity,
}


def _add_address(record: Any, lead: Any) -> None:
    if lead.street or lead.postal_code or lead.locality or lead.region_code:
        record.addresses.add(
            lines=[lead.street] if lead.street else [],
            postal_code=lead.postal_code,
            locality=lead.locality,
            region_code=lead.region_code,
        )


def quarter_end(day: dt.date) -> dt.date:
    """Return the last day of the quarter of a year that `day` lies in."""
    month = (day.month - 1) // 3 * 3 + 4
    first_after = dt.date(day.year + month // 13, (month - 1) % 12 + 1, 1)
    return first_after - dt.timedelta(days=1)


# Whose a record is, what it is called and where it stands is not filled in: that was decided when it was made.
_DECIDED: Final = frozenset(
    ("display_name", "owner", "team", "tags", "custom_fields", "roles", "lifecycle_stage", "pipeline")
)


def blanks(existing: Any, record: Any) -> list[str]:
    """Return the fields that `record` has and an existing record of the kind lacks."""
    held = {field.name for field, _ in existing.ListFields()}
    return [field.name for field, _ in record.ListFields() if field.name not in held and field.name not in _DECIDED]


def with_fields(record: Any, names: list[str]) -> Any:
    """Return a record with these fields of `record` only."""
    part = type(record)()
    for name in names:
        field = part.DESCRIPTOR.fields_by_name[name]
        if field.is_repeated:
            getattr(part, name).extend(getattr(record, name))
        elif field.message_type is not None:
            getattr(part, name).CopyFrom(getattr(record, name))
        else:
            setattr(part, name, getattr(record, name))
    return part
