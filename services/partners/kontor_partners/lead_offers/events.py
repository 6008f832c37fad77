"""What happens to lead offers when something happens in sales."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from kontor.sales.v1 import lead_pb2, product_pb2
from kontor_kit.db import Statement
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name
from kontor_kit.inbox.events import Event, Handlers
from kontor_kit.inbox.handling import Work
from kontor_partners.lead_offers import leads
from kontor_partners.lead_offers.table import known_products

_COLUMNS: Final = [column for column in known_products.c if column.name != "tenant_id"]
_row = insert(known_products).values(
    {"tenant_id": TENANT, **{column.name: sa.bindparam(column.name, type_=column.type) for column in _COLUMNS}}
)
_KNOW: Final = Statement(
    _row.on_conflict_do_update(
        index_elements=["tenant_id", "product"],
        set_={column.name: _row.excluded[column.name] for column in _COLUMNS if not column.primary_key},
        where=known_products.c.version < _row.excluded.version,
    )
)


def declare(handlers: Handlers) -> None:
    """Declare the handlers of lead offers."""
    handlers.on("kontor.sales.v1.lead.*")(follow_lead)
    handlers.on("kontor.sales.v1.product.*")(know_product)


def follow_lead(event: Event, work: Work) -> None:
    """Keep what is offered of a lead as it is now; take the offer back where the lead is for nobody any more."""
    lead: Any = event.record(lead_pb2.Lead())
    lead.name = event.resource_name
    work.service["leadOffers"].follow(work.tx, work.trace, lead, event.version)


def know_product(event: Event, work: Work) -> None:
    """Keep what a product is called and its family; a deleted one may still be what a lead is interested in."""
    product: Any = event.record(product_pb2.Product())
    values = {
        "tenant": event.tenant_id,
        "product": parse_name(event.resource_name, leads.PRODUCT, "product"),
        "version": event.version,
        "display_name": product.display_name,
        "family": product.family or None,
    }
    work.tx.defer(_KNOW, values)
