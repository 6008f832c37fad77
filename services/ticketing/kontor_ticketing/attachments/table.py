"""The resource and the table of attachments; their content lies elsewhere, see `storage`."""

import sqlalchemy as sa

from kontor.ticketing.v1 import attachment_pb2
from kontor_kit.resource import Resource
from kontor_kit.scopes import GuardedScope, ParentScope
from kontor_kit.tables import index, resource_table
from kontor_ticketing.attachments.rules import INTERNAL
from kontor_ticketing.tables import metadata
from kontor_ticketing.tickets.table import tickets

attachments = resource_table(
    "attachments",
    metadata,
    sa.Column("ticket", sa.Uuid, nullable=False),
    sa.Column("visibility", sa.SmallInteger, nullable=False),
    sa.Column("filename", sa.Text, nullable=False),
    sa.Column("content_type", sa.Text, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(
        ["tenant_id", "ticket"], ["tickets.tenant_id", "tickets.id"], name="attachments_ticket_fkey"
    ),
    index("attachments", "ticket"),
    index("attachments", "visibility"),
    index("attachments", "create_time"),
    index("attachments", "update_time"),
    owned=False,
)

ATTACHMENT = Resource(
    attachment_pb2.Attachment,
    attachments,
    scope=GuardedScope(ParentScope("ticket", tickets), "visibility", INTERNAL, "ticketing.ticketEntries.readInternal"),
    events=("created", "deleted", "moved", "undeleted"),
)
