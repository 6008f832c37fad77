"""What is known of open complaints: filled by what ticketing tells of tickets, where there is such a service."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from kontor.ticketing.v1 import ticket_category_pb2, ticket_pb2
from kontor_kit.db import Statement
from kontor_kit.ids import parse_name
from kontor_kit.inbox.events import Event, Handlers
from kontor_kit.inbox.handling import Work
from kontor_kit.mapping import pattern_of
from kontor_sales.products.table import PRODUCT
from kontor_sales.recommendations.table import complaints

_OVER: Final = {ticket_category_pb2.TICKET_CATEGORY_SOLVED, ticket_category_pb2.TICKET_CATEGORY_CLOSED}
_put = insert(complaints).values({column.name: sa.bindparam(column.name, type_=column.type) for column in complaints.c})
_KNOW: Final = Statement(
    _put.on_conflict_do_update(
        index_elements=["tenant_id", "ticket"],
        set_={name: _put.excluded[name] for name in ("version", "account", "products", "open")},
        where=complaints.c.version < _put.excluded.version,
    )
)


def declare(handlers: Handlers) -> None:
    """Declare the handler of tickets."""
    handlers.on("kontor.ticketing.v1.ticket.*", optional=True)(know_complaint)


def know_complaint(event: Event, work: Work) -> None:
    """Keep whether a ticket is an open complaint, of whom and about which products, unless it is known as newer."""
    ticket: Any = event.record(ticket_pb2.Ticket())
    complains = ticket.type == ticket_pb2.Ticket.TYPE_COMPLAINT and ticket.category not in _OVER
    work.tx.defer(
        _KNOW,
        {
            "tenant_id": event.tenant_id,
            "ticket": parse_name(event.resource_name, "tickets/{ticket}", "ticket"),
            "version": event.version,
            "account": parse_name(ticket.account, pattern_of("contacts.kontor/Account"), "account")
            if ticket.account
            else None,
            "products": [parse_name(name, PRODUCT.pattern, "products") for name in ticket.products],
            "open": complains and not ticket.HasField("delete_time"),
        },
    )
