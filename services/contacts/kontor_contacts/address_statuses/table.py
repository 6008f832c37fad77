"""The resource and the table of address statuses."""

import sqlalchemy as sa

from kontor.contacts.v1 import address_status_pb2
from kontor_contacts.tables import metadata
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
