"""What is known of addresses, put on the records that carry them."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from kontor_contacts.address_statuses.table import address_statuses
from kontor_contacts.contact_points.rules import email_key
from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT

_FIND = Statement(
    sa.select(address_statuses.c.address, address_statuses.c.invalid, address_statuses.c.opted_out).where(
        address_statuses.c.tenant_id == TENANT,
        address_statuses.c.address == sa.any_(sa.bindparam("addresses", type_=ARRAY(address_statuses.c.address.type))),
        address_statuses.c.delete_time.is_(None),
    )
)


def decorate(tx: Transaction, records: Sequence[Any]) -> None:
    """Fill `invalid` and `opted_out` of the e-mail addresses and phone numbers of accounts or contacts."""
    points: dict[str, list[Any]] = {}
    for record in records:
        for email in record.emails:
            points.setdefault(email_key(email.address), []).append(email)
        for phone in record.phones:
            points.setdefault(phone.number, []).append(phone)
    if not points:
        return
    for address, invalid, opted_out in tx.run(_FIND, {"tenant": tx.tenant_id, "addresses": list(points)}):
        for point in points[address]:
            point.invalid = invalid
            point.opted_out = opted_out
