"""What is new on the platform reaches the standard roles of tenants that were there before, but no role of their own."""

import uuid

import pytest

from kontor_identity.commands import own_call
from kontor_identity.permissions import known_permissions
from kontor_identity.roles.api import Roles
from kontor_identity.standard_roles import StandardRoles
from kontor_identity.tables import metadata
from kontor_kit.pages import PageTokens
from kontor_kit.principals import PLATFORM_TENANT
from kontor_kit.shared import Shared
from services.identity.tests.conftest import KEY

NEW = {"brewery.beers.read", "brewery.beers.create", "brewery.operations.read"}


@pytest.fixture
def refresh(platform):
    """Bring the roles up to date, as a version does that knows the permissions NEW too."""
    database = platform.app_database
    shared = Shared.of("identity.kontor", metadata, database=database, page_tokens=PageTokens(KEY))

    def refresh(new=NEW):
        known = known_permissions() | new
        return StandardRoles(database, Roles(shared, known), known, own_call).refresh()

    return refresh


def grants(platform, name, tenant=None):
    [(found,)] = platform.run(
        "SELECT grants FROM roles WHERE tenant_id = %s AND display_name = %s", tenant or platform.tenant_id, name
    )
    return {grant["permission"]: grant["scope"] for grant in found or ()}


def test_a_service_that_is_new_reaches_them_in_all_tenants_once(platform, refresh):
    assert refresh(set()) == 0
    changed = refresh()
    assert changed == 6  # Manager, Member and Reader of two tenants: Admin has everything.
    for tenant in (platform.tenant_id, PLATFORM_TENANT):
        assert grants(platform, "Manager", tenant)["brewery.*"] == 3
        assert grants(platform, "Member", tenant)["brewery.beers.*"] == 2
        assert grants(platform, "Reader", tenant)["brewery.beers.read"] == 3
        assert grants(platform, "Reader", tenant)["brewery.operations.read"] == 1
    assert refresh() == 0
    told = platform.run("SELECT count(*) FROM change_pending WHERE event_type LIKE '%%role.updated'")
    assert told == [(changed,)]


def test_what_is_gone_is_taken_away(platform, refresh):
    refresh()
    assert refresh(set()) == 6
    assert "brewery.*" not in grants(platform, "Manager")


def test_a_role_that_somebody_changed_stays_as_it_is(platform, refresh, identity_of):
    change = identity_of(platform)
    change("Reader", [{"permission": "contacts.accounts.read", "scope": 3}])
    refresh()
    assert grants(platform, "Reader") == {"contacts.accounts.read": 3}
    assert "brewery.beers.*" in grants(platform, "Member")


def test_one_that_has_another_name_by_now_is_still_the_same(platform, refresh):
    platform.run("UPDATE roles SET display_name = 'Leser' WHERE display_name = 'Reader'")
    refresh()
    assert "brewery.beers.read" in grants(platform, "Leser")


def test_one_of_their_own_with_such_a_name_is_not_one(platform, refresh):
    forget(platform, "Reader")
    platform.run(
        "INSERT INTO roles (tenant_id, id, version, create_time, update_time, display_name, display_name_key)"
        " VALUES (%s, %s, 1, now(), now(), 'Reader', 'reader')",
        platform.tenant_id,
        uuid.uuid4(),
    )
    refresh()
    assert grants(platform, "Reader") == {}
    platform.run("UPDATE roles SET display_name = 'Ours', display_name_key = 'ours' WHERE display_name = 'Reader'")
    assert refresh() == 0, "what was theirs is not made up for later"


class TestNewRole:
    """A standard role that a version brings which the tenants are older than."""

    def test_is_created_in_tenants_that_are_there(self, platform, refresh):
        before = grants(platform, "Reader")
        forget(platform, "Reader")
        assert refresh(set()) == 1
        assert grants(platform, "Reader") == before
        assert refresh(set()) == 0
        assert refresh() == 6, "it follows as the others do"
        assert "brewery.beers.read" in grants(platform, "Reader")

    def test_does_not_come_back_when_it_was_deleted(self, platform, refresh):
        platform.run("UPDATE roles SET delete_time = now() WHERE display_name = 'Reader'")
        refresh()
        assert platform.run("SELECT count(*) FROM roles WHERE display_name = 'Reader' AND delete_time IS NULL") == [
            (0,)
        ]

    def test_does_not_come_beside_one_that_was_changed(self, platform, refresh, identity_of):
        identity_of(platform)("Reader", [{"permission": "contacts.accounts.read", "scope": 3}])
        platform.run("UPDATE roles SET display_name = 'Ours', display_name_key = 'ours' WHERE display_name = 'Reader'")
        assert refresh(set()) == 0


def forget(platform, name):
    """Let the tenant be older than a standard role."""
    platform.run("DELETE FROM standard_roles WHERE name = %s AND tenant_id = %s", name, platform.tenant_id)
    platform.run("DELETE FROM roles WHERE display_name = %s AND tenant_id = %s", name, platform.tenant_id)


@pytest.fixture
def identity_of():
    """Change the grants of a role through the service's own path."""

    def of(platform):
        database = platform.app_database
        shared = Shared.of("identity.kontor", metadata, database=database, page_tokens=PageTokens(KEY))
        stored = Roles(shared, known_permissions())

        def change(name, wanted):
            with database.write(platform.tenant_id) as tx:
                call = own_call(platform.tenant_id)
                [(id,)] = platform.run(
                    "SELECT id FROM roles WHERE tenant_id = %s AND display_name = %s", platform.tenant_id, name
                )
                locked = stored.lock(tx, call, f"roles/{id}")
                after = type(locked.message)()
                after.CopyFrom(locked.message)
                del after.grants[:]
                for grant in wanted:
                    after.grants.add(**grant)
                stored.save(tx, call, locked, after, "updated")

        return change

    return of
