"""No list, filter or look-up of prices, promotions, quotes, orders, contracts and payments reads the whole of a table."""

from __future__ import annotations

import datetime as dt
from functools import partial

import pytest

from kontor_kit.ids import parse_name, uuid7
from kontor_kit.testing.plans import plans
from kontor_sales.contracts.table import CONTRACT
from kontor_sales.orders.table import ORDER
from kontor_sales.price_books.table import PRICE_BOOK_ENTRY
from kontor_sales.promotions.table import PROMOTION_REDEMPTION
from kontor_sales.quotes.table import QUOTE
from kontor_sales.service import service
from services.sales.tests.selling import date, euro, line

pytestmark = pytest.mark.timeout(300)  # for the rows, where the machine is busy

ROWS = 10_000
REPEATS = 7
"""PostgreSQL looks for a plan that fits all values at the sixth time."""
MOST = 2_500
NOBODY = "00000000-0000-0000-0000-000000000007"
RESOURCES = {
    "Quotes": QUOTE,
    "Orders": ORDER,
    "Contracts": CONTRACT,
    "PriceBookEntries": PRICE_BOOK_ENTRY,
    "PromotionRedemptions": PROMOTION_REDEMPTION,
}
FILTERS = {
    "account": f"account = accounts/{NOBODY}",
    "create_time": "create_time > 2030-01-01T00:00:00Z",
    "custom_fields": "",  # The tenant has none.
    "display_name": "display_name = 'name 4711'",
    "end_date": "end_date = 2026-03-05",
    "lines.product": f"lines.product:products/{NOBODY}",
    "notice_date": "notice_date = 2026-03-05",
    "occasion": "occasion = 'occasion 7'",
    "opportunity": f"opportunity = opportunities/{NOBODY}",
    "order": f"order = orders/{NOBODY}",
    "order_number": "order_number = 4711",
    "owner": "owner = {owner}",
    "price_book": f"price_book = priceBooks/{NOBODY}",
    "product": f"product = products/{NOBODY}",
    "promotion": f"promotion = promotions/{NOBODY}",
    "quote": f"quote = quotes/{NOBODY}",
    "quote_number": "quote_number = Q4711",
    "renewal": "renewal = RENEWAL_UNSPECIFIED",
    "state": "state = STATE_UNSPECIFIED",
    "tags": "tags:'tag 7'",
    "team": "team = {team}",
    "update_time": "update_time > 2030-01-01T00:00:00Z",
}
TABLES = {
    "contracts",
    "discount_policies",
    "order_payments",
    "orders",
    "price_book_entries",
    "products",
    "promotion_redemptions",
    "promotions",
    "quote_links",
    "quotes",
}

_ID = "(lpad(to_hex(1700000000000 + n), 12, '0') || '7000a000' || lpad(to_hex(n), 12, '0'))::uuid"
_OWNED = (
    "CASE n %% 200 WHEN 0 THEN %(owner)s ELSE lpad(to_hex(n %% 200), 32, '0')::uuid END,"
    " CASE n %% 20 WHEN 0 THEN %(team)s END"
)
_AT = "FROM generate_series(1, %(rows)s) n, LATERAL (SELECT '2025-01-01Z'::timestamptz + n * interval '1 min' AS at) x"
_BASE = f"SELECT %(tenant)s, {_ID}, 1, at, at"
_KEYS = "tenant_id, id, version, create_time, update_time"
_FILL = f"""
INSERT INTO products ({_KEYS}, sku, sku_key, display_name, display_name_key, state, search_text)
{_BASE}, 'p' || n, 'p' || n, 'P', 'p', 1, 'p' {_AT};

INSERT INTO price_book_entries ({_KEYS}, price_book, product, tiers)
{_BASE}, %(book)s, {_ID}, '[{{"min_quantity": {{"value": "0"}}, "unit_price": {{"currency_code": "EUR", "units": 1}}}}]' {_AT};

INSERT INTO promotion_redemptions ({_KEYS}, promotion, account, occasion, state)
{_BASE}, %(promotion)s, {_ID}, 'occasion ' || n, 1 {_AT};

INSERT INTO quotes ({_KEYS}, owner, team, quote_number, revision, display_name, display_name_key, state, "primary",
    account, valid_until, search_text)
{_BASE}, {_OWNED}, 'Q' || n, 1, 'N', 'name ' || n, 1 + n %% 8, false, {_ID}, '2026-01-01'::date + n %% 365, 'q' || n {_AT};

INSERT INTO quote_links (tenant_id, digest, quote)
SELECT %(tenant)s, sha256(n::text::bytea), {_ID} {_AT};

INSERT INTO orders ({_KEYS}, owner, team, quote, account, state, order_number, search_text)
{_BASE}, {_OWNED}, {_ID}, {_ID}, 1 + n %% 8, n::text, 'order ' || n {_AT};

INSERT INTO contracts ({_KEYS}, owner, team, display_name, display_name_key, account, start_date, end_date, notice_months,
    notice_days, renewal, renewal_months, renewal_lead_days, state, notice_date, renewal_count, search_text)
{_BASE}, {_OWNED}, 'N', 'name ' || n, {_ID}, '2025-01-01', '2026-01-01'::date + n %% 365, 0, 0, 1 + n %% 3, 12, 0,
    1 + n %% 2, '2026-01-01'::date + n %% 365, 0, 'name ' || n {_AT};

INSERT INTO order_payments (tenant_id, source, external_id, "order", agent, pay_date, currency, amount, commission)
SELECT %(tenant)s, 'erp', 'R' || n, {_ID}, lpad(to_hex(n %% 200), 32, '0')::uuid, '2025-01-01'::date + n %% 365, 'EUR', 1,
    CASE WHEN n %% 7 > 0 THEN {_ID} END {_AT}
"""


@pytest.fixture(scope="module")
def running(serve_explained, peer):
    peers = {"identity": peer.address, "contacts": peer.address}
    return serve_explained(service(), peers=peers)


@pytest.fixture(scope="module")
def large(running):
    """Somebody who reaches everything in a tenant with many records, beside another with many."""
    caller, other, team = running.caller(), running.caller(), uuid7()
    caller.teams = (team,)
    lasting = {"start_time": "2020-01-01T00:00:00Z", "end_time": "2100-01-01T00:00:00Z"}
    lasting = {name: dt.datetime.fromisoformat(time) for name, time in lasting.items()}
    for one in (caller, other):
        book = {"display_name": "B", "currency_code": "EUR", "standard": True}
        promotion = {"display_name": "P", "discount_percent": {"value": "1"}, **lasting}
        parameters = {
            "tenant": one.tenant,
            "owner": parse_name(one.user, "users/{user}", "user"),
            "team": team,
            "rows": ROWS if one is caller else ROWS // 10,
            "book": parse_name(one("CreatePriceBook", price_book=book).name, "priceBooks/{price_book}", "name"),
            "promotion": parse_name(one("CreatePromotion", promotion=promotion).name, "promotions/{promotion}", "name"),
        }
        with running.database.connect() as connection:
            for statement in _FILL.split(";"):
                connection.execute(statement, parameters)
    with running.database.connect() as connection:
        connection.autocommit = True
        for table in TABLES:
            connection.execute(f"VACUUM ANALYZE {table}")
    return caller


def check(running, ask, most=MOST):
    for _ in range(REPEATS):
        found = plans(running, ask)
        assert found
        for plan in found:
            assert plan.whole() & TABLES - {"discount_policies", "promotions"} == set(), str(plan)
            assert plan.rows() <= most, str(plan)


@pytest.mark.parametrize("collection", RESOURCES)
class TestList:
    def test_in_every_order(self, running, large, collection):
        own = large.colleague("*:own", user=large.user)
        for order in RESOURCES[collection].order_columns:
            for direction in ("", " desc"):
                check(running, partial(large, f"List{collection}", order_by=f"{order}{direction}"))
        if RESOURCES[collection].has_owner:
            check(running, partial(own, f"List{collection}"))

    def test_by_every_filter(self, running, large, collection):
        values = {"owner": large.user, "team": f"teams/{large.teams[0]}"}
        for path in RESOURCES[collection].filter_fields.fields:
            if text := FILTERS[path]:
                check(running, partial(large, f"List{collection}", filter=text.format(**values)), most=5_000)


def test_prices(running, large):
    product = large("ListProducts", page_size=1).products[0].name
    [book] = large("ListPriceBooks").price_books
    check(running, lambda: large("PriceLines", name=book.name, lines=[{"product": product}]), most=20)
    check(running, lambda: large("ResolvePriceBook", currency_code="EUR"), most=20)


def test_a_redemption(running, large):
    [promotion] = large("ListPromotions").promotions
    for_somebody = partial(large, "RedeemPromotion", name=promotion.name, lines=[line(1)], occasion="x")
    check(running, lambda: for_somebody(account=f"accounts/{uuid7()}"), most=20)


def test_a_quote_on_its_way(running, large):
    product = large("ListProducts", page_size=1).products[0].name
    deal = large("CreateOpportunity", opportunity={"display_name": "Deal"}).name

    def go() -> None:
        wanted = {"display_name": "Offer", "opportunity": deal, "lines": [line(1, product=product)]}
        quote = large("CreateQuote", quote={**wanted, "valid_until": date(dt.date(2100, 1, 1))})
        large("MakeQuotePrimary", name=quote.name)
        large("SubmitQuote", name=quote.name)
        token = large("SendQuote", name=quote.name).token
        large("ReviewQuote", token=token)

    check(running, go, most=50)


def test_a_settlement(running, large):
    # A seventh of the payments of one of 200 agents is open.
    agent = "users/00000000-0000-0000-0000-000000000000"
    month = date(dt.date(2025, 1, 1))
    check(running, lambda: large("SettleCommissions", agent=agent, month=month, validate_only=True), most=200)


def test_a_report(running, large):
    order = large("ListOrders", page_size=1).orders[0].name
    paid = {"source": "erp", "external_id": "Z1", "net_amount": euro(1), "pay_date": date(dt.date(2025, 1, 1))}
    wanted = {"name": order, "source": "erp", "external_id": "1", "sequence": 1, "state": 6, "payments": [paid]}
    # The order has no amount in any currency, and refuses money: what is looked at is the same.
    check(running, lambda: large.refusal("ReportOrderState", **wanted), most=20)
