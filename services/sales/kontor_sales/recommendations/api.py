"""The gRPC service of recommendations.

What a customer has is known to the service as a whole, whoever sold it: nobody is offered what they have. Of deals only
those are named that the caller may see. Nobody is offered what they complain about, and nothing where a complaint names
no product.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from kontor.sales.v1 import recommendation_service_pb2
from kontor_kit import pages
from kontor_kit.calls import Call
from kontor_kit.db import Row, Statement, Transaction
from kontor_kit.ids import parse_name
from kontor_kit.mapping import pattern_of
from kontor_kit.methods import ResourceServicer
from kontor_kit.operations.servicer import Operations
from kontor_kit.scopes import OwnerScope
from kontor_kit.shared import Shared
from kontor_kit.store import Reach, Store
from kontor_sales.opportunities.table import OPPORTUNITY, opportunities
from kontor_sales.products.table import PRODUCT
from kontor_sales.recommendations import learning, rules
from kontor_sales.recommendations.rules import Profile, Rule
from kontor_sales.recommendations.table import declined_products, product_rules

DECLINED_DAYS: Final = 90
MOST_CANDIDATES: Final = 500
"""So many customers are compared who bought most of the same, and so many of the same industry."""
DEALS_SHOWN: Final = 3

_Reason: Final = recommendation_service_pb2.RecommendProductsResponse.Reason
_ACCOUNT: Final = pattern_of("contacts.kontor/Account")
_GIVEN: Final = (
    sa.bindparam("tenant", type_=sa.Uuid),
    sa.bindparam("account", type_=sa.Uuid),
)
_LINES: Final = (
    "SELECT DISTINCT CAST(substr(l ->> 'product', 10) AS uuid) FROM opportunities o"
    " CROSS JOIN LATERAL jsonb_array_elements(o.lines) l WHERE o.tenant_id = :tenant AND o.account = :account"
    " AND o.delete_time IS NULL AND l ->> 'product' LIKE 'products/%' AND "
)
_OWNED: Final = Statement(sa.text(_LINES + "o.state = 2").bindparams(*_GIVEN))
_REFUSED: Final = Statement(
    sa.text(
        _LINES + "o.state = 3 AND o.close_time >= :since UNION SELECT product FROM declined_products"  # noqa: S608  # constants
        " WHERE tenant_id = :tenant AND account = :account AND decline_time >= :since"
    ).bindparams(*_GIVEN, sa.bindparam("since", type_=sa.DateTime(timezone=True)))
)
_COMPLAINTS: Final = Statement(
    sa.text("SELECT products FROM complaints WHERE tenant_id = :tenant AND account = :account AND open").bindparams(
        *_GIVEN
    )
)
_IDS = sa.bindparam("ids", type_=ARRAY(sa.Uuid))
_RULES: Final = Statement(
    sa.select(*(product_rules.c[name] for name in Rule._fields)).where(
        product_rules.c.tenant_id == sa.bindparam("tenant", type_=sa.Uuid), product_rules.c.first == sa.any_(_IDS)
    )
)
_out_of_stock = "CAST(availability -> 'stock' ->> 'value' AS numeric) <= 0"
_PRODUCTS: Final = Statement(
    sa.text(
        f"SELECT id, state = 2 OR delete_time IS NOT NULL, COALESCE({_out_of_stock}, false) FROM products"  # noqa: S608
        " WHERE tenant_id = :tenant AND id = ANY (:ids)"
    ).bindparams(_GIVEN[0], _IDS)
)
_decline = insert(declined_products).values(
    {column.name: sa.bindparam(column.name, type_=column.type) for column in declined_products.c}
)
_DECLINE: Final = Statement(
    _decline.on_conflict_do_update(
        index_elements=["tenant_id", "account", "product"], set_={"decline_time": _decline.excluded.decline_time}
    )
)
# Whoever bought some of the same, and whoever is of the same industry.
_LIKE: Final = Statement(
    sa.text(
        "WITH near AS ((SELECT account FROM account_baskets WHERE tenant_id = :tenant AND product = ANY (:ids)"
        " AND account <> :account GROUP BY account ORDER BY count(*) DESC, account LIMIT :size)"
        " UNION (SELECT p.account FROM account_facts m JOIN account_facts p"
        " ON p.tenant_id = m.tenant_id AND p.industry = m.industry AND p.account <> m.account AND p.live"
        " WHERE m.tenant_id = :tenant AND m.account = :account AND m.live ORDER BY p.account LIMIT :size)"
        " UNION SELECT CAST(:account AS uuid))"
        " SELECT n.account, p.industry, p.employee_count, b.products FROM near n"
        " LEFT JOIN account_facts p ON p.tenant_id = :tenant AND p.account = n.account AND p.live"
        " LEFT JOIN LATERAL (SELECT array_agg(product ORDER BY product) AS products FROM account_baskets b"
        " WHERE b.tenant_id = :tenant AND b.account = n.account) b ON true"
    ).bindparams(*_GIVEN, _IDS, sa.bindparam("size", MOST_CANDIDATES, sa.Integer))
)


def _deals(reach: Reach) -> Statement:
    """Make (account, opportunity) of the newest won opportunities of `ids` within a reach."""
    given = sa.func.unnest(_IDS).table_valued(sa.column("account", sa.Uuid)).render_derived(name="given")
    table = opportunities
    conditions = [
        table.c.tenant_id == sa.bindparam("tenant", type_=sa.Uuid),
        table.c.account == given.c.account,
        table.c.state == sa.literal_column("2"),
        table.c.delete_time.is_(None),
    ]
    condition = OwnerScope().clause(reach.scope, table)
    if condition is not None:
        conditions.append(condition)
    newest = (
        sa.select(table.c.id)
        .where(*conditions)
        .order_by(table.c.close_time.desc(), table.c.id)
        .limit(DEALS_SHOWN)
        .correlate(given)
        .lateral("newest")
    )
    return Statement(sa.select(given.c.account, newest.c.id).select_from(given).join(newest, sa.true()))


class Recommendations(ResourceServicer):
    """Serves recommendations."""

    SERVICE = recommendation_service_pb2.DESCRIPTOR.services_by_name["RecommendationService"]
    RESOURCE = OPPORTUNITY

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._operations = Operations(shared.domain)
        self._products = Store(PRODUCT)

    def recommend_products(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Return what else to offer to a customer."""
        account = self._account(call, request)
        days = request.declined_days or DECLINED_DAYS
        parameters = {
            "tenant": tx.tenant_id,
            "account": account,
            "since": dt.datetime.now(dt.UTC) - dt.timedelta(days=days),
        }
        statements = (_OWNED, _REFUSED, _COMPLAINTS)
        has, declined, complaints = tx.run_all([(statement, parameters) for statement in statements])
        owned = {row[0] for row in has}
        for place, name in enumerate(request.products):
            owned.add(parse_name(name, PRODUCT.pattern, f"products[{place}]"))
        rows = tx.run(_RULES, {"tenant": tx.tenant_id, "ids": list(owned)})
        found = rules.recommend((Rule(*row) for row in rows), owned)
        size = pages.page_size(request.page_size, default=10, maximum=100)
        response: Any = call.method.output()
        against = dict.fromkeys((row[0] for row in declined), _Reason.REASON_DECLINED)
        for (products,) in complaints:
            about = products or [rule.consequent for rule in found]
            against |= dict.fromkeys(about, _Reason.REASON_COMPLAINT)
        why_not = self._why_not(tx, [rule.consequent for rule in found], against)
        for rule in found:
            product = f"products/{rule.consequent}"
            if reason := why_not.get(rule.consequent):
                response.exclusions.add(product=product, reason=reason)
            elif len(response.recommendations) < size:
                told = response.recommendations.add(product=product)
                told.because_of.extend(f"products/{id}" for id in rule.antecedents)
                told.support, told.confidence, told.lift = rule.support, rule.confidence, rule.lift
        return response

    def find_similar_accounts(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Return the customers that are most like another one, with the deals that say so."""
        account = self._account(call, request)
        parameters = {"tenant": tx.tenant_id, "account": account}
        owned = {row[0] for row in tx.run(_OWNED, parameters)}
        rows = tx.run(_LIKE, {**parameters, "ids": list(owned)})
        reach = self.reach(call)
        others = [row[0] for row in rows if row[0] != account]
        deals: dict[uuid.UUID, list[uuid.UUID]] = {}
        for customer, deal in tx.run(_deals(reach), {**reach.parameters(), "ids": others}):
            deals.setdefault(customer, []).append(deal)
        response: Any = call.method.output()
        size = pages.page_size(request.page_size, default=5, maximum=50)
        # A customer whom nothing shows the caller of is none for the caller.
        near = [row for row in rows if row[0] in deals]
        mine = next(Profile(row[1] or "", row[2] or 0) for row in rows if row[0] == account)
        for neighbour in sorted((_neighbour(mine, owned, row) for row in near), key=_nearest)[:size]:
            found = deals[parse_name(neighbour.account, _ACCOUNT, "account")]
            neighbour.opportunities.extend(f"opportunities/{deal}" for deal in found)
            response.neighbours.append(neighbour)
        return response

    def decline_recommendation(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Note that a customer does not want a product."""
        account = self._account(call, request)
        self.referred(tx, call, self._products, request.product, "product")
        product = parse_name(request.product, PRODUCT.pattern, "product")
        key = {"tenant_id": tx.tenant_id, "account": account, "product": product}
        tx.defer(_DECLINE, {**key, "decline_time": dt.datetime.now(dt.UTC)})
        return call.method.output()

    def train_recommendations(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Start to learn what is bought together."""
        learning.check(tx, request)
        return self._operations.start(tx, call, learning.TRAIN, request)

    def _account(self, call: Call, request: Any) -> uuid.UUID:
        """Return the id of the account that is asked about, which the caller may see."""
        self.shared.references.check(call, request)
        return parse_name(request.account, _ACCOUNT, "account")

    @staticmethod
    def _why_not(
        tx: Transaction, ids: Sequence[uuid.UUID], against: Mapping[uuid.UUID, int]
    ) -> Mapping[uuid.UUID, int]:
        """Return why products are not recommended; nothing for those that are."""
        found: dict[uuid.UUID, int] = dict.fromkeys(ids, _Reason.REASON_DISCONTINUED)
        for id, discontinued, out_of_stock in tx.run(_PRODUCTS, {"tenant": tx.tenant_id, "ids": list(ids)}):
            if not discontinued:
                found[id] = against.get(id, _Reason.REASON_OUT_OF_STOCK if out_of_stock else 0)
        return found


def _neighbour(mine: Profile, owned: set[uuid.UUID], row: Row) -> Any:
    """Return the FindSimilarAccountsResponse.Neighbour of a row of (account, industry, employees, products)."""
    account, industry, employees, products = row
    other = Profile(industry or "", employees or 0)
    shared = owned & {*(products or ())}
    neighbour: Any = recommendation_service_pb2.FindSimilarAccountsResponse.Neighbour(account=f"accounts/{account}")
    neighbour.similarity = rules.similarity(mine, other, len(shared), len(owned | {*(products or ())}))
    neighbour.shared_products.extend(f"products/{id}" for id in sorted(shared))
    if mine.industry and other.industry:
        neighbour.same_industry = mine.industry.casefold() == other.industry.casefold()
    return neighbour


def _nearest(neighbour: Any) -> tuple[float, str]:
    return -neighbour.similarity, neighbour.account
