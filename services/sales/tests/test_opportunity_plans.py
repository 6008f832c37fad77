"""No list, filter, board or group reads the whole of a table, or more than it tells about, with 20,000 opportunities."""

from __future__ import annotations

from functools import partial

import pytest

from kontor_kit.ids import parse_name, uuid7
from kontor_kit.testing.plans import plans
from kontor_sales.opportunities.table import OPPORTUNITY
from kontor_sales.service import service

pytestmark = pytest.mark.timeout(300)  # for the rows, where the machine is busy

ROWS = 20_000
OWNERS = 200
OWN = ROWS // OWNERS
MADE = 50
USUAL = 810
"""So many visits tell how long is too long in each of the open stages."""
REPEATS = 7
"""PostgreSQL looks for a plan that fits all values at the sixth time."""
TABLES = {"opportunities", "stage_visits", "terms"}
STAGES = ("qualification", "analysis", "proposal", "negotiation", "won", "lost")
FILTERS = {
    "display_name": 'display_name = "deal 4711"',
    "account": "account = accounts/00000000-0000-0000-0000-000000000007",
    "pipeline": "pipeline = pipelines/00000000-0000-0000-0000-000000000007",
    "stage": "stage = nowhere",
    "state": "state = STATE_UNSPECIFIED",
    "close_date": "close_date = 2026-03-05",
    "forecast_category": "forecast_category = FORECAST_CATEGORY_COMMIT",
    "next_step_date": "next_step_date = 2026-03-05",
    "source": "source = 'source 7'",
    "partner": "partner = accounts/00000000-0000-0000-0000-000000000007",
    "owner": "owner = {owner}",
    "team": "team = {team}",
    "tags": "tags:'tag 7'",
    "lines.product": "lines.product:products/00000000-0000-0000-0000-000000000007",
    "competitors.display_name": "competitors.display_name:nobody",
    "custom_fields": "custom_fields.segment = 'x'",
    "open_time": "open_time > 2030-01-01T00:00:00Z",
    "close_time": "close_time > 2030-01-01T00:00:00Z",
    "stalled_time": "stalled_time > 2030-01-01T00:00:00Z",
    "stage_enter_time": "stage_enter_time > 2030-01-01T00:00:00Z",
    "create_time": "create_time > 2030-01-01T00:00:00Z",
    "update_time": "update_time > 2030-01-01T00:00:00Z",
}

_ROWS = """
INSERT INTO opportunities (tenant_id, id, version, create_time, update_time, owner, team, display_name,
    display_name_key, pipeline, stage, state, amount_amount, amount_currency, close_date, forecast_category, source,
    open_time, close_time, stage_enter_time, search_text)
SELECT %(tenant)s, (lpad(to_hex(1700000000000 + n), 12, '0') || '7000a000' || lpad(to_hex(n), 12, '0'))::uuid, 1, at, at,
    CASE n %% %(owners)s WHEN 0 THEN %(owner)s ELSE lpad(to_hex(n %% %(owners)s), 32, '0')::uuid END,
    CASE n %% 20 WHEN 0 THEN %(team)s END,
    'Deal ' || n, 'deal ' || n, %(pipeline)s, (%(stages)s::text[])[1 + s], CASE WHEN s < 4 THEN 1 ELSE s - 2 END,
    n %% 977, CASE n %% 3 WHEN 0 THEN 'USD' ELSE 'EUR' END, '2026-01-01'::date + n %% 365, 2, 'source ' || n %% 50,
    at, CASE WHEN s > 3 THEN at + interval '30 days' END, at, 'deal ' || n
FROM generate_series(1, %(rows)s) n, LATERAL (SELECT n / 7 %% 6 AS s, '2025-01-01Z'::timestamptz + n * interval '1 min' AS at) x
"""
_VISITS = """
INSERT INTO stage_visits (tenant_id, id, opportunity, pipeline, stage, enter_time, leave_time, actor)
SELECT tenant_id, id, id, pipeline, stage, open_time, open_time + interval '1 day', ''
FROM opportunities WHERE tenant_id = %(tenant)s
"""


@pytest.fixture(scope="module")
def running(serve_explained):
    return serve_explained(service())


@pytest.fixture(scope="module")
def large(running):
    """Somebody who reaches everything in a tenant with many opportunities, beside another with many."""
    caller, other = running.caller(), running.caller()
    team = uuid7()
    caller.teams = (team,)
    for one in (caller, other):
        pipeline = one("CreatePipeline", pipeline={"display_name": "P", "default": True}).name
        parameters = {
            "tenant": one.tenant,
            "pipeline": parse_name(pipeline, "pipelines/{pipeline}", "name"),
            "owner": parse_name(one.user, "users/{user}", "user"),
            "team": team,
            "stages": list(STAGES),
            "owners": OWNERS,
            "rows": ROWS,
        }
        with running.database.connect() as connection:
            connection.execute(_ROWS, parameters)
            connection.execute(_VISITS, parameters)
    with running.database.connect() as connection:
        connection.autocommit = True
        connection.execute("VACUUM ANALYZE opportunities")
        connection.execute("VACUUM ANALYZE stage_visits")
    return caller


def check(running, ask, most):
    for _ in range(REPEATS):
        found = plans(running, ask)
        assert found
        for plan in found:
            assert plan.whole() & TABLES == set(), str(plan)
            assert plan.rows() <= most, str(plan)


def callers(large):
    """Yield who asks, and how many opportunities they reach at most: the rows, and what other tests made."""
    yield large, ROWS + MADE
    yield large.colleague("*:team", user=large.user, teams=large.teams), ROWS // 20 + OWN + MADE
    yield large.colleague("*:own", user=large.user), OWN + MADE
    yield large.colleague("*:own"), 0


@pytest.mark.parametrize("direction", ["", " desc"])
def test_list_in_every_order(running, large, direction):
    for order in OPPORTUNITY.order_columns:
        check(running, lambda: large("ListOpportunities", order_by=f"{order}{direction}"), most=2_000)  # noqa: B023


def test_list_by_every_filter(running, large):
    assert OPPORTUNITY.filter_fields.fields.keys() == FILTERS.keys()
    values = {"owner": large.user, "team": f"teams/{large.teams[0]}"}
    for path, text in FILTERS.items():
        if path != "custom_fields":  # The tenant has none.
            check(running, partial(large, "ListOpportunities", filter=text.format(**values)), most=5_000)


def test_one(running, large):
    (deal,) = large("ListOpportunities", page_size=1).opportunities
    for ask in (
        lambda: large("GetOpportunity", name=deal.name),
        lambda: large("ListStageVisits", name=deal.name),
        lambda: large("UpdateOpportunity", opportunity={"name": deal.name, "description": str(uuid7())}),
        lambda: large("CreateOpportunity", opportunity={"display_name": "New"}),
        lambda: large("MoveOpportunityStage", name=deal.name, stage=str(STAGES[uuid7().int % 4])),
    ):
        check(running, ask, most=USUAL)


def test_board(running, large):
    pipeline = large("ListPipelines").pipelines[0].name
    for caller, reached in callers(large):
        asked = partial(caller, "ShowBoard", name=pipeline)
        columns = asked().columns
        assert sum(column.count for column in columns) <= reached
        # Few are looked at by a bitmap, twice. For a twentieth of all PostgreSQL rather walks through the index that has
        # everything that the totals need. The cards are 50 a stage.
        check(running, asked, most=2 * (reached if reached < ROWS // 50 else ROWS + MADE) + USUAL)


def test_groups(running, large):
    for caller, reached in callers(large):
        for asked in ({}, {"group_by": [1]}, {"group_by": [2, 10]}):
            check(running, partial(caller, "AnalyzeOpportunities", **asked), most=2 * reached + 10)
        period = "close_time >= 2025-02-01T00:00:00Z AND close_time < 2025-02-03T00:00:00Z"
        check(running, partial(caller, "AnalyzeOpportunities", group_by=[1], filter=period), most=2_000)


def test_what_is_in_use(running, large):
    pipeline = large("ListPipelines").pipelines[0].name
    stages = [{"id": stage, "display_name": stage} for stage in STAGES[1:4]]
    check(running, lambda: large.refusal("UpdatePipeline", pipeline={"name": pipeline, "stages": stages}), most=20)
    check(running, lambda: large.refusal("DeletePipeline", name=pipeline), most=20)


def test_a_small_tenant_reads_nothing_of_the_large_ones(running, large):
    small = running.caller()
    pipeline = small("CreateOpportunity", opportunity={"display_name": "D"}).pipeline
    for ask in (
        lambda: small("ShowBoard", name=pipeline),
        lambda: small("AnalyzeOpportunities", group_by=[1, 9]),
        lambda: small("ListOpportunities", order_by="open_time desc"),
        lambda: small("ListOpportunities", filter="state = STATE_OPEN"),
    ):
        check(running, ask, most=30)
