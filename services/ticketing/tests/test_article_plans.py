"""No list, search, suggestion or assignment reads the whole of a table, with 20,000 articles, attachments and tickets."""

from __future__ import annotations

from functools import partial

import pytest

from kontor_kit.ids import parse_name, uuid7
from kontor_kit.testing.plans import plans
from kontor_kit.tracing import start_span
from kontor_ticketing.articles.table import ARTICLE
from kontor_ticketing.attachments.table import ATTACHMENT
from kontor_ticketing.queues import rules
from kontor_ticketing.service import service
from kontor_ticketing.ticket_states.rules import NEW

pytestmark = pytest.mark.timeout(300)  # for the rows, where the machine is busy

ROWS = 20_000
REPEATS = 7
"""PostgreSQL looks for a plan that fits all values at the sixth time."""
TABLES = {"articles", "article_words", "article_votes", "attachments", "terms", "tickets"}
ID = "00000000-0000-0000-0000-000000000007"
LATER = "> 2030-01-01T00:00:00Z"
FILTERS = {
    "title": 'title = "matter 4711"',
    "state": "state = STATE_ARCHIVED",
    "visibility": "visibility = VISIBILITY_UNSPECIFIED",
    "category": 'category = "category 7"',
    "language_code": "language_code = rm",
    "keywords": 'keywords:"keyword 7"',
    "products": f"products:products/{ID}",
    "publish_time": f"publish_time {LATER}",
    "create_time": f"create_time {LATER}",
    "update_time": f"update_time {LATER}",
}
ATTACHMENT_FILTERS = {
    "ticket": "ticket = {ticket}",
    "visibility": "visibility = VISIBILITY_UNSPECIFIED",
    "create_time": f"create_time {LATER}",
    "update_time": f"update_time {LATER}",
}
_ARTICLES = """
INSERT INTO articles (tenant_id, id, version, create_time, update_time, title, title_key, body, state, visibility,
    category, language_code, helpful_count, unhelpful_count, search_text)
SELECT %(tenant)s, (lpad(to_hex(1700000000000 + n), 12, '0') || '7000a000' || lpad(to_hex(n), 12, '0'))::uuid, 1, at, at,
    'Matter ' || n, 'matter ' || n, 'Well', CASE n %% 10 WHEN 0 THEN 1 ELSE 2 END, CASE n %% 20 WHEN 1 THEN 2 ELSE 1 END,
    'category ' || n %% 100, 'de', n %% 50, 0, 'matter ' || n
FROM generate_series(1, %(rows)s) n, LATERAL (SELECT '2025-01-01Z'::timestamptz + n * interval '1 min' AS at) x
"""
_WORDS = """
INSERT INTO article_words (tenant_id, article, words)
SELECT tenant_id, id, to_tsvector('german', title || ' printer' || helpful_count) FROM articles
WHERE tenant_id = %(tenant)s
"""
_TERMS = """
INSERT INTO terms (tenant_id, term, id)
SELECT tenant_id, 'articles.keywords=keyword ' || helpful_count, id FROM articles WHERE tenant_id = %(tenant)s
"""
_TICKETS = """
INSERT INTO tickets (tenant_id, id, version, create_time, update_time, owner, number, number_key, subject, subject_key,
    type, category, impact, urgency, state, priority, queue, channel, reopen_count, search_text)
SELECT %(tenant)s, (lpad(to_hex(1700000000000 + n), 12, '0') || '7000a000' || lpad(to_hex(n), 12, '0'))::uuid, 1, now(),
    now(), CASE WHEN n %% 100 > 0 THEN %(owner)s END, 'T' || n, 't' || n, 'x', 'x', 1,
    CASE n %% 200 WHEN 1 THEN 2 WHEN 100 THEN 2 ELSE 4 END, 2, 2, %(state)s, 2, %(queue)s, 1, 0, 'x'
FROM generate_series(1, %(rows)s) n
"""
_ATTACHMENTS = """
INSERT INTO attachments (tenant_id, id, version, create_time, update_time, ticket, visibility, filename, content_type,
    size_bytes, sha256, author)
SELECT tenant_id, id, 1, create_time, update_time, id, 1, 'a', 'text/plain', 1, '', 'users/somebody'
FROM tickets WHERE tenant_id = %(tenant)s
"""


@pytest.fixture(scope="module")
def running(serve_explained, peer):
    return serve_explained(service(), peers={"identity": peer.address})


@pytest.fixture(scope="module")
def queue(large):
    return large("ListQueues").queues[0].name


@pytest.fixture(scope="module")
def large(running):
    """Somebody who may do everything in a tenant with much of all, beside another with as much."""
    caller, other = running.caller(), running.caller()
    for one in (caller, other):
        state = one("CreateTicketState", ticket_state={"display_name": "New", "category": NEW}).name
        members = [{"user": one.user}, *({"user": f"users/{uuid7()}"} for _ in range(20))]
        queue = {"display_name": "All", "members": members, "assignment": rules.LEAST_LOADED}
        parameters = {
            "tenant": one.tenant,
            "state": parse_name(state, "ticketStates/{ticket_state}", "name"),
            "queue": parse_name(one("CreateQueue", queue=queue).name, "queues/{queue}", "name"),
            "owner": parse_name(one.user, "users/{user}", "user"),
            "rows": ROWS,
        }
        with running.database.connect() as connection:
            for statement in (_ARTICLES, _WORDS, _TERMS, _TICKETS, _ATTACHMENTS):
                connection.execute(statement, parameters)
    with running.database.connect() as connection:
        connection.execute("VACUUM ANALYZE")
    return caller


def check(running, ask, most):
    for _ in range(REPEATS):
        found = plans(running, ask)
        assert found
        for plan in found:
            assert plan.whole() & TABLES == set(), str(plan)
            assert plan.rows() <= most, str(plan)


def readers(large):
    """Yield everybody who sees another part of the articles."""
    yield large
    for scope in ("all", "own"):
        yield large.colleague(f"ticketing.articles.read:{scope}")


@pytest.mark.parametrize("direction", ["", " desc"])
def test_list_in_every_order(running, large, direction):
    for order in ARTICLE.order_columns:
        for reader in readers(large):
            check(running, partial(reader, "ListArticles", order_by=f"{order}{direction}"), most=4_000)
    for order in ATTACHMENT.order_columns:
        check(running, partial(large, "ListAttachments", order_by=f"{order}{direction}"), most=2_000)


def test_list_by_every_filter(running, large):
    assert ARTICLE.filter_fields.fields.keys() == FILTERS.keys()
    for text in FILTERS.values():
        check(running, partial(large, "ListArticles", filter=text), most=2_000)
    assert ATTACHMENT.filter_fields.fields.keys() == ATTACHMENT_FILTERS.keys()
    ticket = large("ListTickets", page_size=1).tickets[0].name
    for text in ATTACHMENT_FILTERS.values():
        check(running, partial(large, "ListAttachments", filter=text.format(ticket=ticket)), most=500)


@pytest.mark.parametrize("query", ["matter 4711", "mater 4711"])
def test_search(running, large, query):
    for reader in readers(large):
        check(running, partial(reader, "SearchArticles", query=query), most=30_000)


def test_suggest(running, large):
    for reader in readers(large):
        check(running, partial(reader, "SuggestArticles", query="My printer7 is broken"), most=3_000)


def test_assign_what_comes_and_what_waits(running, large, queue):
    """The member has 100 tickets to do, and 100 wait; all others are solved."""
    create = partial(large, "CreateTicket", ticket={"subject": "x", "queue": queue})
    for _ in range(REPEATS):
        found = plans(running, create)
        asked = [plan for plan in found if "count(*)" in plan.query and "tickets" in plan.query]
        assert len(asked) == 1
        for plan in asked:
            assert plan.whole() & TABLES == set(), str(plan)
            assert plan.rows() <= 500, str(plan)
    records = service().use(running.runtime)["tickets"]
    found = plans(running, lambda: fill(running, records, large, queue))
    (waiting,) = (plan for plan in found if "SKIP LOCKED" in plan.query)
    assert waiting.whole() & TABLES == set(), str(waiting)
    assert waiting.rows() <= 500, str(waiting)


def fill(running, records, caller, queue):
    with running.runtime.database.write(caller.tenant) as tx:
        return records.assigning.fill(tx, start_span(), parse_name(queue, "queues/{queue}", "name"))
