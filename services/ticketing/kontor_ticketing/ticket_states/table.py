"""The resource and the table of ticket states."""

import sqlalchemy as sa

from kontor.ticketing.v1 import ticket_state_pb2
from kontor_kit.resource import Resource
from kontor_kit.scopes import TenantScope
from kontor_kit.tables import KEY_TEXT, index, resource_table
from kontor_ticketing.tables import metadata

ticket_states = resource_table(
    "ticket_states",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("category", sa.SmallInteger, nullable=False),
    sa.Column("order", sa.Integer, nullable=False),
    sa.Column("standard", sa.Boolean, nullable=False),
    sa.Column("description", sa.Text),
    index("ticket_states", "display_name_key", unique=True),
    index("ticket_states", "category"),
    index("ticket_states", "order"),
    index("ticket_states", "standard"),
    index("ticket_states", "create_time"),
    index("ticket_states", "update_time"),
    sa.Index(
        "ticket_states_marked",
        "tenant_id",
        "category",
        unique=True,
        postgresql_where=sa.text("standard AND delete_time IS NULL"),
    ),
    owned=False,
)

TICKET_STATE = Resource(
    ticket_state_pb2.TicketState,
    ticket_states,
    scope=TenantScope(),
    conflicts={"ticket_states_display_name_key": "another state is called so"},
)
