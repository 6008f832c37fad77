"""No list, filter, search or choice of partners and lead offers reads the whole of a table."""

from __future__ import annotations

import datetime as dt
from functools import partial

import pytest

from kontor.sales.v1 import lead_pb2
from kontor_kit.ids import parse_name, uuid7
from kontor_kit.testing.plans import plans
from kontor_kit.tracing import start_span
from kontor_partners.lead_offers.table import LEAD_OFFER
from kontor_partners.partners.table import PARTNER
from kontor_partners.programmes.table import PROGRAMME
from kontor_partners.service import service
from services.partners.tests import partnering

pytestmark = pytest.mark.timeout(300)  # for the rows, where the machine is busy

ROWS = 4_000
ACTIVE = 40
"""So many partners get leads: one in a hundred."""
REPEATS = 7
"""PostgreSQL looks for a plan that fits all values at the sixth time."""
MOST = 1_000
NOBODY = "00000000-0000-0000-0000-000000000007"
FILTERS = {
    "account": f"account = accounts/{NOBODY}",
    "agreement_end_date": "agreement_end_date = 2026-03-05",
    "create_time": "create_time > 2030-01-01T00:00:00Z",
    "display_name": "display_name = 'partner 4711'",
    "expire_time": "expire_time > 2090-01-01T00:00:00Z",
    "lead": f"lead = leads/{NOBODY}",
    "level": "level = tin",
    "next_review_date": "next_review_date = 2026-03-05",
    "owner": f"owner = users/{NOBODY}",
    "partner": f"partner = partners/{NOBODY}",
    "partner_team": f"partner_team = teams/{NOBODY}",
    "product_families": "product_families:Pumps",
    "products": f"products:products/{NOBODY}",
    "programme": f"programme = programmes/{NOBODY}",
    "region_codes": "region_codes:QQ",
    "state": "state = STATE_SUSPENDED",
    "team": f"team = teams/{NOBODY}",
    "type": "type = TYPE_CONSULTANT",
    "update_time": "update_time > 2030-01-01T00:00:00Z",
}
SMALL = {"LeadOffers": {"state": "state = STATE_DECLINED"}}
RESOURCES = {"LeadOffers": LEAD_OFFER, "Partners": PARTNER, "Programmes": PROGRAMME}
TABLES = {"lead_offer_choices", "lead_offers", "offered_leads", "partners", "programmes"}

_ID = "(lpad(to_hex(1700000000000 + n), 12, '0') || '7000a000' || lpad(to_hex(n), 12, '0'))::uuid"
_PARTNER = _ID.replace("n)", "1 + n %% 500)")
_AT = "FROM generate_series(1, %(rows)s) n, LATERAL (SELECT now() - n * interval '1 hour' AS at) x"
_BASE = f"SELECT %(tenant)s, {_ID}, 1, at, at"
_KEYS = "tenant_id, id, version, create_time, update_time"
_FILL = f"""
INSERT INTO programmes ({_KEYS}, display_name, display_name_key, currency_code, grace_days, max_protection_days, levels)
{_BASE}, 'P', 'p' || n, 'EUR', 0, 180, '[{{"id": "silver", "display_name": "S", "weight": 1, "offer_hours": 24}}]' {_AT};

INSERT INTO partners ({_KEYS}, display_name, display_name_key, account, type, state, state_time, programme, level,
    level_periods, offer_capacity, agreement_end_date, next_review_date, partner_team, owner, search_text)
{_BASE}, 'P', 'partner ' || n, {_ID}, 1, CASE WHEN n %% 100 = 0 THEN 4 ELSE 1 END, at - interval '1 year', {_ID}, 'silver',
    '[{{"level": "silver", "start_date": {{"year": 2020, "month": 1, "day": 1}}}}]', 10, '2090-01-01'::date + n %% 365,
    '2026-01-01'::date + n %% 365, CASE WHEN n = 100 THEN %(team)s ELSE {_ID} END, {_ID}, 'partner ' || n {_AT};

INSERT INTO lead_offers ({_KEYS}, lead, partner, state, expire_time)
{_BASE}, {_ID}, {_PARTNER}, CASE n %% 100 WHEN 0 THEN 1 WHEN 1 THEN 3 ELSE 4 END, at + interval '100 years' {_AT};

INSERT INTO offered_leads (tenant_id, lead, version, content) SELECT %(tenant)s, {_ID}, 1, '' {_AT};

INSERT INTO lead_offer_choices (tenant_id, lead_offer) SELECT %(tenant)s, {_ID} {_AT}
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
        for table in TABLES:
            connection.execute(f"VACUUM ANALYZE {table}")
    return caller


def check(running, ask, most=MOST):
    for _ in range(REPEATS):
        found = plans(running, ask)
        assert found
        for plan in found:
            assert plan.whole() & TABLES == set(), str(plan)
            assert plan.rows() <= most, str(plan)


@pytest.mark.parametrize("collection", RESOURCES)
class TestList:
    def test_in_every_order(self, running, large, collection):
        for order in RESOURCES[collection].order_columns:
            for direction in ("", " desc"):
                check(running, partial(large, f"List{collection}", order_by=f"{order}{direction}"))

    def test_by_every_filter(self, running, large, collection):
        for path in RESOURCES[collection].filter_fields.fields:
            text = SMALL.get(collection, {}).get(path, FILTERS[path])
            check(running, partial(large, f"List{collection}", filter=text))


class TestOfOnePartnersPeople:
    def test_lists(self, running, large):
        person = large.colleague(*partnering.PERSON, teams=large.teams)
        check(running, partial(person, "ListPartners"), most=50)
        check(running, partial(person, "ListLeadOffers"), most=100)
        assert len(person("ListPartners").partners) == 1
        assert len(person("ListLeadOffers").lead_offers) == ROWS // 500

    def test_search(self, running, large):
        person = large.colleague(*partnering.PERSON, teams=large.teams)
        check(running, partial(person, "SearchPartners", query="partner 100"), most=200)
        assert len(person("SearchPartners", query="partner 100").results) == 1


def test_a_lead_on_its_way(running, large, peer):
    def go() -> None:
        wanted = lead_pb2.Lead(name=f"leads/{uuid7()}", company="Acme", etag="v1")
        peer.records[wanted.name] = wanted.SerializeToString()
        offer = large("DistributeLead", lead=wanted.name)
        large("ExplainLeadOffer", name=offer.name)
        large("DeclineLeadOffer", name=offer.name, reason="No")

    # The offers of 90 days that those who may get one had: eight each, and those of the test.
    check(running, go, most=12 * ACTIVE)


def test_a_lead_that_nobody_answered(running, large, peer):
    served = service().use(running.runtime)["leadOffers"]

    def go() -> None:
        wanted = lead_pb2.Lead(name=f"leads/{uuid7()}", company="Acme", etag="v1")
        peer.records[wanted.name] = wanted.SerializeToString()
        offer = large("DistributeLead", lead=wanted.name)
        id = parse_name(offer.name, LEAD_OFFER.pattern, "name")
        with running.runtime.database.write(large.tenant) as tx:
            assert served.expire(tx, start_span(), id, dt.datetime.now(dt.UTC) + dt.timedelta(days=2))

    check(running, go, most=12 * ACTIVE)


def test_a_partner_that_stops(running, large):
    made = partnering.active(large, partnering.programme(large))

    def go() -> None:
        large("SuspendPartner", name=made.name, reason="So")
        large("ActivatePartner", name=made.name)

    check(running, go, most=50)


def test_a_level_that_is_removed(running, large):
    terms = partnering.programme(large)
    partnering.active(large, terms, "gold")
    silver = [level for level in terms.levels if level.id == "silver"]
    wanted = {"name": terms.name, "levels": silver}
    check(running, lambda: large.refusal("UpdateProgramme", programme=wanted), most=20)
