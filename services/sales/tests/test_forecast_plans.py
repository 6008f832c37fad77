"""No forecast and no recommendation reads the whole of a table, or of a tenant, with 20,000 opportunities."""

from __future__ import annotations

import datetime as dt

import pytest

from kontor_kit.ids import parse_name, uuid7
from kontor_kit.testing.plans import plans
from kontor_sales.service import service

pytestmark = pytest.mark.timeout(300)  # for the rows, where the machine is busy

ROWS = 20_000
REPEATS = 7
"""PostgreSQL looks for a plan that fits all values at the sixth time."""
DAY = dt.date(2026, 5, 15)

_FILL = """
INSERT INTO opportunities (tenant_id, id, version, create_time, update_time, owner, display_name, display_name_key,
    account, pipeline, stage, state, amount_amount, amount_currency, close_date, forecast_category, open_time,
    close_time, stage_enter_time, search_text)
SELECT %(tenant)s, gen_random_uuid(), 1, now(), now(), CASE WHEN n %% 100 = 0 THEN %(owner)s ELSE gen_random_uuid() END,
    'D', 'd', gen_random_uuid(), %(pipeline)s, CASE WHEN n %% 2 = 0 THEN 'qualification' ELSE 'won' END, 1 + n %% 2, n,
    'EUR', date '2024-01-01' + n %% 1200, 2 + n %% 3, timestamptz '2024-01-01Z' + n %% 1200 * interval '1 day',
    CASE WHEN n %% 2 = 1 THEN timestamptz '2024-01-03Z' + n %% 1200 * interval '1 day' END, now(), 'd'
FROM generate_series(1, %(rows)s) n
"""


@pytest.fixture(scope="module")
def running(serve_explained, peer):
    peers = {"identity": peer.address, "contacts": peer.address}
    return serve_explained(service(), peers=peers)


@pytest.fixture(scope="module")
def large(running):
    caller = running.caller()
    pipeline = parse_name(caller("CreatePipeline", pipeline={"display_name": "P"}).name, "pipelines/{pipeline}", "name")
    owner = parse_name(caller.user, "users/{user}", "user")
    with running.database.connect() as connection:
        connection.execute(_FILL, {"tenant": caller.tenant, "pipeline": pipeline, "owner": owner, "rows": ROWS})
        connection.execute("ANALYZE")
    caller.pipeline = f"pipelines/{pipeline}"
    return caller


def check(running, ask, most):
    for _ in range(REPEATS):
        found = plans(running, ask)
        assert found
        for plan in found:
            assert plan.whole() & {"opportunities"} == set(), str(plan)
            assert plan.rows() <= most, str(plan)


@pytest.mark.parametrize("group_by", [0, 1, 2])
@pytest.mark.parametrize("scope", ["all", "own"])
def test_roll_up_reads_the_period_only(running, large, group_by, scope):
    caller = large if scope == "all" else large.colleague("*:own", user=large.user)
    asked = {"period": 2, "group_by": group_by, "date": {"year": DAY.year, "month": DAY.month, "day": DAY.day}}
    # A quarter has 91 of 1,200 days: 760 open ones, and as many that were won;
    # a bitmap of an index counts its entries once more, and so do the groups, which are as many as the deals here.
    check(running, lambda: caller("RollUpForecast", **asked), 8000)


def test_reports_read_their_days_only(running, large):
    days = {"start_date": {"year": 2026, "month": 5, "day": 1}, "end_date": {"year": 2026, "month": 5, "day": 31}}
    check(running, lambda: large("ShowFunnel", pipeline=large.pipeline, **days), 4000)
    check(running, lambda: large("AnalyzeOutcomes", group_by=1, **days), 2000)


def test_recommendations_read_the_customer_only(running, large):
    of = f"accounts/{uuid7()}"
    check(running, lambda: large("RecommendProducts", account=of), 100)
    check(running, lambda: large("FindSimilarAccounts", account=of), 100)


@pytest.mark.parametrize("scope", ["all", "own"])
def test_bridge_reads_its_two_snapshots_only(running, large, scope):
    caller = large if scope == "all" else large.colleague("*:own", user=large.user)
    taken = [large("CreateForecastSnapshot", forecast_snapshot={}).name for _ in range(6)]
    with running.database.connect() as connection:
        connection.execute("ANALYZE forecast_deals")
    asked = {"from_snapshot": taken[0], "to_snapshot": taken[1], "period": 2}
    for _ in range(REPEATS):
        found = plans(running, lambda: caller("BridgeForecast", **asked))
        assert found
        for plan in found:
            assert plan.whole() & {"forecast_deals"} == set(), str(plan)
