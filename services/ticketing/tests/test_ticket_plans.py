"""No list, filter or search reads the whole of a table, or more than it tells about, with 20,000 tickets and entries."""

from __future__ import annotations

from functools import partial

import pytest

from kontor_kit.ids import parse_name, uuid7
from kontor_kit.testing.plans import plans
from kontor_ticketing.service import service
from kontor_ticketing.ticket_entries.table import TICKET_ENTRY
from kontor_ticketing.ticket_states.rules import NEW
from kontor_ticketing.tickets.table import TICKET

pytestmark = pytest.mark.timeout(300)  # for the rows, where the machine is busy

ROWS = 20_000
OWNERS = 200
OWN = ROWS // OWNERS
REPEATS = 7
"""PostgreSQL looks for a plan that fits all values at the sixth time."""
TABLES = {"tickets", "ticket_entries", "terms"}
ID = "00000000-0000-0000-0000-000000000007"
LATER = "> 2030-01-01T00:00:00Z"
FILTERS = {
    "number": "number = T004711",
    "subject": 'subject = "matter 4711"',
    "type": "type = TYPE_PROBLEM",
    "state": f"state = ticketStates/{ID}",
    "category": "category = TICKET_CATEGORY_CLOSED",
    "impact": "impact = TICKET_LEVEL_HIGH",
    "urgency": "urgency = TICKET_LEVEL_HIGH",
    "priority": "priority = TICKET_PRIORITY_URGENT",
    "requester": f"requester = contacts/{ID}",
    "account": f"account = accounts/{ID}",
    "products": f"products:products/{ID}",
    "queue": f"queue = queues/{ID}",
    "owner": "owner = {owner}",
    "team": "team = {team}",
    "channel": "channel = CHANNEL_CHAT",
    "language_code": "language_code = rm",
    "tags": "tags:'tag 7'",
    "custom_fields": "custom_fields.segment = 'x'",
    "article": f"article = articles/{ID}",
    "previous_ticket": f"previous_ticket = tickets/{ID}",
    "merged_into": f"merged_into = tickets/{ID}",
    "first_answer_time": f"first_answer_time {LATER}",
    "solved_time": f"solved_time {LATER}",
    "closed_time": f"closed_time {LATER}",
    "next_due_time": f"next_due_time {LATER}",
    "clocks.metric": "clocks.metric:METRIC_RESOLUTION",
    "clocks.state": "clocks.state:STATE_BREACHED",
    "sla_terms.policy": f"sla_terms.policy:slaPolicies/{ID}",
    "create_time": f"create_time {LATER}",
    "update_time": f"update_time {LATER}",
}
ENTRY_FILTERS = {
    "ticket": "ticket = {ticket}",
    "visibility": "visibility = VISIBILITY_UNSPECIFIED",
    "direction": "direction = DIRECTION_UNSPECIFIED",
    "contact": f"contact = contacts/{ID}",
    "author": "author = 'users/nobody'",
    "create_time": f"create_time {LATER}",
    "update_time": f"update_time {LATER}",
}

_TICKETS = """
INSERT INTO tickets (tenant_id, id, version, create_time, update_time, owner, team, number, number_key, subject,
    subject_key, type, category, impact, urgency, state, priority, account, channel, language_code, reopen_count,
    search_text)
SELECT %(tenant)s, (lpad(to_hex(1700000000000 + n), 12, '0') || '7000a000' || lpad(to_hex(n), 12, '0'))::uuid, 1, at, at,
    CASE n %% %(owners)s WHEN 0 THEN %(owner)s ELSE lpad(to_hex(n %% %(owners)s), 32, '0')::uuid END,
    CASE n %% 20 WHEN 0 THEN %(team)s END,
    number, lower(number), 'Matter ' || n, 'matter ' || n, 1, 1, 2, 2, %(state)s, 2,
    lpad(to_hex(n %% 977 + 100), 32, '0')::uuid, 1, 'de', 0, lower(number) || ' matter ' || n
FROM generate_series(1, %(rows)s) n,
    LATERAL (SELECT 'T' || lpad(n::text, 6, '0') AS number, '2025-01-01Z'::timestamptz + n * interval '1 min' AS at) x
"""
_ENTRIES = """
INSERT INTO ticket_entries (tenant_id, id, version, create_time, update_time, ticket, visibility, direction, body, author)
SELECT tenant_id, id, 1, create_time, update_time, id, 1, 2, 'Well', 'users/somebody'
FROM tickets WHERE tenant_id = %(tenant)s
"""


@pytest.fixture(scope="module")
def running(serve_explained):
    return serve_explained(service())


@pytest.fixture(scope="module")
def large(running):
    """Somebody who reaches everything in a tenant with many tickets, beside another with many."""
    caller, other = running.caller(), running.caller()
    team = uuid7()
    caller.teams = (team,)
    for one in (caller, other):
        state = one("CreateTicketState", ticket_state={"display_name": "New", "category": NEW}).name
        parameters = {
            "tenant": one.tenant,
            "state": parse_name(state, "ticketStates/{ticket_state}", "name"),
            "owner": parse_name(one.user, "users/{user}", "user"),
            "team": team,
            "owners": OWNERS,
            "rows": ROWS,
        }
        with running.database.connect() as connection:
            connection.execute(_TICKETS, parameters)
            connection.execute(_ENTRIES, parameters)
    with running.database.connect() as connection:
        connection.autocommit = True
        connection.execute("VACUUM ANALYZE tickets")
        connection.execute("VACUUM ANALYZE ticket_entries")
    return caller


def check(running, ask, most):
    for _ in range(REPEATS):
        found = plans(running, ask)
        assert found
        for plan in found:
            assert plan.whole() & TABLES == set(), str(plan)
            assert plan.rows() <= most, str(plan)


def callers(large):
    """Yield who asks, and how many tickets they reach at most."""
    yield large, ROWS
    yield large.colleague("*:team", user=large.user, teams=large.teams), ROWS // 20 + OWN
    yield large.colleague("*:own", user=large.user), OWN
    yield large.colleague("*:own"), 0


@pytest.mark.parametrize("direction", ["", " desc"])
def test_list_in_every_order(running, large, direction):
    for order in TICKET.order_columns:
        check(running, partial(large, "ListTickets", order_by=f"{order}{direction}"), most=2_000)
    for order in TICKET_ENTRY.order_columns:
        check(running, partial(large, "ListTicketEntries", order_by=f"{order}{direction}"), most=2_000)


def test_list_by_every_filter(running, large):
    assert TICKET.filter_fields.fields.keys() == FILTERS.keys()
    values = {"owner": large.user, "team": f"teams/{large.teams[0]}"}
    for path, text in FILTERS.items():
        if path != "custom_fields":  # The tenant has none.
            check(running, partial(large, "ListTickets", filter=text.format(**values)), most=5_000)


def test_list_entries_by_every_filter(running, large):
    assert TICKET_ENTRY.filter_fields.fields.keys() == ENTRY_FILTERS.keys()
    ticket = large("ListTickets", page_size=1).tickets[0].name
    for text in ENTRY_FILTERS.values():
        check(running, partial(large, "ListTicketEntries", filter=text.format(ticket=ticket)), most=1_000)


def test_list_of_what_is_in_reach(running, large):
    for caller, reached in callers(large):
        check(running, partial(caller, "ListTickets"), most=2 * reached + 200)


def test_entries_of_a_ticket_in_reach(running, large):
    for caller, _ in callers(large):
        for found in large("ListTickets", page_size=1, filter=f"owner = {large.user}").tickets:
            check(running, partial(caller, "ListTicketEntries", filter=f"ticket = {found.name}"), most=10)


@pytest.mark.parametrize("query", ["t004711", "4711", "matter 4711", "mater 4711"])
def test_search(running, large, query):
    for caller, _ in callers(large):
        check(running, partial(caller, "SearchTickets", query=query), most=30_000)
