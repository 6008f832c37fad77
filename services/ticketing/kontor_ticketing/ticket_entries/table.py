"""The resource and the table of ticket entries."""

import sqlalchemy as sa

from kontor.ticketing.v1 import ticket_entry_pb2
from kontor_kit.resource import Resource
from kontor_kit.scopes import GuardedScope, ParentScope
from kontor_kit.tables import KEY_TEXT, array_column, index, resource_table
from kontor_ticketing.tables import metadata
from kontor_ticketing.ticket_entries.rules import INTERNAL
from kontor_ticketing.tickets.table import tickets

READ_INTERNAL = "ticketing.ticketEntries.readInternal"

ticket_entries = resource_table(
    "ticket_entries",
    metadata,
    sa.Column("ticket", sa.Uuid, nullable=False),
    sa.Column("visibility", sa.SmallInteger, nullable=False),
    sa.Column("direction", sa.SmallInteger, nullable=False),
    sa.Column("body", sa.Text),
    sa.Column("contact", sa.Uuid),
    array_column("attachments", sa.Uuid),
    sa.Column("author", KEY_TEXT, nullable=False),
    sa.Column("redact_time", sa.DateTime(timezone=True)),
    sa.ForeignKeyConstraint(
        ["tenant_id", "ticket"], ["tickets.tenant_id", "tickets.id"], name="ticket_entries_ticket_fkey"
    ),
    index("ticket_entries", "ticket"),
    index("ticket_entries", "visibility"),
    index("ticket_entries", "direction"),
    index("ticket_entries", "contact"),
    index("ticket_entries", "author"),
    index("ticket_entries", "create_time"),
    index("ticket_entries", "update_time"),
    owned=False,
)

TICKET_ENTRY = Resource(
    ticket_entry_pb2.TicketEntry,
    ticket_entries,
    scope=GuardedScope(ParentScope("ticket", tickets), "visibility", INTERNAL, READ_INTERNAL),
    events=("created", "moved", "redacted"),
)
