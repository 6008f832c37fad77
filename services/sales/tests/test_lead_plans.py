"""No list, filter, look-up or assignment reads the whole of a table, with 20,000 leads in a tenant."""

from __future__ import annotations

from functools import partial

import pytest

from kontor_kit.ids import parse_name, uuid7
from kontor_kit.testing.plans import plans
from kontor_sales.leads.table import LEAD
from kontor_sales.service import service

pytestmark = pytest.mark.timeout(300)  # for the rows, where the machine is busy

ROWS = 20_000
OWNERS = 200
MOST = 5_000
"""So many rows may be looked at for a page: the rarest of what is asked for here has a hundred."""
REPEATS = 7
"""PostgreSQL looks for a plan that fits all values at the sixth time."""
TABLES = {"leads", "terms", "lead_events", "known_emails"}
NOBODY = "00000000-0000-0000-0000-000000000007"
FILTERS = {
    "display_name": 'display_name = "lead 4711"',
    "family_name": 'family_name = "Lead 4711"',
    "email": 'email = "a4711@example.com"',
    "phone": 'phone = "+493022004711"',
    "company": 'company = "Company 7"',
    "industry": 'industry = "Industry 7"',
    "employee_count": "employee_count > 1900",
    "postal_code": 'postal_code = "80007"',
    "region_code": "region_code = FR",
    "language_code": "language_code = xx",
    "state": "state = STATE_QUALIFIED",
    "source": 'source = "source 7"',
    "campaign": 'campaign = "campaign 7"',
    "email_opted_out": "email_opted_out = true",
    "phone_opted_out": "phone_opted_out = true",
    "score": "score > 1900",
    "contact": f"contact = contacts/{NOBODY}",
    "account": f"account = accounts/{NOBODY}",
    "opportunity": f"opportunity = opportunities/{NOBODY}",
    "lead_form": f"lead_form = leadForms/{NOBODY}",
    "owner": "owner = {owner}",
    "team": "team = {team}",
    "interests": f"interests:products/{NOBODY}",
    "territories": f"territories:territories/{NOBODY}",
    "tags": "tags:'tag 7'",
    "create_time": "create_time > 2030-01-01T00:00:00Z",
    "update_time": "update_time > 2030-01-01T00:00:00Z",
}
_ROWS = """
INSERT INTO leads (tenant_id, id, version, create_time, update_time, owner, team, display_name, display_name_key,
    family_name, email, phone, company, industry, employee_count, postal_code, region_code, state, source, campaign,
    email_opted_out, phone_opted_out, score, search_text)
SELECT %(tenant)s, (lpad(to_hex(1700000000000 + n), 12, '0') || '7000a000' || lpad(to_hex(n), 12, '0'))::uuid, 1, at, at,
    CASE n %% %(owners)s WHEN 0 THEN %(owner)s ELSE lpad(to_hex(n %% %(owners)s), 32, '0')::uuid END,
    CASE n %% 50 WHEN 0 THEN %(team)s END, 'Lead ' || n, 'lead ' || n, 'Lead ' || n, 'a' || n || '@example.com',
    '+4930' || (22000000 + n), 'Company ' || n %% 500, 'Industry ' || n %% 50, n %% 2000, '80' || lpad((n %% 999)::text, 3, '0'),
    CASE n %% 100 WHEN 0 THEN 'FR' ELSE 'DE' END, 1 + n %% 4, 'source ' || n %% 100, 'campaign ' || n %% 100,
    n %% 100 = 0, n %% 100 = 1, n %% 2000, 'lead ' || n
FROM generate_series(1, %(rows)s) n, LATERAL (SELECT '2025-01-01Z'::timestamptz + n * interval '1 min' AS at) x
"""
_TERMS = """
INSERT INTO terms (tenant_id, term, id)
SELECT tenant_id, 'leads.match.email=' || email, id FROM leads WHERE tenant_id = %(tenant)s
UNION ALL
SELECT tenant_id, 'leads.tags=tag ' || score %% 100, id FROM leads WHERE tenant_id = %(tenant)s
"""


@pytest.fixture(scope="module")
def running(serve_explained):
    return serve_explained(service())


@pytest.fixture(scope="module")
def large(running):
    """Somebody who reaches everything in a tenant with many leads, beside another with many."""
    caller, team = running.caller(), uuid7()
    caller.teams = (team,)
    owner = parse_name(caller.user, "users/{user}", "user")
    with running.database.connect() as connection:
        for tenant in (caller.tenant, uuid7()):
            given = {"tenant": tenant, "rows": ROWS, "owners": OWNERS, "owner": owner, "team": team}
            connection.execute(_ROWS, given)
            connection.execute(_TERMS, given)
        connection.execute("ANALYZE leads, terms")
    return caller


def check(running, ask, most=MOST):
    for _ in range(REPEATS):
        found = plans(running, ask)
        assert found
        for plan in found:
            assert plan.whole() & TABLES == set(), str(plan)
            assert plan.rows() <= most, str(plan)


@pytest.mark.parametrize("scope", ["all", "team", "own"])
def test_lists_in_every_order(running, large, scope):
    caller = {
        "all": lambda: large,
        "team": lambda: large.colleague("*:team", teams=large.teams),
        "own": lambda: large.colleague("*:own", user=large.user),
    }[scope]()
    for order in ("", *LEAD.order_columns):
        for direction in ("", " desc") if order else ("",):
            check(running, partial(caller, "ListLeads", order_by=f"{order}{direction}"))


@pytest.mark.parametrize("path", FILTERS)
def test_lists_by_every_filter(running, large, path):
    text = FILTERS[path].format(owner=large.user, team=f"teams/{large.teams[0]}")
    order = path if path in LEAD.order_columns else ""
    # What a quarter of all have is found in any order after four times as many.
    check(running, partial(large, "ListLeads", filter=text, order_by=order, page_size=20))


def test_every_filter_is_looked_at():
    assert set(LEAD.filter_fields.fields) - {"custom_fields"} == set(FILTERS)


def test_suspects_events_and_assignment_are_looked_up(running, large):
    users = [f"users/{uuid7()}" for _ in range(20)]
    rule = {"display_name": "R", "method": 2, "members": [{"user": user} for user in [*users, large.user]]}
    large("CreateLeadAssignmentRule", lead_assignment_rule=rule)
    scored = {"display_name": "S", "event_type": "x", "points": 1}
    large("CreateLeadScoreRule", lead_score_rule=scored)
    robot = large.colleague(user=f"serviceAccounts/{uuid7()}")
    check(running, lambda: large.refusal("CreateLead", lead={"display_name": "N", "email": "a4711@example.com"}), 300)
    check(running, lambda: robot("CreateLead", lead={"display_name": "N"}), 300)
    lead = large("ListLeads", page_size=1).leads[0]
    check(running, partial(large, "RecordLeadEvent", name=lead.name, event_type="x"), 300)
    check(running, partial(large, "SearchLeads", query="lead 4711"), 30_000)
