"""Programs get tokens: client credentials, rotating secrets, and limits on guessing."""

import base64
import dataclasses
import datetime as dt
import uuid

import pytest
from werkzeug import Request
from werkzeug.test import EnvironBuilder

from kontor_identity.oauth.rules import ADDRESS_LIMIT, PAIR_LIMIT
from kontor_identity.secrets.rules import new_secret, prefix_of
from kontor_kit.testing import AUDIENCE, ISSUER
from kontor_kit.tokens import TokenVerifier
from services.identity.tests.flows import answer_of, sign_in

ACCOUNT = uuid.UUID("0198a000-0000-7000-8000-0000000000aa")


@pytest.fixture
def secret(platform, hasher):
    """The secret of the service account ACCOUNT of the tenant `demo`, which has the role Reader."""
    platform.run(
        "INSERT INTO service_accounts (tenant_id, id, version, create_time, update_time, display_name,"
        " display_name_key, state, roles) SELECT tenant_id, %s, 1, now(), now(), 'ERP', 'erp', 1, ARRAY[id]"
        " FROM roles WHERE tenant_id = %s AND display_name = 'Reader'",
        ACCOUNT,
        platform.tenant_id,
    )
    return add_secret(platform, hasher)


def add_secret(platform, hasher, expire_time=None):
    value = new_secret()
    platform.run(
        "INSERT INTO secrets (tenant_id, id, service_account, prefix, digest, create_time, expire_time)"
        " VALUES (%s, %s, %s, %s, %s, now(), %s)",
        *(platform.tenant_id, uuid.uuid4(), ACCOUNT, prefix_of(value), hasher.hash(value), expire_time),
    )
    return value


def ask(browser, secret, client_id=str(ACCOUNT), **more):
    data = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
    return browser.post("/oauth2/token", data=data, **more)


def ask_basic(browser, secret):
    pair = base64.b64encode(f"{ACCOUNT}:{secret}".encode()).decode()
    headers = {"Authorization": f"Basic {pair}"}
    return browser.post("/oauth2/token", data={"grant_type": "client_credentials"}, headers=headers)


class TestClientCredentials:
    def test_give_a_token_of_the_service_account(self, platform, secret):
        for response in (ask(platform.browser(), secret), ask_basic(platform.browser(), secret)):
            assert response.status_code == 200, response.text
            assert "refresh_token" not in response.json
            principal = TokenVerifier(ISSUER, AUDIENCE, platform.ring).verify(response.json["access_token"])
            assert principal.subject == f"serviceAccounts/{ACCOUNT}"
            assert principal.tenant_id == platform.tenant_id
            assert principal.client_id == str(ACCOUNT)
            assert principal.scope("contacts.accounts.read") is not None
            assert principal.scope("contacts.accounts.create") is None

    @pytest.mark.parametrize("client_id", ["0198a000-0000-7000-8000-00000000000f", "nonsense", "kontor-cli", ""])
    def test_are_refused_for_another_client(self, platform, secret, client_id):
        response = ask(platform.browser(), secret, client_id)
        assert (response.status_code // 100, response.json["error"]) == (4, "invalid_client")

    def test_are_refused_with_401_and_a_challenge_when_sent_by_header(self, platform, secret):
        response = ask_basic(platform.browser(), "wrong")
        assert response.status_code == 401
        assert "WWW-Authenticate" in response.headers

    @pytest.mark.parametrize("client_id", [ACCOUNT.hex, str(ACCOUNT).upper(), ACCOUNT.urn])
    def test_are_refused_when_the_client_is_written_in_another_way(self, platform, secret, client_id):
        # Or each way would have a limit on guessing, and a name in tokens, of its own.
        assert ask(platform.browser(), secret, client_id).json["error"] == "invalid_client"

    @pytest.mark.parametrize("change", [lambda s: s[:-1] + "_", lambda s: s + "x", lambda s: "", lambda s: s.upper()])
    def test_are_refused_with_another_secret(self, platform, secret, change):
        assert ask(platform.browser(), change(secret)).json["error"] == "invalid_client"

    @pytest.mark.parametrize(
        "shut",
        [
            "UPDATE service_accounts SET state = 2",
            "UPDATE service_accounts SET delete_time = now()",
            "UPDATE tenants SET state = 2",
            "UPDATE tenants SET delete_time = now()",
            "DELETE FROM secrets",
        ],
    )
    def test_are_refused_when_account_or_tenant_is_no_longer_let_in(self, platform, secret, shut):
        platform.run(shut)
        assert ask(platform.browser(), secret).json["error"] == "invalid_client"

    def test_work_with_old_and_new_secret_until_the_old_one_ends(self, platform, secret, hasher):
        old = add_secret(platform, hasher, platform.clock.now + dt.timedelta(days=1))
        assert ask(platform.browser(), old).status_code == 200
        assert ask(platform.browser(), secret).status_code == 200
        platform.clock.forward(days=1)
        assert ask(platform.browser(), old).json["error"] == "invalid_client"
        assert ask(platform.browser(), secret).status_code == 200

    def test_leave_the_time_of_use_to_the_minute(self, platform, secret):
        def last_use():
            return platform.run("SELECT last_use_time FROM secrets")[0][0]

        ask(platform.browser(), "wrong")
        assert last_use() is None
        ask(platform.browser(), secret)
        first = last_use()
        platform.clock.forward(seconds=30)
        ask(platform.browser(), secret)
        assert last_use() == first
        platform.clock.forward(seconds=31)
        ask(platform.browser(), secret)
        assert last_use() > first

    def test_carry_no_scope_beyond_the_roles(self, platform, secret):
        platform.run("UPDATE roles SET delete_time = now() WHERE display_name = 'Reader'")
        token = ask(platform.browser(), secret).json["access_token"]
        assert TokenVerifier(ISSUER, AUDIENCE, platform.ring).verify(token).permissions == {}


class TestGuessing:
    def test_of_a_secret_is_stopped_for_a_while(self, platform, secret):
        browser = platform.browser()
        for _ in range(PAIR_LIMIT):
            assert ask(browser, "wrong").json["error"] == "invalid_client"
        response = ask(browser, secret)
        assert response.status_code == 429
        assert 0 < int(response.headers["Retry-After"]) <= 901
        platform.clock.forward(minutes=15)
        assert ask(browser, secret).status_code == 200

    def test_does_not_stop_somebody_elsewhere(self, platform, secret):
        for _ in range(PAIR_LIMIT + 1):
            ask(platform.browser(), "wrong")
        assert ask(platform.browser(), secret, environ_base={"REMOTE_ADDR": "192.0.2.7"}).status_code == 200

    def test_of_a_password_is_stopped_for_a_while_also_with_the_right_one(self, platform):
        for _ in range(PAIR_LIMIT):
            assert sign_in(platform.browser(), password="wrong").status_code == 401
        # Neither other capitals nor blanks make another account.
        response = sign_in(platform.browser(), email=" ADMIN@demo.example")
        assert response.status_code == 429
        assert "too many attempts" in response.text
        assert "Retry-After" in response.headers
        platform.clock.forward(minutes=15)
        assert answer_of(sign_in(platform.browser()))["code"]

    @pytest.mark.parametrize("email", ["admin@ｄemo.example", "admin@demo。example"])
    def test_of_a_password_is_stopped_however_the_address_is_written(self, platform, email):
        assert answer_of(sign_in(platform.browser(), email=email))["code"]
        for _ in range(PAIR_LIMIT):
            sign_in(platform.browser(), password="wrong")
        assert sign_in(platform.browser(), email=email).status_code == 429

    def test_of_unknown_users_is_stopped_too(self, platform):
        statuses = [sign_in(platform.browser(), email="nobody@demo.example").status_code for _ in range(PAIR_LIMIT + 1)]
        assert statuses == [401] * PAIR_LIMIT + [429]

    def test_over_many_accounts_is_stopped_by_address(self, platform):
        platform.run("UPDATE oauth_attempts SET failures = 0")
        sign_in(platform.browser(), password="wrong")
        platform.run("UPDATE oauth_attempts SET failures = %s", ADDRESS_LIMIT)
        assert sign_in(platform.browser(), email="somebody.else@demo.example").status_code == 429

    def test_is_no_matter_for_who_signs_in_rightly(self, platform):
        for _ in range(3):
            answer_of(sign_in(platform.browser()))
        assert {row[0] for row in platform.run("SELECT failures FROM oauth_attempts")} == {0}

    def test_leaves_no_names_behind(self, platform):
        sign_in(platform.browser(), password="wrong")
        stored = b"".join(bytes(row[0]) for row in platform.run("SELECT key FROM oauth_attempts"))
        assert b"admin" not in stored


class TestAddress:
    @pytest.mark.parametrize(
        ("proxies", "forwarded", "address"),
        [
            (0, "192.0.2.1", "127.0.0.1"),
            (1, "192.0.2.1", "192.0.2.1"),
            (1, "198.51.100.9, 192.0.2.1", "192.0.2.1"),
            (2, "198.51.100.9, 192.0.2.1, 10.0.0.1", "192.0.2.1"),
            (2, "192.0.2.1", "192.0.2.1"),
        ],
    )
    def test_is_what_the_outermost_trusted_proxy_saw(self, platform, proxies, forwarded, address):
        application = dataclasses.replace(platform.application, proxies=proxies)
        builder = EnvironBuilder(headers={"X-Forwarded-For": forwarded}, environ_base={"REMOTE_ADDR": "127.0.0.1"})
        assert application._address(Request(builder.get_environ())) == address
