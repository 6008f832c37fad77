"""Fills an empty platform: 100,000 contacts in the tenant that is measured, and others around it.

The records go in by COPY as the owner, which takes seconds where calls would take minutes. Their columns and terms are
made by the service's own mapping and rules; `verifying.py` sees that the service itself would have written the same.
"""

from __future__ import annotations

import datetime as dt
import random
import uuid
from collections.abc import Iterable
from typing import Any

import grpc
import orjson
import people
import psycopg
from instance import Instance
from psycopg.types.json import Jsonb

from kontor.contacts.v1 import (
    account_pb2,
    address_status_pb2,
    custom_field_definition_pb2,
    custom_field_definition_service_pb2,
)
from kontor_contacts.accounts.table import ACCOUNT
from kontor_contacts.address_statuses.table import ADDRESS_STATUS
from kontor_contacts.contacts import rules
from kontor_contacts.contacts.table import CONTACT
from kontor_kit.ids import uuid7
from kontor_kit.resource import Resource
from kontor_kit.terms import Term, encode, terms

OTHER_TENANTS = 10
SHARE_OF_OTHERS = 0.02
SHARE_OF_ACCOUNTS = 0.05
SHARE_OF_STATUSES = 0.01
BATCH = 10_000
SEED = 7

Definition = custom_field_definition_pb2.CustomFieldDefinition
DEFINITIONS = (
    Definition(key="segment", display_name="Segment", type=Definition.TYPE_STRING, filterable=True),
    Definition(key="score", display_name="Score", type=Definition.TYPE_NUMBER),
)


def fill(platform: Instance, contacts: int) -> list[str]:
    """Fill the platform unless it is filled; return the names of the tenant's contacts."""
    draw = random.Random(SEED)
    with psycopg.connect(platform.database_url("owner"), autocommit=True) as connection:
        if not _names(connection, platform.tenant):
            _define(platform)
            tenants = [(platform.tenant, contacts)]
            tenants += [(uuid7(), int(contacts * SHARE_OF_OTHERS)) for _ in range(OTHER_TENANTS)]
            for tenant, count in tenants:
                with connection.transaction():
                    _fill_tenant(connection, tenant, draw, count)
            connection.execute("VACUUM (ANALYZE)")
        return _names(connection, platform.tenant)


def _names(connection: psycopg.Connection[Any], tenant: uuid.UUID) -> list[str]:
    rows = connection.execute("SELECT 'contacts/' || id FROM contacts WHERE tenant_id = %s ORDER BY id", (tenant,))
    return [name for (name,) in rows]


def _define(platform: Instance) -> None:
    with grpc.insecure_channel(platform.contacts) as channel:
        create = channel.unary_unary(
            "/kontor.contacts.v1.CustomFieldDefinitionService/CreateCustomFieldDefinition",
            custom_field_definition_service_pb2.CreateCustomFieldDefinitionRequest.SerializeToString,
        )
        for definition in DEFINITIONS:
            definition.resource_type = "contacts"
            request = custom_field_definition_service_pb2.CreateCustomFieldDefinitionRequest(
                custom_field_definition=definition
            )
            create(request, metadata=(("authorization", f"Bearer {platform.token}"),))


def _fill_tenant(connection: psycopg.Connection[Any], tenant: uuid.UUID, draw: random.Random, count: int) -> None:
    statuses = []
    for begin in range(0, count, BATCH):
        persons = [people.person(draw, str(number)) for number in range(begin, min(begin + BATCH, count))]
        _copy(connection, tenant, CONTACT, ((person, _contact_terms(person)) for person in persons))
        statuses += [person.emails[0].address for person in persons[:: int(1 / SHARE_OF_STATUSES)]]
    accounts = (_account(draw, number) for number in range(int(count * SHARE_OF_ACCOUNTS)))
    _copy(connection, tenant, ACCOUNT, ((account, ACCOUNT.terms(account)) for account in accounts))
    kind = address_status_pb2.AddressStatus.KIND_EMAIL
    marked = (address_status_pb2.AddressStatus(kind=kind, address=address, opted_out=True) for address in statuses)
    _copy(connection, tenant, ADDRESS_STATUS, ((status, set()) for status in marked))


def _account(draw: random.Random, number: int) -> Any:
    name = f"{people.family_name(draw)} {people.family_name(draw)} GmbH {number}"
    return account_pb2.Account(display_name=name, roles=[account_pb2.Account.ROLE_CUSTOMER], tags=[people.TAGS[0]])


def _contact_terms(contact: Any) -> set[Term]:
    match = {Term(f"contacts.match.{key.field}", encode(key.value)) for key in rules.match_keys(contact)}
    custom = terms("contacts.custom_fields.segment", [contact.custom_fields["segment"]])
    return CONTACT.terms(contact) | match | custom


def _copy(
    connection: psycopg.Connection[Any],
    tenant: uuid.UUID,
    resource: Resource,
    records: Iterable[tuple[Any, set[Term]]],
) -> None:
    rows: list[dict[str, Any]] = []
    found: list[tuple[Any, ...]] = []
    for record, its_terms in records:
        rows.append(_values(resource, tenant, uuid7(), record))
        found += ((tenant, term.field, term.value, rows[-1]["id"]) for term in its_terms)
    _write(connection, resource.table.name, list(rows[0]), (tuple(row.values()) for row in rows))
    # In the order of the index, which grows faster that way.
    _write(connection, "terms", ["tenant_id", "field", "value", "id"], sorted(found))


def _write(
    connection: psycopg.Connection[Any], table: str, columns: list[str], rows: Iterable[tuple[Any, ...]]
) -> None:
    with connection.cursor().copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def _values(resource: Resource, tenant: uuid.UUID, id: uuid.UUID, record: Any) -> dict[str, Any]:
    now = dt.datetime.now(dt.UTC)
    values = {**resource.codec.dump(record, ""), **resource.derived(record)}
    documents = {name: Jsonb(value, orjson.dumps) for name, value in values.items() if _is_document(value)}
    fixed = {"tenant_id": tenant, "id": id, "version": 1, "create_time": now, "update_time": now}
    return values | documents | fixed


def _is_document(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))
