"""The resource and the table of address statuses, and how they are put on the records that carry the addresses."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from kontor.contacts.v1 import address_status_pb2
from kontor_contacts.contact_points.rules import email_key
from kontor_contacts.tables import metadata
from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.resource import Resource
from kontor_kit.scopes import TenantScope
from kontor_kit.tables import KEY_TEXT, index, resource_table

address_statuses = resource_table(
    "address_statuses",
    metadata,
    sa.Column("kind", sa.SmallInteger, nullable=False),
    sa.Column("address", KEY_TEXT, nullable=False),
    sa.Column("invalid", sa.Boolean, nullable=False),
    sa.Column("opted_out", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("source", sa.Text),
    index("address_statuses", "address", unique=True),
    index("address_statuses", "kind"),
    index("address_statuses", "invalid"),
    index("address_statuses", "opted_out"),
    index("address_statuses", "create_time"),
    index("address_statuses", "update_time"),
    owned=False,
)

ADDRESS_STATUS = Resource(
    address_status_pb2.AddressStatus,
    address_statuses,
    scope=TenantScope(),
    conflicts={"address_statuses_address": "there is a status of this address already"},
)

_KNOWN = Statement(
    sa.select(address_statuses.c.address, address_statuses.c.invalid, address_statuses.c.opted_out).where(
        address_statuses.c.tenant_id == TENANT,
        address_statuses.c.address == sa.any_(sa.bindparam("addresses", type_=ARRAY(address_statuses.c.address.type))),
        address_statuses.c.delete_time.is_(None),
    )
)


def mark_addresses(tx: Transaction, records: Sequence[Any]) -> None:
    """Fill `invalid` and `opted_out` of the e-mail addresses and phone numbers of accounts or contacts."""
    points: dict[str, list[Any]] = {}
    for record in records:
        for email in record.emails:
            points.setdefault(email_key(email.address), []).append(email)
        for phone in record.phones:
            points.setdefault(phone.number, []).append(phone)
    if not points:
        return
    for address, invalid, opted_out in tx.run(_KNOWN, {"tenant": tx.tenant_id, "addresses": list(points)}):
        for point in points[address]:
            point.invalid = invalid
            point.opted_out = opted_out
