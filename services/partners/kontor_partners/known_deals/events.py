"""What contacts and sales tell of customers and deals is kept, and what is claimed looked at again where deals change."""

from __future__ import annotations

import uuid
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from kontor.contacts.v1 import account_pb2
from kontor.sales.v1 import opportunity_pb2
from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name
from kontor_kit.inbox.events import Event, Handlers
from kontor_kit.inbox.handling import Work
from kontor_kit.tables import KEY_TEXT
from kontor_partners.known_deals import rules
from kontor_partners.known_deals.rules import Key, Kind
from kontor_partners.known_deals.table import customer_keys, known_customers, known_deals

_ACCOUNT: Final = sa.bindparam("account", type_=sa.Uuid)
_customer = insert(known_customers).values(
    tenant_id=TENANT, account=_ACCOUNT, version=sa.bindparam("version", type_=sa.BigInteger)
)
_KNOW_CUSTOMER: Final = Statement(
    _customer.on_conflict_do_update(
        index_elements=["tenant_id", "account"],
        set_={"version": _customer.excluded.version},
        where=known_customers.c.version < _customer.excluded.version,
    ).returning(known_customers.c.version)
)
_FORGET_KEYS: Final = Statement(
    customer_keys.delete().where(customer_keys.c.tenant_id == TENANT, customer_keys.c.account == _ACCOUNT)
)
_given = (
    sa.func.unnest(sa.bindparam("keys", type_=ARRAY(KEY_TEXT)))
    .table_valued(sa.column("key", KEY_TEXT))
    .render_derived(name="given")
)
_ADD_KEYS: Final = Statement(
    customer_keys.insert().from_select(["tenant_id", "key", "account"], sa.select(TENANT, _given.c.key, _ACCOUNT))
)
_KEYS_OF: Final = Statement(
    sa.select(customer_keys.c.key).where(customer_keys.c.tenant_id == TENANT, customer_keys.c.account == _ACCOUNT)
)
_COLUMNS: Final = [column for column in known_deals.c if column.name != "tenant_id"]
_deal = insert(known_deals).values(
    {"tenant_id": TENANT, **{column.name: sa.bindparam(column.name, type_=column.type) for column in _COLUMNS}}
)
_KNOW_DEAL: Final = Statement(
    _deal.on_conflict_do_update(
        index_elements=["tenant_id", "opportunity"],
        set_={column.name: _deal.excluded[column.name] for column in _COLUMNS if not column.primary_key},
        where=known_deals.c.version < _deal.excluded.version,
    ).returning(known_deals.c.version)
)
_BEFORE: Final = Statement(
    sa.select(*(known_deals.c[name] for name in ("account", "partner", "products", "open"))).where(
        known_deals.c.tenant_id == TENANT, known_deals.c.opportunity == sa.bindparam("opportunity", type_=sa.Uuid)
    )
)


def declare(handlers: Handlers) -> None:
    """Declare the handlers of what is known of customers and deals."""
    handlers.on("kontor.contacts.v1.account.*")(know_account)
    handlers.on("kontor.sales.v1.opportunity.*")(know_deal)


def know_account(event: Event, work: Work) -> None:
    """Keep what an account is known by, unless it is known as new already."""
    account: Any = event.record(account_pb2.Account())
    id = parse_name(event.resource_name, "accounts/{account}", "account")
    given = {"tenant": event.tenant_id, "account": id}
    if not work.tx.run(_KNOW_CUSTOMER, {**given, "version": event.version}):
        return
    keys = _keys(account) if not account.HasField("delete_time") else frozenset()
    work.tx.defer(_FORGET_KEYS, given)
    work.tx.defer(_ADD_KEYS, {**given, "keys": sorted(map(str, keys))})


def _keys(account: Any) -> frozenset[Key]:
    """Return what an account is known by, beside its name; in each country where it has an address."""
    names = [account.display_name, account.legal_name]
    addresses = [account.website, *(email.address for email in account.emails)]
    found = rules.keys(addresses=addresses)
    for place in account.addresses:
        found |= rules.keys(country=place.region_code, names=names, postal_codes=[place.postal_code])
    return found


def know_deal(event: Event, work: Work) -> None:
    """Keep what an opportunity says of a deal, unless it is known as new already; look again at what is claimed."""
    deal: Any = event.record(opportunity_pb2.Opportunity())
    values = _values(event, deal)
    rows = work.tx.run(_BEFORE, values)
    if not work.tx.run(_KNOW_DEAL, values):
        return
    before = tuple(rows[0]) if rows else (None, None, [], False)
    after = tuple(values[name] for name in ("account", "partner", "products", "open"))
    if before == after or not (before[-1] or after[-1]):
        return
    accounts = {account for account in (before[0], after[0]) if account}
    keys = frozenset().union(*(_known(work.tx, account) for account in accounts))
    work.service["dealRegistrations"].know_deals(work.tx, work.trace, keys)


def _known(tx: Transaction, account: uuid.UUID) -> frozenset[Key]:
    found = {Key.of(row[0]) for row in tx.run(_KEYS_OF, {"tenant": tx.tenant_id, "account": account})}
    return frozenset(found | {Key(Kind.ACCOUNT, f"accounts/{account}")})


def _values(event: Event, deal: Any) -> dict[str, Any]:
    products = {line.product for line in deal.lines if line.product}
    opened = deal.open_time if deal.HasField("open_time") else deal.create_time
    return {
        "tenant": event.tenant_id,
        "opportunity": parse_name(event.resource_name, "opportunities/{opportunity}", "opportunity"),
        "version": event.version,
        "account": parse_name(deal.account, "accounts/{account}", "account") if deal.account else None,
        "partner": parse_name(deal.partner, "accounts/{account}", "partner") if deal.partner else None,
        "products": sorted(parse_name(product, "products/{product}", "lines") for product in products),
        "open_time": opened.ToDatetime(event.time.tzinfo),
        "open": deal.state == opportunity_pb2.Opportunity.STATE_OPEN and not deal.HasField("delete_time"),
    }
