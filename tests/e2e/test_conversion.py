"""Leads are converted, all or nothing and once, though processes are killed at every step of it.

The short form, for each run of the tests, kills the worker of sales and one more, at steps that change from day to day;
with KONTOR_CONVERSION_LONG in the environment every victim is killed at every step (`make conversion-long`).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import tempfile
import time
import uuid
from pathlib import Path

import httpx
import psycopg
import pytest

from kontor_dev import status
from kontor_dev.errors import Refused
from tests.e2e.instance import Instance, eventually
from tests.e2e.rest import Rest

LONG = bool(os.environ.get("KONTOR_CONVERSION_LONG"))
WORKER = "sales-work-1"
VICTIMS = ("sales-serve-1", WORKER, "contacts-serve-1", "identity-serve-1", "postgres")
# What has to be written for the step to end: service and table.
STEPS = {
    "account": ("contacts", "accounts"),
    "contact": ("contacts", "contacts"),
    "affiliation": ("contacts", "affiliations"),
    "opportunity": ("sales", "opportunities"),
    "opt_out": ("contacts", "address_statuses"),
    "finish": ("sales", "leads"),
}
SECONDS = 30.0
"""So long after all are up again it takes at most until everything or nothing is there."""
UP_SECONDS = 60.0
TARGETS = {"account": {}, "contact": {}, "opportunity": {}}

pytestmark = pytest.mark.timeout(3600 if LONG else 300)


@pytest.fixture(scope="module")
def instance():
    # A folder that every user can enter, which tmp_path is not.
    with tempfile.TemporaryDirectory(prefix="kontor-conversion-") as path:
        Path(path).chmod(0o755)
        made = Instance(Path(path) / "data", "--no-demo", "--services", "contacts,sales")
        made.start()
        yield made
        made.clear_away()


@pytest.fixture(scope="module")
def platform(instance):
    return instance.platform


@pytest.fixture(scope="module")
def rest(platform):
    with Rest(platform) as client:
        yield client


def rows(platform):
    """Return how the processes are, by name; nothing where the supervisor is too busy to say."""
    with contextlib.suppress(Refused, OSError):
        return {row["name"]: row for row in status.rows(platform.folder)}
    return {}


def kill(platform, victim):
    """Kill a process, and return when another one is in its place and all serve."""
    pid = rows(platform)[victim]["pid"]
    os.kill(pid, signal.SIGKILL)

    def are_up():
        found = rows(platform)
        return (
            found and found[victim]["pid"] not in (None, pid) and {r["health"] for r in found.values()} == {"SERVING"}
        )

    eventually(are_up, UP_SECONDS)


@contextlib.contextmanager
def held(platform, step):
    """Hold up what writes for a step, as long as the database lives."""
    service, table = STEPS[step]
    connection = psycopg.connect(platform.database_url(service))
    try:
        connection.execute(f"LOCK TABLE {table} IN SHARE MODE")
        yield
    finally:
        connection.close()


def is_held(platform, step):
    """Tell whether somebody waits to write for a step."""
    service, table = STEPS[step]
    with psycopg.connect(platform.database_url(service)) as connection:
        query = "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = %s::regclass AND NOT granted)"
        return connection.execute(query, [table]).fetchone()[0]


def qualified_lead(rest, name):
    address = f"{name}@conversion.example"
    lead = rest("POST", "leads", {"familyName": name, "company": name, "email": address, "emailOptedOut": True})
    return rest("POST", f"{lead['name']}:qualify", {})["name"]


def repeated(rest, method, path, body, **headers):
    """Send a request until there is an answer, which repeats nothing."""

    def send():
        with contextlib.suppress(httpx.TransportError):
            answer = rest.send(method, path, body, headers=headers)
            return answer.json() if answer.status_code == 200 else None
        return None

    return eventually(send, UP_SECONDS)


def ended(rest, operation):
    """Return the operation once it has ended."""

    def found():
        with contextlib.suppress(httpx.TransportError):
            answer = rest.send("GET", operation)
            return answer.json() if answer.status_code == 200 and answer.json().get("done") else None
        return None

    return eventually(found, SECONDS)


def made_of(rest, name):
    """Return what was made of a lead, by kind."""
    address = f"{name}@conversion.example"
    contacts = rest.all("contacts", filter=f'emails.address:"{address}"')
    return {
        "account": rest.all("accounts", filter=f'display_name = "{name}"'),
        "contact": contacts,
        "affiliation": [
            each for contact in contacts for each in rest.all("affiliations", filter=f"contact = {contact['name']}")
        ],
        "opportunity": rest.all("opportunities", filter=f'display_name = "{name} - {name}"'),
    }


def judge(rest, lead, name, operation):
    """Assert that everything is there, once, or nothing."""
    made = made_of(rest, name)
    record = rest("GET", lead)
    if "response" in operation:
        assert record["state"] == "STATE_CONVERTED"
        assert {kind: len(found) for kind, found in made.items()} == dict.fromkeys(made, 1)
        for kind in TARGETS:
            assert record[kind] == operation["response"][kind] == made[kind][0]["name"]
        assert made["contact"][0]["emails"][0]["optedOut"]
    else:
        assert record["state"] == "STATE_QUALIFIED"
        assert {kind: len(found) for kind, found in made.items()} == dict.fromkeys(made, 0)
    again = rest("POST", f"{lead}:convert", TARGETS)
    assert "response" not in operation or again["response"] == operation["response"]


ALL = [*itertools.product(VICTIMS, STEPS)]


def chosen():
    """Return victims and steps."""
    if LONG:
        return ALL
    day = time.gmtime().tm_yday
    others = [pair for pair in ALL if pair[0] != WORKER]
    return [(WORKER, [*STEPS][day % len(STEPS)]), others[day % len(others)]]


def test_everything_or_nothing_is_there_whoever_is_killed(platform, rest):
    longest = 0.0
    for victim, step in chosen():
        name = f"c{uuid.uuid4().hex[:10]}"
        lead = qualified_lead(rest, name)
        begun = repeated(rest, "POST", f"{lead}:convert", TARGETS, **{"idempotency-key": name})
        with held(platform, step):
            eventually(lambda: is_held(platform, step) or rest("GET", begun["name"]).get("done"), 20)  # noqa: B023
            kill(platform, victim)
        since = time.monotonic()
        operation = ended(rest, begun["name"])
        taken = time.monotonic() - since
        longest = max(longest, taken)
        judge(rest, lead, name, operation)
        print(f"{victim:<18} {step:<12} {taken:4.1f} s")  # the long form is looked at
        assert repeated(rest, "POST", f"{lead}:convert", TARGETS, **{"idempotency-key": name}) == begun
    print(f"the longest took {longest:.1f} s after all were up again")


def test_lead_shows_that_it_is_converted_now(platform, rest):
    name = f"c{uuid.uuid4().hex[:10]}"
    lead = qualified_lead(rest, name)
    # Nobody writes there to see whether it could be done.
    with held(platform, "affiliation"):
        begun = rest("POST", f"{lead}:convert", TARGETS)
        eventually(lambda: is_held(platform, "affiliation"), UP_SECONDS)
        assert rest("GET", lead)["state"] == "STATE_CONVERTING"
        refused = rest("PATCH", lead, {"familyName": "X"}, status=400)
        assert "LEAD_CONVERTING" in str(refused)
    judge(rest, lead, name, ended(rest, begun["name"]))
