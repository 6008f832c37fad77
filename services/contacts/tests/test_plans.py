"""No list, filter, search or look-up reads the whole of a table, or of a tenant, with 100,000 accounts and contacts."""

from __future__ import annotations

from functools import partial

import pytest

from kontor_contacts.accounts.table import ACCOUNT
from kontor_contacts.contacts.table import CONTACT
from kontor_contacts.service import service
from kontor_kit.ids import parse_name, uuid7
from kontor_kit.testing.plans import plans
from services.contacts.tests import volume

pytestmark = pytest.mark.timeout(300)  # for the rows, where the machine is busy

ROWS = 100_000
MOST = 11_000
"""So many rows may be looked at for a page. To sort what has a custom field's value, a twentieth, takes it twice."""
REPEATS = 7
"""PostgreSQL looks for a plan that fits all values at the sixth time."""

SOMEBODY = "users/0198a000-0000-7000-8000-00000000000a"
FILTERS = {
    "display_name": ['display_name = "{name}"', 'display_name = "{start}*"', 'display_name > "zz"'],
    "given_name": ["given_name = Anna"],
    "family_name": ['family_name = "{family}"', "family_name = Nola*"],
    "roles": ["roles:ROLE_CUSTOMER"],
    "industry": ['industry = "industry 7"'],
    "employee_count": ["employee_count = 42", "employee_count > 4990", "employee_count >= 10 AND employee_count < 20"],
    "parent": ["parent = accounts/01890000-0000-7000-8000-000000000000"],
    "tier": ["tier = TIER_KEY", "tier = TIER_KEY AND tags:'tag 7'"],
    "lifecycle_stage": ["lifecycle_stage = LIFECYCLE_STAGE_LEAD"],
    "emails.address": ["emails.address:'a4711@example.com'", "emails.address:'a4711*'"],
    "phones.number": ["phones.number:'+493012345'"],
    "owner": ["owner = {owner}"],
    "team": ["team = {team}"],
    "collaborators": [f"collaborators:{SOMEBODY}"],
    "tags": ["tags:'tag 7'", "tags:nothing", "tags:'tag 7' AND tags:'tag 8'", "tags:'tag 7' OR tags:'tag 8'"],
    "language_code": ["language_code = de", "language_code = xx"],
    "custom_fields": ["custom_fields.segment = 'segment 7'", "custom_fields.segment > 'segment 9'"],
    "create_time": ["create_time > 2026-01-02T00:00:00Z", "create_time > 2030-01-01T00:00:00Z"],
    "update_time": ["update_time < 2026-01-01T01:00:00Z"],
}
RESOURCES = {"Account": ACCOUNT, "Contact": CONTACT}


@pytest.fixture(scope="module")
def running(serve_explained):
    return serve_explained(service())


@pytest.fixture(scope="module")
def large(running):
    """Somebody who reaches everything in a tenant with many records, beside another with many."""
    caller = running.caller()
    team = uuid7()
    owner = parse_name(caller.user, "users/{user}", "user")
    with running.database.connect() as connection:
        volume.fill(connection, {caller.tenant: ROWS, uuid7(): ROWS // 5}, owner, team)
    for collection in ("accounts", "contacts"):
        definition = {"resource_type": collection, "key": "segment", "display_name": "S", "type": 1, "filterable": True}
        caller("CreateCustomFieldDefinition", custom_field_definition=definition)
    caller.teams = (team,)
    return caller


def check(running, ask, most=MOST, *, may_scan=False):
    for _ in range(REPEATS):
        found = plans(running, ask)
        assert found
        for plan in found:
            assert may_scan or plan.whole() & {*volume.TABLES} == set(), str(plan)
            assert plan.rows() <= most, str(plan)


@pytest.mark.parametrize("kind", RESOURCES)
class TestList:
    @pytest.mark.parametrize("scope", ["all", "team", "own", "nothing"])
    def test_in_every_order(self, running, large, kind, scope):
        caller = {
            "all": lambda: large,
            "team": lambda: large.colleague("*:team", teams=large.teams),
            "own": lambda: large.colleague("*:own", user=large.user),
            "nothing": lambda: large.colleague("*:team", teams=[uuid7()]),
        }[scope]()
        for order in ("", *RESOURCES[kind].order_columns):
            for direction in ("", " desc") if order else ("",):
                first = caller(f"List{kind}s", order_by=f"{order}{direction}")
                for token in ("", first.next_page_token):
                    check(running, lambda: caller(f"List{kind}s", order_by=f"{order}{direction}", page_token=token))  # noqa: B023

    def test_by_every_filter(self, running, large, kind):
        last = large(f"List{kind}s", order_by="display_name desc", page_size=1)
        record = next(iter(last.accounts if kind == "Account" else last.contacts))
        family = "" if kind == "Account" else record.family_name
        values = {"name": record.display_name, "start": record.display_name[:6], "family": family, "owner": large.user,
                  "team": f"teams/{large.teams[0]}"}  # fmt: skip
        fields = RESOURCES[kind].filter_fields.fields
        assert fields.keys() <= FILTERS.keys()
        for path in fields:
            # The latest records are the last in the order of creation, which PostgreSQL does not know: a walk in that
            # order passes all others first. Whoever asks for them asks in the order of time.
            for order in (path if path.endswith("_time") else "", "display_name"):
                for text in FILTERS[path]:
                    # Of two conditions PostgreSQL may take the commoner one first, a fifth here, which it goes through twice.
                    most = 4 * MOST if " AND " in text else MOST
                    ask = partial(large, f"List{kind}s", filter=text.format(**values), order_by=order)
                    check(running, ask, most)

    def test_of_a_small_tenant_reads_nothing_of_the_large_ones(self, running, large, kind):
        small = running.caller()
        small(f"Create{kind}", **{kind.lower(): {"display_name": "A", "tags": ["tag 7"]}})
        for filter_text in ("", "tags:'tag 7'", "language_code = de", "create_time > 2020-01-01T00:00:00Z"):
            for order in ("", "display_name"):
                check(running, lambda: small(f"List{kind}s", filter=filter_text, order_by=order), most=10)  # noqa: B023

    def test_counts_no_further_than_told(self, running, large, kind):
        # Where nearly all rows are the tenant's, the first 10,000 of the table are as good as any.
        check(running, lambda: large(f"List{kind}s", include_total_size=True, page_size=1), most=10_010, may_scan=True)


@pytest.mark.parametrize("kind", RESOURCES)
class TestLookUp:
    def test_get(self, running, large, kind):
        check(running, lambda: large(f"Get{kind}", name=volume.name(f"{kind.lower()}s", 4711)), most=2)

    def test_batch_get(self, running, large, kind):
        names = [volume.name(f"{kind.lower()}s", number) for number in range(1, 501)]
        check(running, lambda: large(f"BatchGet{kind}s", names=names), most=1_100)

    def test_create_update_and_upsert(self, running, large, kind):
        field = kind.lower()
        numbers = iter(range(10**6))

        def create():
            email = f"new{next(numbers)}@example.com"
            record = {"display_name": "Neu", "emails": [{"address": email}], "tags": ["tag 7"]}
            return large(f"Create{kind}", **{field: record}, allow_duplicates=False, request_id=str(uuid7()))

        def update():
            record = {"name": volume.name(f"{field}s", 7), "tags": [f"t {next(numbers)}"]}
            return large(f"Update{kind}", **{field: record})

        def upsert():
            key = {"system": "erp", "key": f"k{next(numbers)}"}
            return large(f"Upsert{kind}", external_id=key, **{field: {"display_name": f"Neu {next(numbers)}"}})

        for ask in (create, update, upsert):
            check(running, ask, most=50)

    def test_suspects(self, running, large, kind):
        if kind == "Contact":
            record = {"display_name": "Somebody", "emails": [{"address": "a4711@example.com"}]}
            check(running, lambda: large.refusal("CreateContact", contact=record), most=20)


@pytest.mark.parametrize("kind", RESOURCES)
@pytest.mark.parametrize(
    "query",
    [
        "{whole}",
        "{fragment}",
        "{family} {other}",
        "{misspelled}",
        "{misspelled} {other}",
        "mu",
        "an be",
        "qq zz",
        "xyzzy",
    ],
)
def test_search(running, large, kind, query):
    record = large(f"Get{kind}", name=volume.name(f"{kind.lower()}s", 4711))
    family = record.display_name.split()[0 if kind == "Account" else 1]
    other = record.display_name.split()[1 if kind == "Account" else 0]
    words = {"whole": record.display_name, "fragment": family[1:6], "family": family, "other": other,
             "misspelled": family[:3] + family[4] + family[3] + family[5:]}  # fmt: skip
    own = large.colleague("*:own", user=large.user)
    for caller in (large, own, running.caller()):
        check(running, lambda: caller(f"Search{kind}s", query=query.format(**words)), most=30_000)  # noqa: B023
