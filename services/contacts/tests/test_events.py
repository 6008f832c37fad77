"""What contacts does when something happens in identity."""

import uuid

import pytest

from kontor.identity.v1 import user_pb2
from kontor_contacts.service import service
from kontor_kit.handing_over import BATCH
from kontor_kit.ids import uuid7
from kontor_kit.testing.telling import teller

DEACTIVATED = user_pb2.User.STATE_DEACTIVATED


@pytest.fixture(scope="module")
def contacts(serve):
    return serve(service())


@pytest.fixture
def tell(contacts):
    """Tell contacts of an event: `tell(caller, kind, user)`; handles it."""
    with teller(contacts, service()) as telling:
        yield lambda caller, kind, user: telling(caller.tenant, f"kontor.identity.v1.user.{kind}", user)


def user_of(caller, state=DEACTIVATED, teams=()):
    return user_pb2.User(name=caller.user, state=state, teams=teams)


def owned(caller, name, **fields):
    return caller(
        "CreateAccount", account={"display_name": name, "owner": caller.user, **fields}, allow_duplicates=True
    ).name


class TestUserDeactivated:
    def test_what_the_user_owned_goes_to_the_team(self, contacts, tell):
        team, other = (f"teams/{uuid7()}" for _ in range(2))
        anna = contacts.caller(teams=[uuid.UUID(team.partition("/")[2])])
        berta = anna.colleague()
        kept, given = owned(anna, "With team", team=other), owned(anna, "Without team")
        contact = anna("CreateContact", contact={"family_name": "Kunz", "owner": anna.user}).name
        foreign = owned(berta, "Berta's")
        tell(anna, "deactivated", user_of(anna, teams=[team]))
        found = [berta("GetAccount", name=name) for name in (kept, given, foreign)]
        assert [(each.owner, each.team) for each in found] == [("", other), ("", team), (berta.user, "")]
        assert berta("GetContact", name=contact).owner == ""
        with contacts.database.connect() as connection:
            query = "SELECT event_type, version, subject FROM change_pending WHERE resource_name = %s ORDER BY sequence"
            *_, last = connection.execute(query, [given])
        assert last == ("kontor.contacts.v1.account.updated", 2, "services/contacts")

    def test_many_records_are_handed_over_in_batches(self, contacts, tell):
        anna = contacts.caller()
        owned(anna, "Model")
        with contacts.database.connect() as connection:
            # A hundred and more by the API would take longer than all other tests.
            columns = [row.name for row in connection.execute("SELECT * FROM accounts LIMIT 0").description]
            others = ", ".join(name for name in columns if name != "id")
            connection.execute(
                f"INSERT INTO accounts (id, {others}) SELECT gen_random_uuid(), {others} FROM accounts,"
                f" generate_series(1, {BATCH + 20}) WHERE tenant_id = %s",
                [anna.tenant],
            )
            tell(anna, "deactivated", user_of(anna))
            query = "SELECT count(*), count(owner), min(version) FROM accounts WHERE tenant_id = %s"
            assert connection.execute(query, [anna.tenant]).fetchone() == (BATCH + 21, 0, 2)

    def test_a_record_that_holds_to_the_rules_no_more_is_handed_over_with_the_others(self, contacts, tell):
        anna = contacts.caller()
        names = [owned(anna, f"Account {number}") for number in range(3)]
        with contacts.database.connect() as connection:
            broken = "UPDATE accounts SET display_name = '', website = 'no website' WHERE display_name = 'Account 1'"
            connection.execute(f"{broken} AND tenant_id = %s", [anna.tenant])
        tell(anna, "deactivated", user_of(anna))
        assert [anna("GetAccount", name=name).owner for name in names] == ["", "", ""]

    def test_deleted_records_come_back_without_the_owner(self, contacts, tell):
        anna = contacts.caller()
        name = owned(anna, "Deleted")
        anna("DeleteAccount", name=name)
        tell(anna, "deactivated", user_of(anna))
        assert anna("UndeleteAccount", name=name).owner == ""

    def test_a_snapshot_counts_where_the_user_is_shut_out(self, contacts, tell):
        anna = contacts.caller()
        name = owned(anna, "Anna's")
        tell(anna, "snapshot", user_of(anna, state=user_pb2.User.STATE_ACTIVE))
        assert anna("GetAccount", name=name).owner == anna.user
        tell(anna, "snapshot", user_of(anna))
        assert anna("GetAccount", name=name).owner == ""

    def test_nothing_happens_in_another_tenant(self, contacts, tell):
        anna = contacts.caller()
        name = owned(anna, "Anna's")
        tell(contacts.caller(), "deactivated", user_of(anna))
        assert anna("GetAccount", name=name).owner == anna.user
