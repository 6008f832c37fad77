"""No list, filter, look-up or evaluation reads the whole of a table, with 20,000 parties in a tenant."""

from __future__ import annotations

import uuid
from functools import partial

import pytest

from kontor_kit.ids import parse_name, uuid7
from kontor_kit.operations.runner import Runner
from kontor_kit.testing.plans import plans
from kontor_kit.tracing import start_span
from kontor_marketing.parties.table import PARTY, facts
from kontor_marketing.segments.api import EVALUATE
from kontor_marketing.segments.table import SEGMENT_MEMBERSHIP, members, within
from kontor_marketing.service import service
from kontor_marketing.subscriptions.table import SUBSCRIPTION
from kontor_marketing.suppressions.table import SUPPRESSION

pytestmark = pytest.mark.timeout(300)  # for the rows, where the machine is busy

ROWS = 20_000
OWNERS = 200
MOST = 5_000
"""So many rows may be looked at for a page: the rarest of what is asked for here has a hundred."""
REPEATS = 7
"""PostgreSQL looks for a plan that fits all values at the sixth time."""
TABLES = {
    "parties",
    "terms",
    "party_addresses",
    "subscriptions",
    "suppressions",
    "segment_memberships",
    "segment_picks",
    "known_affiliations",
    "known_statuses",
    "known_tickets",
}
NOBODY = "00000000-0000-0000-0000-000000000007"
PARTIES = {
    "display_name": 'display_name = "party 4711"',
    "emails.address": "emails.address:a4711@example.com",
    "language_code": "language_code = xx",
    "country": "country = FR",
    "lifecycle_stage": "lifecycle_stage = LIFECYCLE_STAGE_EVANGELIST",
    "account": f"account = accounts/{NOBODY}",
    "industry": 'industry = "Industry 7"',
    "tier": "tier = TIER_KEY",
    "roles": "roles:ROLE_MEDIA",
    "account_country": "account_country = FR",
    "tags": "tags:'tag 7'",
    "open_complaints": "open_complaints > 0",
    "owner": "owner = {owner}",
    "team": "team = {team}",
    "create_time": "create_time > 2030-01-01T00:00:00Z",
    "update_time": "update_time > 2030-01-01T00:00:00Z",
}
SUBSCRIPTIONS = {
    "party": f"party = parties/{NOBODY}",
    "topic": "topic = {topic} AND state = STATE_OPTED_OUT",
    "state": "state = STATE_OPTED_OUT",
    "legal_basis": "legal_basis = LEGAL_BASIS_CONTRACT",
    "source": "source = fair",
    "state_time": "state_time > 2030-01-01T00:00:00Z",
    "create_time": "create_time > 2030-01-01T00:00:00Z",
    "update_time": "update_time > 2030-01-01T00:00:00Z",
}
SUPPRESSIONS = {
    "party": f"party = parties/{NOBODY}",
    "address": "address = 'a4711@example.com'",
    "channel": "channel = CHANNEL_POST",
    "reason": "reason = REASON_ERASED",
    "end_time": "end_time > 2020-01-01T00:00:00Z",
    "create_time": "create_time > 2030-01-01T00:00:00Z",
    "update_time": "update_time > 2030-01-01T00:00:00Z",
}
MEMBERSHIPS = {
    "segment": "segment = {segment}",
    "party": f"party = parties/{NOBODY}",
    "enter_time": "enter_time > 2030-01-01T00:00:00Z",
    "leave_time": "leave_time > 2020-01-01T00:00:00Z",
}
_PARTIES = """
INSERT INTO parties (tenant_id, id, version, create_time, update_time, owner, team, contact, contact_version,
    display_name, display_name_key, emails, language_code, country, lifecycle_stage, industry, account_country, tier,
    open_complaints, search_text, account)
SELECT %(tenant)s, id, 1, at, at,
    CASE n %% %(owners)s WHEN 0 THEN %(owner)s ELSE lpad(to_hex(n %% %(owners)s), 32, '0')::uuid END,
    CASE n %% 50 WHEN 0 THEN %(team)s END, id, 1, 'Party ' || n, 'party ' || n,
    jsonb_build_array(jsonb_build_object('address', 'a' || n || '@example.com')),
    'l' || n %% 99, CASE n %% 100 WHEN 0 THEN 'FR' ELSE 'DE' END, CASE n %% 100 WHEN 0 THEN 60 ELSE 10 END,
    'Industry ' || n %% 50, CASE n %% 100 WHEN 0 THEN 'FR' ELSE 'DE' END, CASE n %% 100 WHEN 0 THEN 2 ELSE 3 END,
    CASE n %% 100 WHEN 0 THEN 1 ELSE 0 END, 'party ' || n, lpad(to_hex(9000 + n %% 999), 32, '0')::uuid
FROM generate_series(1, %(rows)s) n,
    LATERAL (SELECT '2025-01-01Z'::timestamptz + n * interval '1 min' AS at,
        (lpad(to_hex(1700000000000 + n), 12, '0') || '7000a000' || lpad(to_hex(n), 12, '0'))::uuid AS id) x
"""
_REST = (
    "INSERT INTO party_addresses SELECT tenant_id, emails -> 0 ->> 'address', id FROM parties WHERE tenant_id = %(tenant)s",
    (
        "INSERT INTO terms SELECT tenant_id, 'parties.emails.address=' || address, party FROM party_addresses"
        " WHERE tenant_id = %(tenant)s"
    ),
    (
        "INSERT INTO terms SELECT tenant_id, 'parties.tags=tag ' || right(display_name, 2)::int, id FROM parties"
        " WHERE tenant_id = %(tenant)s AND display_name ~ '[0-9]{2}$'"
    ),
    "INSERT INTO terms SELECT tenant_id, 'parties.tags=all', id FROM parties WHERE tenant_id = %(tenant)s",
    (
        "INSERT INTO terms SELECT tenant_id, 'parties.roles=role_media', id FROM parties"
        " WHERE tenant_id = %(tenant)s AND country = 'FR'"
    ),
    (
        "INSERT INTO subscriptions (tenant_id, id, version, create_time, update_time, party, topic, state, legal_basis,"
        " source, state_time) SELECT tenant_id, id, 1, create_time, create_time, id, %(topic)s,"
        " CASE country WHEN 'FR' THEN 3 ELSE 2 END, CASE country WHEN 'FR' THEN 2 ELSE 1 END,"
        " CASE country WHEN 'FR' THEN 'fair' ELSE 'form' END, create_time FROM parties WHERE tenant_id = %(tenant)s"
    ),
    (
        "INSERT INTO suppressions (tenant_id, id, version, create_time, update_time, party, address, channel, reason,"
        " start_time, end_time) SELECT p.tenant_id, p.id, 1, p.create_time, p.create_time, p.id, a.address,"
        " CASE country WHEN 'FR' THEN 3 ELSE 1 END, CASE country WHEN 'FR' THEN 50 ELSE 10 END, p.create_time,"
        " CASE country WHEN 'FR' THEN '2025-06-01Z'::timestamptz END FROM parties p"
        " JOIN party_addresses a ON a.tenant_id = p.tenant_id AND a.party = p.id WHERE p.tenant_id = %(tenant)s"
    ),
    (
        "INSERT INTO known_statuses (tenant_id, status, version, live, address, invalid, opted_out)"
        " SELECT tenant_id, party, 1, true, address, false, false FROM party_addresses WHERE tenant_id = %(tenant)s"
    ),
    (
        'INSERT INTO known_affiliations (tenant_id, affiliation, version, live, contact, account, "primary")'
        " SELECT tenant_id, id, 1, true, id, account, true FROM parties WHERE tenant_id = %(tenant)s"
    ),
    (
        "INSERT INTO known_tickets (tenant_id, ticket, version, complains, contact, account)"
        " SELECT tenant_id, id, 1, open_complaints > 0, id, account FROM parties WHERE tenant_id = %(tenant)s"
    ),
    (
        "INSERT INTO segment_picks (tenant_id, segment, party) SELECT tenant_id, %(topic)s, id FROM parties"
        " WHERE tenant_id = %(tenant)s"
    ),
    (
        "INSERT INTO segment_memberships (tenant_id, id, version, create_time, update_time, segment, party, enter_time,"
        " leave_time) SELECT tenant_id, id, 1, create_time, create_time, lpad(to_hex(n), 32, '0')::uuid, id, create_time,"
        " CASE country WHEN 'FR' THEN '2025-06-01Z'::timestamptz END"
        " FROM (SELECT *, 1 + row_number() OVER () %% 100 AS n FROM parties WHERE tenant_id = %(tenant)s) p"
    ),
)


@pytest.fixture(scope="module")
def running(serve_explained):
    return serve_explained(service())


@pytest.fixture(scope="module")
def large(running):
    """Somebody who reaches everything in a tenant with many parties, beside another with many."""
    caller, team = running.caller(), uuid7()
    caller.teams = (team,)
    owner = parse_name(caller.user, "users/{user}", "user")
    other = running.caller()
    with running.database.connect() as connection:
        for each in (caller, other):
            topic = each("CreateTopic", topic={"display_name": "News", "key": "news"}).name
            given = {"tenant": each.tenant, "rows": ROWS, "owners": OWNERS, "owner": owner, "team": team}
            given["topic"] = uuid.UUID(topic.rpartition("/")[2])
            connection.execute(_PARTIES, given)
            for statement in _REST:
                connection.execute(statement, given)
        connection.execute(f"ANALYZE {', '.join(TABLES)}")
    return caller


@pytest.fixture(scope="module")
def names(large):
    topic = large("ListTopics").topics[0].name
    return {
        "owner": large.user,
        "team": f"teams/{large.teams[0]}",
        "topic": topic,
        "segment": f"segments/{uuid.UUID(int=5)}",
    }


def check(running, ask, most=MOST):
    for _ in range(REPEATS):
        found = plans(running, ask)
        assert found
        for plan in found:
            assert plan.whole() & TABLES == set(), str(plan)
            assert plan.rows() <= most, str(plan)


@pytest.mark.parametrize("scope", ["all", "team", "own"])
def test_parties_in_every_order(running, large, scope):
    caller = {
        "all": lambda: large,
        "team": lambda: large.colleague("*:team", teams=large.teams),
        "own": lambda: large.colleague("*:own", user=large.user),
    }[scope]()
    for order in ("", *PARTY.order_columns):
        for direction in ("", " desc") if order else ("",):
            check(running, partial(caller, "ListParties", order_by=f"{order}{direction}"))


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        *(("Parties", path) for path in PARTIES),
        *(("Subscriptions", path) for path in SUBSCRIPTIONS),
        *(("Suppressions", path) for path in SUPPRESSIONS),
        *(("SegmentMemberships", path) for path in MEMBERSHIPS),
    ],
)
def test_lists_by_every_filter(running, large, names, kind, path):
    filters = {
        "Parties": PARTIES,
        "Subscriptions": SUBSCRIPTIONS,
        "Suppressions": SUPPRESSIONS,
        "SegmentMemberships": MEMBERSHIPS,
    }
    text = filters[kind][path].format(**names)
    check(running, partial(large, f"List{kind}", filter=text, page_size=20))


@pytest.mark.parametrize(
    ("resource", "filters"),
    [(PARTY, PARTIES), (SUBSCRIPTION, SUBSCRIPTIONS), (SUPPRESSION, SUPPRESSIONS), (SEGMENT_MEMBERSHIP, MEMBERSHIPS)],
    ids=["parties", "subscriptions", "suppressions", "segment-memberships"],
)
def test_every_filter_is_looked_at(resource, filters):
    assert set(resource.filter_fields.fields) == set(filters)


def test_search_and_what_is_known_of_addresses(running, large):
    check(running, partial(large, "SearchParties", query="party 4711"), 30_000)


def test_what_the_gate_and_campaigns_ask(running, large, names):
    topic, segment = (uuid.UUID(names[kind].rpartition("/")[2]) for kind in ("topic", "segment"))
    some = [parse_name(each.name, PARTY.pattern, "name") for each in large("ListParties", page_size=100).parties]

    def ask():
        with running.runtime.database.read(large.tenant) as tx:
            assert len(facts(tx, some, topic)) == 100
            assert len(members(tx, segment, size=100)) == 100
            within(tx, [segment], some)

    check(running, ask, 2_000)


def test_members_are_found_by_the_segment(running, large, names):
    check(running, partial(large, "ListSegmentMembers", name=_segment(running, large), include_total_size=True), 2_000)


@pytest.fixture(scope="module")
def ruled(large):
    """Segments whose rules describe nearly everybody."""
    rules = ("tags:all", "tags:all AND country = DE", "country = DE OR tier = TIER_KEY", "emails.address:a*")
    asked = [{"segment": {"display_name": text, "kind": 2, "filter": text}} for text in rules]
    return large("BatchCreateSegments", requests=asked).segments


def test_party_that_changes_is_evaluated_alone(running, large, ruled):
    """Against all rules, however many the rules describe."""
    records = service().use(running.runtime)
    some = [parse_name(each.name, PARTY.pattern, "name") for each in large("ListParties", page_size=3).parties]

    def evaluate():
        with running.runtime.database.write(large.tenant) as tx:
            records["segments"].follow(tx, start_span(), some)

    check(running, evaluate, 1_000)


def test_rule_is_evaluated_in_batches(running, large, ruled):
    database, system = running.runtime.database, running.runtime.system
    records = service().use(running.runtime)
    runner = Runner("marketing.kontor", [EVALUATE], system=system, database=database, service=records)
    for plan in plans(running, runner.work_once):
        # Once it is counted how many there are.
        assert plan.rows() <= MOST or "count(*)" in plan.query, str(plan)
    assert large("GetOperation", name=ruled[0].evaluation).done
    assert large("ListSegmentMembers", name=ruled[0].name, include_total_size=True).total_size == 10_001


def _segment(running, large):
    """Return a segment of whose members some were put there behind its back."""
    made = large("CreateSegment", segment={"display_name": "Some", "kind": 1}).name
    with running.database.connect() as connection:
        connection.execute(
            "UPDATE segment_memberships SET segment = %s WHERE tenant_id = %s AND segment = %s",
            [made.rpartition("/")[2], large.tenant, uuid.UUID(int=9)],
        )
    return made
