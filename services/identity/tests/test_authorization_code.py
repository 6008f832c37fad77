"""People sign in: authorization code with PKCE, the login page, refresh tokens, revocation."""

import re
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from kontor_kit.testing import AUDIENCE, ISSUER
from kontor_kit.tokens import TokenVerifier
from services.identity.tests.flows import (
    REDIRECT,
    answer_of,
    challenge,
    hidden_fields,
    question,
    redeem,
    refresh,
    sign_in,
    tokens,
)


def principal_of(platform, token):
    return TokenVerifier(ISSUER, AUDIENCE, platform.ring, clock=platform.clock.timestamp).verify(token)


class TestSignIn:
    def test_code_becomes_tokens_when_everything_fits(self, platform):
        browser = platform.browser()
        answer = answer_of(sign_in(browser))
        assert answer["state"] == "a state"
        assert answer["iss"] == ISSUER
        response = redeem(browser, answer["code"])
        assert response.headers["Cache-Control"] == "no-store"
        assert response.json["token_type"] == "Bearer"
        assert response.json["expires_in"] <= 600
        principal = principal_of(platform, response.json["access_token"])
        assert principal.subject == platform.user
        assert principal.tenant_id == platform.tenant_id
        assert principal.client_id == "kontor-cli"
        assert principal.scope("contacts.accounts.read") is not None

    def test_port_of_loopback_is_the_clients_choice(self, platform):
        answer = sign_in(platform.browser(), redirect_uri="http://[::1]:50000/callback")
        assert answer.location.startswith("http://[::1]:50000/callback?")

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("password", "wrong horse battery staple"),
            ("password", ""),
            ("email", "nobody@demo.example"),
            ("email", "no address"),
            ("tenant", "nowhere"),
            ("tenant", ""),
        ],
    )
    def test_is_refused_in_the_same_words_when_anything_is_wrong(self, platform, field, value):
        response = sign_in(platform.browser(), **{field: value})
        assert response.status_code == 401
        assert "do not fit together" in response.text
        assert 'role="alert"' in response.text

    def test_takes_as_long_when_there_is_no_such_user(self, platform, hasher, monkeypatch):
        checked = []
        monkeypatch.setattr(hasher, "matches", lambda password, stored: checked.append(stored) or False)
        for changes in ({}, {"email": "nobody@demo.example"}, {"tenant": "nowhere"}):
            sign_in(platform.browser(), **changes)
        assert [stored is None for stored in checked] == [False, True, True]

    def test_is_refused_when_the_user_is_deactivated_or_the_tenant_suspended(self, platform):
        platform.run("UPDATE users SET state = 2")
        assert sign_in(platform.browser()).status_code == 401
        platform.run("UPDATE users SET state = 1")
        platform.run("UPDATE tenants SET state = 2")
        assert sign_in(platform.browser()).status_code == 401

    def test_is_refused_for_a_user_of_another_tenant(self, platform):
        assert sign_in(platform.browser(), tenant="platform").status_code == 401


class TestQuestion:
    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"client_id": None}, "Missing"),
            ({"client_id": "somebody"}, "does not exist"),
            ({"client_id": str(uuid.uuid4())}, "does not exist"),
            ({"redirect_uri": None}, "redirect_uri"),
            ({"redirect_uri": "https://evil.example/callback"}, "not supported"),
            ({"redirect_uri": "http://127.0.0.1:1/callback/../other"}, "not supported"),
            ({"redirect_uri": "http://localhost:1/callback"}, "not supported"),
            ({"redirect_uri": "http://127.0.0.1:1@evil.example/callback"}, "not supported"),
        ],
    )
    def test_is_answered_on_a_page_when_the_client_is_not_known_to_ask(self, platform, changes, says):
        response = platform.browser().get("/oauth2/authorize", query_string=question(**changes))
        assert response.status_code == 400
        assert says in response.text
        assert response.location is None

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"response_type": "token"}, "unsupported_response_type"),
            ({"response_type": None}, "unsupported_response_type"),
            ({"code_challenge": None}, "invalid_request"),
            ({"code_challenge": "short"}, "invalid_request"),
            ({"code_challenge_method": None}, "invalid_request"),
            ({"code_challenge_method": "plain"}, "invalid_request"),
        ],
    )
    def test_is_sent_back_with_an_error_when_the_client_asks_wrongly(self, platform, changes, error):
        response = platform.browser().get("/oauth2/authorize", query_string=question(**changes))
        answer = answer_of(response)
        assert response.location.startswith(REDIRECT)
        assert (answer["error"], answer["state"], answer["iss"]) == (error, "a state", ISSUER)

    def test_is_checked_again_when_the_form_comes_back(self, platform):
        response = sign_in(platform.browser(), form={"redirect_uri": "https://evil.example/callback"})
        assert response.status_code == 400
        assert (
            answer_of(sign_in(platform.browser(), form={"code_challenge_method": "plain"}))["error"]
            == "invalid_request"
        )


class TestPage:
    def test_names_fields_for_people_and_programs(self, platform):
        page = platform.browser().get(
            "/oauth2/authorize", query_string=question(tenant="demo", login_hint="a@b.example")
        )
        for field in ("tenant", "email", "password"):
            assert f'<label for="{field}">' in page.text
        assert 'value="demo"' in page.text
        assert 'value="a@b.example"' in page.text
        assert 'autocomplete="current-password"' in page.text
        assert '<html lang="en">' in page.text
        assert "<script" not in page.text

    def test_is_closed_to_frames_foreign_styles_and_caches(self, platform):
        page = platform.browser().get("/oauth2/authorize", query_string=question())
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "form-action 'self' http://127.0.0.1:49152" in policy
        assert re.search(r'<style nonce="([^"]+)">', page.text)[1] in policy
        assert page.headers["Cache-Control"] == "no-store"
        assert page.headers["X-Content-Type-Options"] == "nosniff"

    def test_escapes_what_comes_from_outside(self, platform):
        page = platform.browser().get("/oauth2/authorize", query_string=question(tenant='"><script>', state="<b>"))
        assert "<script>" not in page.text
        assert "<b>" not in page.text

    def test_form_is_refused_when_another_site_sends_it(self, platform):
        page = platform.browser().get("/oauth2/authorize", query_string=question())
        fields = hidden_fields(page.text) | {"tenant": "demo", "email": "admin@demo.example", "password": "x"}
        response = platform.browser().post("/oauth2/authorize", data=fields)
        assert response.status_code == 403
        assert response.location is None

    def test_form_is_refused_when_its_token_is_of_another_browser(self, platform):
        stolen = hidden_fields(platform.browser().get("/oauth2/authorize", query_string=question()).text)
        assert sign_in(platform.browser(), form={"form_token": stolen["form_token"]}).status_code == 403


class TestCode:
    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"code_verifier": "another-verifier-that-is-long-enough-to-be-one-01"}, "invalid_grant"),
            ({"code_verifier": None}, "invalid_request"),
            ({"code_verifier": "short"}, "invalid_request"),
            ({"code_verifier": challenge()}, "invalid_grant"),
            ({"redirect_uri": "http://127.0.0.1:1/callback"}, "invalid_grant"),
            ({"redirect_uri": None}, "invalid_grant"),
            ({"client_id": "kontor-console"}, "invalid_grant"),
            ({"client_id": None}, "invalid_client"),
            ({"code": "nonsense"}, "invalid_grant"),
            ({"code": None}, "invalid_request"),
            ({"grant_type": "password"}, "unsupported_grant_type"),
            ({"grant_type": None}, "unsupported_grant_type"),
            ({"grant_type": "client_credentials"}, "invalid_client"),
        ],
    )
    def test_is_refused_when_anything_is_wrong(self, platform, changes, error):
        browser = platform.browser()
        code = answer_of(sign_in(browser))["code"]
        response = redeem(browser, code, **changes)
        assert (response.status_code // 100, response.json["error"]) == (4, error)

    def test_is_used_up_when_it_was_tried_with_a_wrong_verifier(self, platform):
        browser = platform.browser()
        code = answer_of(sign_in(browser))["code"]
        redeem(browser, code, code_verifier="another-verifier-that-is-long-enough-to-be-one-01")
        assert redeem(browser, code).json["error"] == "invalid_grant"

    def test_ends_the_session_when_it_is_used_twice(self, platform):
        browser = platform.browser()
        code = answer_of(sign_in(browser))["code"]
        first = redeem(browser, code).json
        assert redeem(browser, code).json["error"] == "invalid_grant"
        assert refresh(browser, first["refresh_token"]).json["error"] == "invalid_grant"

    def test_gives_tokens_once_when_used_by_many_at_once(self, platform):
        code = answer_of(sign_in(platform.browser()))["code"]
        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(lambda _: redeem(platform.browser(), code).status_code, range(8)))
        assert sorted(statuses) == [200] + [400] * 7

    def test_ends_after_a_minute(self, platform):
        browser = platform.browser()
        code = answer_of(sign_in(browser))["code"]
        platform.clock.forward(seconds=61)
        assert redeem(browser, code).json["error"] == "invalid_grant"

    def test_is_of_no_use_when_the_user_was_deactivated_since(self, platform):
        browser = platform.browser()
        code = answer_of(sign_in(browser))["code"]
        platform.run("UPDATE users SET state = 2")
        assert redeem(browser, code).json["error"] == "invalid_grant"


class TestRefresh:
    def test_gives_new_tokens_each_time(self, platform):
        browser = platform.browser()
        first = tokens(browser)
        second = refresh(browser, first["refresh_token"]).json
        third = refresh(browser, second["refresh_token"]).json
        assert len({first["refresh_token"], second["refresh_token"], third["refresh_token"]}) == 3
        assert principal_of(platform, third["access_token"]).subject == platform.user

    def test_ends_the_session_when_a_token_is_used_twice(self, platform):
        browser = platform.browser()
        first = tokens(browser)
        second = refresh(browser, first["refresh_token"]).json
        assert refresh(browser, first["refresh_token"]).json["error"] == "invalid_grant"
        assert refresh(browser, second["refresh_token"]).json["error"] == "invalid_grant"

    def test_is_refused_when_tenant_or_user_is_no_longer_let_in(self, platform):
        browser = platform.browser()
        for shut, reopen in (
            ("UPDATE tenants SET state = 2", "UPDATE tenants SET state = 1"),
            ("UPDATE users SET state = 2", "UPDATE users SET state = 1"),
            ("UPDATE users SET delete_time = now()", "UPDATE users SET delete_time = NULL"),
        ):
            token = tokens(browser)["refresh_token"]
            platform.run(shut)
            assert refresh(browser, token).json["error"] == "invalid_grant"
            platform.run(reopen)

    def test_takes_over_changed_roles(self, platform):
        browser = platform.browser()
        token = tokens(browser)["refresh_token"]
        platform.run("UPDATE users SET roles = NULL")
        answer = refresh(browser, token).json
        assert principal_of(platform, answer["access_token"]).permissions == {}

    def test_is_refused_for_another_client(self, platform):
        browser = platform.browser()
        token = tokens(browser)["refresh_token"]
        assert refresh(browser, token, client_id="kontor-console").json["error"] == "invalid_grant"

    def test_is_refused_after_a_week_unused_and_after_a_month_in_all(self, platform):
        browser = platform.browser()
        token = tokens(browser)["refresh_token"]
        for _ in range(5):
            platform.clock.forward(days=5)
            token = refresh(browser, token).json["refresh_token"]
        platform.clock.forward(days=6)
        assert refresh(browser, token).json["error"] == "invalid_grant"
        token = tokens(browser)["refresh_token"]
        platform.clock.forward(days=7)
        assert refresh(browser, token).json["error"] == "invalid_grant"

    def test_token_of_another_tenant_is_not_found(self, platform):
        browser = platform.browser()
        token = tokens(browser)["refresh_token"]
        platform.run("UPDATE oauth_refresh_tokens SET use_time = NULL")
        forged = token[:20] + ("A" if token[20] != "A" else "B") + token[21:]
        assert refresh(browser, forged).json["error"] == "invalid_grant"


class TestRevocation:
    def test_ends_the_session(self, platform):
        browser = platform.browser()
        token = tokens(browser)["refresh_token"]
        response = browser.post("/oauth2/revoke", data={"token": token, "client_id": "kontor-cli"})
        assert response.status_code == 200
        assert refresh(browser, token).json["error"] == "invalid_grant"

    def test_is_silent_about_what_it_does_not_know(self, platform):
        response = platform.browser().post("/oauth2/revoke", data={"token": "nonsense", "client_id": "kontor-cli"})
        assert response.status_code == 200

    def test_is_refused_for_another_client(self, platform):
        browser = platform.browser()
        token = tokens(browser)["refresh_token"]
        response = browser.post("/oauth2/revoke", data={"token": token, "client_id": "kontor-console"})
        assert response.json["error"] == "invalid_grant"
        assert refresh(browser, token).status_code == 200

    def test_is_refused_without_a_client(self, platform):
        response = platform.browser().post("/oauth2/revoke", data={"token": "x"})
        assert response.json["error"] == "invalid_client"
