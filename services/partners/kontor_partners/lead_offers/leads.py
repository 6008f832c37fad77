"""What is known of the leads that are offered: asked of sales in the caller's name, and kept until somebody takes them.

A lead that nobody can have any more leaves a mark, so that one who asked before does not offer it afterwards.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any, Final

import grpc
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from kontor.partners.v1 import lead_offer_pb2
from kontor.sales.v1 import lead_service_pb2
from kontor_kit.calls import Call
from kontor_kit.clients import Peers
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import FailedPrecondition, InvalidArgument, Unavailable
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name
from kontor_partners.lead_offers import rules
from kontor_partners.lead_offers.rules import Wanted
from kontor_partners.lead_offers.table import known_products, offered_leads

LEAD: Final = "leads/{lead}"
PRODUCT: Final = "products/{product}"
_GET: Final = lead_service_pb2.DESCRIPTOR.services_by_name["LeadService"].methods_by_name["GetLead"]
_HIDDEN: Final = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT)
_SHOWN: Final = ("company", "region_code", "industry")
_PERSON: Final = tuple(field.name for field in lead_offer_pb2.LeadOffer.Person.DESCRIPTOR.fields)

_LEAD: Final = sa.bindparam("lead", type_=sa.Uuid)
_CONTENT: Final = sa.bindparam("content", type_=sa.LargeBinary)
_VERSION: Final = sa.bindparam("version", type_=sa.BigInteger)
_ITS: Final = (offered_leads.c.tenant_id == TENANT, offered_leads.c.lead == _LEAD)
_row = insert(offered_leads).values(tenant_id=TENANT, lead=_LEAD, version=_VERSION, content=_CONTENT)
_KEEP: Final = Statement(
    _row.on_conflict_do_update(
        index_elements=["tenant_id", "lead"],
        set_={"version": _row.excluded.version, "content": _row.excluded.content},
        where=offered_leads.c.version <= _row.excluded.version,
    ).returning(offered_leads.c.version)
)
_REFRESH: Final = Statement(
    offered_leads.update()
    .where(*_ITS, offered_leads.c.version < _VERSION, offered_leads.c.content.is_not(None))
    .values(version=_VERSION, content=_CONTENT)
)
_REOPEN: Final = Statement(
    offered_leads.delete().where(*_ITS, offered_leads.c.version < _VERSION, offered_leads.c.content.is_(None))
)
_FIND: Final = Statement(sa.select(offered_leads.c.content).where(*_ITS))
_FORGET: Final = Statement(offered_leads.delete().where(*_ITS, offered_leads.c.content.is_not(None)))
_PRODUCTS: Final = Statement(
    sa.select(known_products.c.product, known_products.c.display_name, known_products.c.family).where(
        known_products.c.tenant_id == TENANT,
        known_products.c.product == sa.any_(sa.bindparam("products", type_=ARRAY(sa.Uuid))),
    )
)


class Leads:
    """Asks `peers` for leads."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    def ask(self, call: Call, name: str, field: str) -> Any:
        """Return a lead as sales tells the caller of it.

        Raises InvalidArgument for `field` where the caller may not see it, FailedPrecondition where nobody can have it.
        """
        parse_name(name, LEAD, field)
        try:
            lead = self._peers.ask(call, _GET, lead_service_pb2.GetLeadRequest(name=name))
        except grpc.RpcError as error:
            if error.code() in _HIDDEN:
                raise InvalidArgument((field, f"there is no {name}")) from error
            raise Unavailable(f"sales cannot be asked for {name}; repeat later") from error
        why = rules.why_closed(lead)
        if not why and lead.state == rules.LEAD_CONVERTING:
            why = "the lead is being converted"
        if why:
            raise _closed(why)
        return lead


def keep(tx: Transaction, name: str, lead: Any) -> None:
    """Keep what partners may see of a lead that the caller was told of, unless something newer is known."""
    version = int(lead.etag.removeprefix("v") or 0)
    tx.run(_KEEP, _values(tx, parse_name(name, LEAD, "lead"), version, content(lead)))


def content(lead: Any) -> bytes:
    """Return what partners may see of a lead, early or late, as a serialised offer."""
    offer = lead_offer_pb2.LeadOffer(
        **{name: getattr(lead, name) for name in _SHOWN},
        interests=[{"product": product} for product in lead.interests],
        person={name: getattr(lead, name) for name in _PERSON},
    )
    return offer.SerializeToString()


def known(tx: Transaction, name: str) -> Any | None:
    """Return what partners may see of a lead that waits for somebody, as an offer; None where it does not."""
    rows = tx.run(_FIND, {"tenant": tx.tenant_id, "lead": parse_name(name, LEAD, "lead")})
    if not rows or rows[0][0] is None:
        return None
    offer = lead_offer_pb2.LeadOffer.FromString(bytes(rows[0][0]))
    products = products_of(tx, [interest.product for interest in offer.interests])
    for interest in offer.interests:
        interest.display_name = products.get(interest.product, ("", ""))[0]
    return offer


def require(tx: Transaction, name: str) -> Any:
    """Return what partners may see of a lead. Raises FailedPrecondition where nobody can have it any more."""
    found = known(tx, name)
    if found is None:
        raise _closed("the lead is for nobody any more")
    return found


def wanted(tx: Transaction, offer: Any) -> Wanted:
    """Return what a partner must be fit for."""
    products = [interest.product for interest in offer.interests]
    families = {family for _, family in products_of(tx, products).values() if family}
    return Wanted(offer.region_code, frozenset(products), frozenset(families))


def products_of(tx: Transaction, names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return what products are called and their families, by name, of those that are known."""
    ids = [parse_name(name, PRODUCT, "product") for name in names]
    rows = tx.run(_PRODUCTS, {"tenant": tx.tenant_id, "products": ids}) if ids else []
    return {f"products/{id}": (display_name, family or "") for id, display_name, family in rows}


def follow(tx: Transaction, lead: Any, version: int) -> bool:
    """Keep what became of a lead; return whether it is for nobody any more, as nothing newer denies."""
    id = parse_name(lead.name, LEAD, "lead")
    if rules.why_closed(lead):
        return bool(tx.run(_KEEP, _values(tx, id, version, None)))
    tx.defer(_REFRESH, _values(tx, id, version, content(lead)))
    tx.defer(_REOPEN, _values(tx, id, version, None))
    return False


def forget(tx: Transaction, name: str) -> None:
    """Queue the end of what is known of a lead that somebody has, or nobody is looked for any more."""
    tx.defer(_FORGET, {"tenant": tx.tenant_id, "lead": parse_name(name, LEAD, "lead")})


def _values(tx: Transaction, id: uuid.UUID, version: int, kept: bytes | None) -> dict[str, Any]:
    return {"tenant": tx.tenant_id, "lead": id, "version": version, "content": kept}


def _closed(why: str) -> FailedPrecondition:
    return FailedPrecondition(why, reason="LEAD_CLOSED")
