"""Services of the platform get accounts with which they follow the others."""

import base64

import pytest
import sqlalchemy as sa

from kontor_identity.permissions import known_permissions, service_permissions
from kontor_identity.registration import Registration, client_id
from kontor_identity.roles.api import Roles
from kontor_identity.secrets.api import Secrets
from kontor_identity.secrets.rules import new_secret
from kontor_identity.service_accounts.api import ServiceAccounts
from kontor_identity.service_accounts.table import service_accounts
from kontor_identity.tables import metadata
from kontor_kit.db import Statement
from kontor_kit.errors import InvalidArgument
from kontor_kit.pages import PageTokens
from kontor_kit.principals import PLATFORM_TENANT, Scope
from kontor_kit.shared import Shared
from kontor_kit.testing import AUDIENCE, ISSUER
from kontor_kit.tokens import TokenVerifier
from services.identity.tests.conftest import KEY


@pytest.fixture
def registration(platform, hasher):
    database = platform.app_database
    shared = Shared.of("identity.kontor", metadata, database=database, page_tokens=PageTokens(KEY))
    known = known_permissions()
    return Registration(
        database=database,
        roles=Roles(shared, known),
        accounts=ServiceAccounts(shared),
        secrets=Secrets(shared, hasher, platform.clock),
        known=known,
    )


def ask(platform, client_id, secret):
    pair = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
    headers = {"Authorization": f"Basic {pair}"}
    return platform.browser().post("/oauth2/token", data={"grant_type": "client_credentials"}, headers=headers)


def test_a_registered_service_gets_a_token_to_follow_all_services_and_act_for_people_and_nothing_else(
    platform, registration
):
    secret = new_secret()
    client_id = registration.register("contacts", secret)
    response = ask(platform, client_id, secret)
    assert response.status_code == 200, response.text
    principal = TokenVerifier(ISSUER, AUDIENCE, platform.ring).verify(response.json["access_token"])
    assert (principal.tenant_id, principal.subject) == (PLATFORM_TENANT, f"serviceAccounts/{client_id}")
    services = ("contacts", "identity")
    wanted = {f"{service}.changes.{verb}" for service in services for verb in ("follow", "read")}
    assert wanted <= set(principal.permissions) == set(service_permissions(known_permissions()))
    assert set(principal.permissions.values()) == {Scope.ALL}


def test_its_client_id_is_known_before(registration):
    assert registration.register("sales", new_secret()) == str(client_id("sales"))
    # This is what the charts make of the name.
    assert str(client_id("contacts")) == "00000000-0000-7054-8aa0-e3a699b3ce59"


def test_another_account_gets_another_id_when_the_one_before_was_deleted(registration):
    registration.register("ticketing", new_secret())
    of_ticketing = service_accounts.c.id == client_id("ticketing")
    with registration.database.write(PLATFORM_TENANT) as tx:
        tx.run(Statement(service_accounts.update().where(of_ticketing).values(delete_time=sa.func.now())))
    assert registration.register("ticketing", new_secret()) != str(client_id("ticketing"))


def test_to_register_again_changes_nothing(platform, registration):
    secret = new_secret()
    first = registration.register("contacts", secret)
    before = platform.run("SELECT count(*) FROM change_pending")
    assert registration.register("contacts", secret) == first
    assert platform.run("SELECT count(*) FROM change_pending") == before
    assert registration.register("sales", new_secret()) != first


def test_another_secret_takes_the_place_of_the_old_one_after_a_while(platform, registration):
    old, new = new_secret(), new_secret()
    client_id = registration.register("contacts", old)
    assert registration.register("contacts", new) == client_id
    assert [ask(platform, client_id, secret).status_code for secret in (old, new)] == [200, 200]
    platform.clock.forward(hours=25)
    assert [ask(platform, client_id, secret).status_code for secret in (old, new)] == [401, 200]


def test_a_role_of_an_older_version_is_brought_up_to_date(platform, registration):
    secret = new_secret()
    client_id = registration.register("contacts", secret)
    platform.run("UPDATE roles SET grants = NULL WHERE display_name = 'Platform service'")
    registration.register("contacts", secret)
    token = ask(platform, client_id, secret).json["access_token"]
    assert TokenVerifier(ISSUER, AUDIENCE, platform.ring).verify(token).permissions


@pytest.mark.parametrize("secret", ["", "kontor_secret_short", "x" * 60])
def test_a_weak_secret_is_refused(registration, secret):
    with pytest.raises(InvalidArgument):
        registration.register("contacts", secret)
