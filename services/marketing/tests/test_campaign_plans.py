"""No list, filter, count or claim of templates, campaigns and recipients reads the whole of a table."""

from __future__ import annotations

import uuid

import pytest

from kontor_kit.testing.plans import plans
from kontor_marketing.campaigns.table import CAMPAIGN, RUNNING_WITH
from kontor_marketing.recipients.sending import _CLAIM, _LEFT
from kontor_marketing.recipients.table import CAMPAIGN_RECIPIENT
from kontor_marketing.service import service
from kontor_marketing.templates.table import TEMPLATE

pytestmark = pytest.mark.timeout(300)  # for the rows, where the machine is busy

ROWS = 20_000
REPEATS = 7
"""PostgreSQL looks for a plan that fits all values at the sixth time."""
MOST = 2_500
NOBODY = "00000000-0000-0000-0000-000000000007"
RESOURCES = {"Templates": TEMPLATE, "Campaigns": CAMPAIGN, "CampaignRecipients": CAMPAIGN_RECIPIENT}
FILTERS = {
    "campaign": "campaign = {campaign}",
    "create_time": "create_time > 2030-01-01T00:00:00Z",
    "decision": "decision = DECISION_TEMPLATE_FAILED",
    "display_name": "display_name = 'name 4711'",
    "owner": f"owner = users/{NOBODY}",
    "party": f"party = parties/{NOBODY}",
    "schedule_time": "schedule_time > 2030-01-01T00:00:00Z",
    "state": "state = STATE_UNSPECIFIED",
    "tags": "tags:'tag 7'",
    "team": f"team = teams/{NOBODY}",
    "template": f"template = templates/{NOBODY}",
    "topic": f"topic = topics/{NOBODY}",
    "update_time": "update_time > 2030-01-01T00:00:00Z",
}
TABLES = {"campaigns", "campaign_recipients", "templates", "template_revisions"}

_KEYS = "tenant_id, id, version, create_time, update_time"
_BASE = "SELECT %(tenant)s, gen_random_uuid(), 1, at, at"
_AT = "FROM generate_series(1, %(rows)s) n, LATERAL (SELECT '2025-01-01Z'::timestamptz + n * interval '1 min' AS at) x"
_TEMPLATES = f"""
INSERT INTO templates ({_KEYS}, display_name, display_name_key, subject, text_body, revision, search_text)
{_BASE}, 'name ' || n, 'name ' || n, 'S', 'T', 1, 'name ' || n {_AT}
"""
_CAMPAIGNS = f"""
INSERT INTO campaigns ({_KEYS}, display_name, display_name_key, topic, template, template_revision,
    include_open_complaints, sender_name, sender_email, max_per_hour, state, search_text, owner, statistics)
{_BASE}, 'name ' || n, 'name ' || n, %(topic)s, %(template)s, 1, false, 'S', 's@example.com', 0, 1, 'name ' || n,
    gen_random_uuid(), '{{}}' {_AT}
"""
_SENDING = """
UPDATE campaigns SET state = 4, statistics = NULL WHERE id IN (SELECT id FROM campaigns ORDER BY md5(id::text) LIMIT 100)
"""
# Two hundred for each campaign that is being sent; those that wait are due.
_RECIPIENTS = f"""
INSERT INTO campaign_recipients ({_KEYS}, campaign, party, email, address_key, state, decision, attempts)
SELECT tenant_id, gen_random_uuid(), 1, now(), now(), id, gen_random_uuid(), 'p' || n, 'p' || n, 1 + n % 4, 1 + n % 13, 0
FROM campaigns, generate_series(1, 200) n WHERE state = 4 ORDER BY id, n
"""


@pytest.fixture(scope="module")
def running(serve_explained):
    return serve_explained(service(), smtp_url="smtp://127.0.0.1:1")


@pytest.fixture(scope="module")
def large(running):
    """Somebody who reaches everything in a tenant with many of all."""
    caller = running.caller()
    topic = caller("CreateTopic", topic={"display_name": "News", "key": "news"}).name
    template = caller("CreateTemplate", template={"display_name": "T", "subject": "S", "text_body": "T"}).name
    given = {"tenant": caller.tenant, "rows": ROWS, "topic": topic[7:], "template": template[10:]}
    with running.database.connect() as connection:
        connection.execute(_TEMPLATES, given)
        connection.execute(_CAMPAIGNS, given)
        connection.execute(_SENDING)
        connection.execute(_RECIPIENTS)
        connection.execute(f"ANALYZE {', '.join(TABLES)}, terms")
        [(id,)] = connection.execute("SELECT id FROM campaigns WHERE state = 4 LIMIT 1").fetchall()
    caller.campaign = f"campaigns/{id}"
    return caller


def check(running, ask, most=MOST):
    for _ in range(REPEATS):
        found = plans(running, ask)
        assert found
        for plan in found:
            assert not plan.whole() & TABLES, str(plan)
            assert plan.rows() <= most, str(plan)


def filters():
    for plural, resource in RESOURCES.items():
        for name in resource.filter_fields.fields:
            yield pytest.param(plural, name, id=f"{plural}-{name}")


@pytest.mark.parametrize(("plural", "name"), list(filters()))
def test_filters_are_served_by_an_index(running, large, plural, name):
    filter = FILTERS[name].format(campaign=large.campaign)
    check(running, lambda: large(f"List{plural}", filter=filter, page_size=50, include_total_size=True))


@pytest.mark.parametrize("plural", RESOURCES)
@pytest.mark.parametrize("descending", ["", " desc"], ids=["up", "down"])
def test_orders_are_served_by_an_index(running, large, plural, descending):
    for name in RESOURCES[plural].order_columns:
        check(running, lambda name=name: large(f"List{plural}", order_by=f"{name}{descending}", page_size=50), 3 * MOST)


@pytest.mark.parametrize("plural", ["Templates", "Campaigns"])
def test_searches_are_served_by_an_index(running, large, plural):
    check(running, lambda: large(f"Search{plural}", query="name 4711"), most=3 * MOST)


def test_numbers_look_at_the_campaign_s_recipients_only(running, large):
    assert large("GetCampaign", name=large.campaign).statistics.total == 200
    check(running, lambda: large("GetCampaign", name=large.campaign))


def test_a_claim_looks_at_what_is_due_only(running, large):
    id = uuid.UUID(large.campaign.partition("/")[2])
    with running.runtime.database.read(large.tenant) as tx:
        given = {"tenant": large.tenant, "id": id}
        assert tx.run(_CLAIM, given)
        assert tx.run(_LEFT, given)

    def claim():
        with running.runtime.database.read(large.tenant) as tx:
            tx.run_all([(_CLAIM, given), (_LEFT, given)])

    check(running, claim, most=50)


def test_whether_a_segment_is_needed_looks_at_campaigns_under_way_only(running, large):
    given = {"tenant": large.tenant, "segment": uuid.UUID(NOBODY)}

    def ask():
        with running.runtime.database.read(large.tenant) as tx:
            assert not tx.run(RUNNING_WITH, given)

    check(running, ask)
