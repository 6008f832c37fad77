"""No list, filter or decision on deal registrations reads the whole of a table."""

from __future__ import annotations

import datetime as dt
from functools import partial
from types import SimpleNamespace

import pytest

from kontor.sales.v1 import opportunity_pb2
from kontor_kit.ids import parse_name, uuid7
from kontor_kit.inbox.events import Event
from kontor_kit.testing.plans import plans
from kontor_kit.tracing import start_span
from kontor_partners.deal_registrations.table import DEAL_REGISTRATION
from kontor_partners.known_deals.events import know_deal
from kontor_partners.service import service
from services.partners.tests import partnering
from services.partners.tests.registering import ROBOT, customer, registration

pytestmark = pytest.mark.timeout(300)  # for the rows, where the machine is busy

ROWS = 4_000
REPEATS = 7
"""PostgreSQL looks for a plan that fits all values at the sixth time."""
MOST = 1_000
NOBODY = "00000000-0000-0000-0000-000000000007"
FILTERS = {
    "account": f"account = accounts/{NOBODY}",
    "create_time": "create_time > 2030-01-01T00:00:00Z",
    "display_name": "display_name = 'name 4711'",
    "expected_close_date": "expected_close_date = 2026-03-05",
    "opportunity": f"opportunity = opportunities/{NOBODY}",
    "partner": f"partner = partners/{NOBODY}",
    "products": f"products:products/{NOBODY}",
    "protection_end_time": "protection_end_time > 2090-01-01T00:00:00Z",
    "region_codes": "region_codes:QQ",
    "registrant": "registrant = 'users/4711'",
    "state": "state = STATE_EXPIRED",
    "submit_time": "submit_time > 2090-01-01T00:00:00Z",
    "update_time": "update_time > 2030-01-01T00:00:00Z",
    "verdict": "verdict = VERDICT_CONFLICT",
}
TABLES = {"customer_keys", "deal_arbitrations", "deal_claims", "deal_registrations", "known_customers", "known_deals"}

_ID = "(lpad(to_hex(1700000000000 + n), 12, '0') || '7000a000' || lpad(to_hex(n), 12, '0'))::uuid"
_AT = "FROM generate_series(1, %(rows)s) n, LATERAL (SELECT '2025-01-01Z'::timestamptz + n * interval '1 min' AS at) x"
_BASE = f"SELECT %(tenant)s, {_ID}, 1, at, at"
_FILL = f"""
INSERT INTO partners (tenant_id, id, version, create_time, update_time, display_name, display_name_key, account, type,
    state, state_time, offer_capacity, partner_team, search_text)
{_BASE}, 'P', 'p', {_ID}, 1, 4, at, 10, CASE WHEN n = 7 THEN %(team)s ELSE {_ID} END, 'p' {_AT};

INSERT INTO deal_registrations (tenant_id, id, version, create_time, update_time, display_name, display_name_key, partner,
    account, products, region_codes, expected_close_date, state, submit_time, verdict, protection_end_time, opportunity,
    registrant)
{_BASE}, 'N', 'name ' || n, (lpad(to_hex(1700000000000 + 1 + n %% 500), 12, '0') || '7000a000'
    || lpad(to_hex(1 + n %% 500), 12, '0'))::uuid, {_ID}, ARRAY[{_ID}], ARRAY['DE'], '2026-01-01'::date + n %% 365,
    CASE WHEN n %% 100 = 1 THEN 7 ELSE 4 END, at, CASE WHEN n %% 100 = 2 THEN 2 ELSE 1 END,
    '2026-01-01'::timestamptz + n * interval '1 min', {_ID}, 'users/' || n {_AT};

INSERT INTO deal_claims (tenant_id, key, registration) SELECT %(tenant)s, 'DOMAIN:c' || n || '.example', {_ID} {_AT};

INSERT INTO deal_arbitrations (tenant_id, id, registration, arbitration) SELECT %(tenant)s, {_ID}, {_ID}, '{{}}' {_AT};

INSERT INTO known_customers (tenant_id, account, version) SELECT %(tenant)s, {_ID}, 1 {_AT};

INSERT INTO customer_keys (tenant_id, key, account) SELECT %(tenant)s, 'DOMAIN:c' || n || '.example', {_ID} {_AT};

INSERT INTO known_deals (tenant_id, opportunity, version, account, products, open_time, open)
SELECT %(tenant)s, {_ID}, 1, {_ID}, ARRAY[{_ID}], at, true {_AT}
"""


@pytest.fixture(scope="module")
def running(serve_explained, peer):
    return serve_explained(service(), peers=dict.fromkeys(("identity", "contacts", "sales"), peer.address))


@pytest.fixture(scope="module")
def large(running):
    """Somebody who reaches everything in a tenant with many records, beside another with many."""
    caller, other = running.caller(), running.caller()
    caller.teams = (uuid7(),)
    for one in (caller, other):
        rows = ROWS if one is caller else ROWS // 8
        parameters = {"tenant": one.tenant, "rows": rows, "team": caller.teams[0]}
        with running.database.connect() as connection:
            for statement in _FILL.split(";"):
                connection.execute(statement, parameters)
    with running.database.connect() as connection:
        connection.autocommit = True
        for table in (*TABLES, "partners"):
            connection.execute(f"VACUUM ANALYZE {table}")
    return caller


def check(running, ask, most=MOST):
    for _ in range(REPEATS):
        found = plans(running, ask)
        assert found
        for plan in found:
            assert plan.whole() & TABLES == set(), str(plan)
            assert plan.rows() <= most, str(plan)


class TestList:
    def test_in_every_order(self, running, large):
        for order in DEAL_REGISTRATION.order_columns:
            for direction in ("", " desc"):
                check(running, partial(large, "ListDealRegistrations", order_by=f"{order}{direction}"))

    def test_of_one_partners_people(self, running, large):
        person = large.colleague("partners.dealRegistrations.read:team", teams=large.teams)
        check(running, partial(person, "ListDealRegistrations"))
        assert len(person("ListDealRegistrations").deal_registrations) == ROWS // 500

    def test_by_every_filter(self, running, large):
        for path in DEAL_REGISTRATION.filter_fields.fields:
            check(running, partial(large, "ListDealRegistrations", filter=FILTERS[path]))


def test_a_registration_on_its_way(running, large):
    partner = partnering.active(large, partnering.programme(large))

    def go() -> None:
        made = registration(large, partner, end_customer=customer(website="c77.example"), products=[ROBOT])
        large("SubmitDealRegistration", name=made.name)
        large("StartDealRegistrationReview", name=made.name)
        large("ExplainDealRegistration", name=made.name)
        large("RejectDealRegistration", name=made.name, reason="No")

    check(running, go, most=150)


def test_what_sales_tells(running, large):
    records, now = service().use(running.runtime), dt.datetime.now(dt.UTC)
    deal = opportunity_pb2.Opportunity(account=f"accounts/{NOBODY}", state=1, lines=[{"product": ROBOT}], open_time=now)

    def tell() -> None:
        deal.name = f"opportunities/{uuid7()}"
        event = Event(
            uuid7(), large.tenant, "kontor.sales.v1.opportunity.created", deal.name, 1, now, deal.SerializeToString()
        )
        with running.runtime.database.write(large.tenant) as tx:
            know_deal(event, SimpleNamespace(tx=tx, trace=start_span(), service=records))

    check(running, tell, most=50)


def test_the_end_of_a_protection(running, large):
    name = large("ListDealRegistrations", filter="state = STATE_APPROVED", page_size=1).deal_registrations[0].name
    id = parse_name(name, DEAL_REGISTRATION.pattern, "name")
    registrations = service().use(running.runtime)["dealRegistrations"]

    def expire() -> None:
        with running.runtime.database.write(large.tenant) as tx:
            registrations.expire(tx, start_span(), id, dt.datetime(2000, 1, 1, tzinfo=dt.UTC))

    check(running, expire, most=20)
