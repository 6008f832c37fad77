"""Services of the platform act on behalf of people after a request is over: token exchange (RFC 8693)."""

import uuid

import pytest

from kontor_identity.oauth import rules
from kontor_identity.secrets.rules import new_secret
from kontor_kit.principals import PLATFORM_TENANT
from kontor_kit.testing import AUDIENCE, ISSUER
from kontor_kit.tokens import TokenVerifier
from services.identity.tests.test_client_credentials import ACCOUNT
from services.identity.tests.test_client_credentials import secret as secret
from services.identity.tests.test_registration import registration as registration


@pytest.fixture
def sales(registration):
    """Client id and secret of the service sales."""
    value = new_secret()
    return registration.register("sales", value), value


def exchange(platform, client, subject=None, **changes):
    data = {
        "grant_type": rules.TOKEN_EXCHANGE,
        "client_id": client[0],
        "client_secret": client[1],
        "subject_token": f"tenants/{platform.tenant_id}/{platform.user}" if subject is None else subject,
        "subject_token_type": rules.SUBJECT_TYPE,
    }
    sent = {name: value for name, value in (data | changes).items() if value is not None}
    return platform.browser().post("/oauth2/token", data=sent)


def read(platform, response):
    assert response.status_code == 200, response.text
    return TokenVerifier(ISSUER, AUDIENCE, platform.ring).verify(response.json["access_token"])


def test_the_token_is_the_subjects_and_names_who_acts(platform, sales):
    response = exchange(platform, sales)
    principal = read(platform, response)
    assert (principal.tenant_id, principal.subject) == (platform.tenant_id, platform.user)
    assert (principal.actor, principal.client_id) == (f"serviceAccounts/{sales[0]}", sales[0])
    assert principal.permissions == {"*": 3}
    assert response.json["issued_token_type"] == rules.ACCESS_TOKEN_TYPE
    assert "refresh_token" not in response.json


def test_it_has_the_rights_of_now(platform, sales):
    platform.run("UPDATE users SET roles = NULL")
    assert read(platform, exchange(platform, sales)).permissions == {}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE users SET state = 2",
        "UPDATE users SET delete_time = now()",
        "UPDATE tenants SET state = 2 WHERE slug = 'demo'",
        "UPDATE tenants SET delete_time = now() WHERE slug = 'demo'",
    ],
)
def test_nobody_acts_for_who_is_not_let_in(platform, sales, change):
    platform.run(change)
    response = exchange(platform, sales)
    assert (response.status_code, response.json["error"]) == (400, "invalid_grant")


def test_a_user_of_another_tenant_is_not_found_in_this_one(platform, sales):
    response = exchange(platform, sales, f"tenants/{PLATFORM_TENANT}/{platform.user}")
    assert response.json["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "subject", ["", "nonsense", "users/1", f"tenants/x/users/{ACCOUNT}", f"tenants/{ACCOUNT}/roles/{ACCOUNT}"]
)
def test_what_names_nobody_is_refused(platform, sales, subject):
    assert exchange(platform, sales, subject).json["error"] == "invalid_request"


def test_another_type_of_token_is_refused(platform, sales):
    assert exchange(platform, sales, subject_token_type=rules.ACCESS_TOKEN_TYPE).json["error"] == "invalid_request"


def test_a_tenants_own_program_acts_for_nobody_whatever_its_roles(platform, secret):
    platform.run('UPDATE roles SET grants = \'[{"permission": "*", "scope": 3}]\' WHERE display_name = \'Reader\'')
    platform.run(
        "UPDATE service_accounts SET roles = ARRAY[(SELECT id FROM roles WHERE display_name = 'Admin'"
        " AND tenant_id = %s)] WHERE id = %s",
        platform.tenant_id,
        ACCOUNT,
    )
    assert exchange(platform, (str(ACCOUNT), secret)).json["error"] == "unauthorized_client"


def test_an_operators_program_acts_for_nobody_by_a_pattern(platform, sales):
    platform.run(
        'UPDATE roles SET grants = \'[{"permission": "*", "scope": 3}]\' WHERE display_name = \'Platform service\''
    )
    assert exchange(platform, sales).json["error"] == "unauthorized_client"


def test_a_wrong_secret_acts_for_nobody(platform, sales):
    response = exchange(platform, (sales[0], new_secret()))
    assert (response.status_code, response.json["error"]) == (401, "invalid_client")
    assert exchange(platform, (str(uuid.uuid4()), sales[1])).json["error"] == "invalid_client"
