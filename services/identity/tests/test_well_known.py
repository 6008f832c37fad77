"""What is well known, how keys are rotated, and the form of errors."""

import base64
import datetime as dt
import json

import pytest
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from joserfc.jwk import KeySet

from kontor_identity.keys.ring import KeyRing
from kontor_identity.keys.rules import LEAD, OVERLAP
from kontor_identity.oauth.subjects import Subject
from kontor_identity.oauth.tokens import AccessTokens
from kontor_kit.errors import Unauthenticated, Unavailable
from kontor_kit.testing import AUDIENCE, ISSUER
from kontor_kit.tokens import FixedKeys, TokenVerifier
from services.identity.tests.flows import question

MONTH = dt.timedelta(days=30)


def published(platform):
    response = platform.browser().get("/.well-known/jwks.json")
    assert response.headers["Cache-Control"] == "public, max-age=300"
    return response.json["keys"]


def token(platform, **duration):
    tokens = AccessTokens(platform.ring, issuer=ISSUER, audience=AUDIENCE, clock=platform.clock)
    subject = Subject(platform.user, platform.tenant_id, (), {})
    return tokens.issue(subject, "test", **duration)


def verify(platform, text):
    keys = FixedKeys(KeySet.import_key_set({"keys": published(platform)}))
    return TokenVerifier(ISSUER, AUDIENCE, keys, clock=platform.clock.timestamp).verify(text)


class TestMetadata:
    def test_describes_the_server_and_nothing_that_it_does_not_do(self, platform):
        document = platform.browser().get("/.well-known/oauth-authorization-server").json
        secure = {name: self.secured(value) for name, value in document.items()}
        AuthorizationServerMetadata(secure).validate()
        assert document["issuer"] == ISSUER
        assert document["code_challenge_methods_supported"] == ["S256"]
        assert "password" not in document["grant_types_supported"]
        for name in ("authorization", "token", "revocation"):
            path = document[f"{name}_endpoint"].removeprefix(ISSUER)
            assert platform.browser().open(path, method="POST").status_code in (400, 401)

    @staticmethod
    def secured(value):
        # The library insists on TLS, which ends before the tests do.
        return value.replace("http://", "https://") if isinstance(value, str) else value

    def test_is_no_openid_provider(self, platform):
        assert platform.browser().get("/.well-known/openid-configuration").status_code == 404


class TestKeys:
    def test_private_parts_are_neither_published_nor_stored_in_clear(self, platform):
        assert all("d" not in key for key in published(platform))
        stored = platform.run("SELECT public_key, private_key FROM signing_keys")
        assert all("d" not in public for public, _ in stored)
        assert all(private.count(".") == 4 for _, private in stored)

    def test_next_key_is_published_before_it_signs(self, platform):
        first = published(platform)[0]["kid"]
        platform.clock.forward(days=30)
        platform.system_ring.rotate(MONTH)
        assert len(published(platform)) == 2
        assert self.signer(platform) == first
        platform.clock.forward(seconds=LEAD.total_seconds())
        assert self.signer(platform) != first
        assert verify(platform, token(platform)).subject == platform.user

    def test_token_of_the_old_key_is_good_until_it_ends_and_its_key_goes_after_that(self, platform):
        platform.system_ring.rotate(MONTH, force=True)
        platform.clock.forward(seconds=LEAD.total_seconds() - 1)
        old = token(platform)
        platform.clock.forward(seconds=2)
        assert verify(platform, old).subject == platform.user
        long_lived = token(platform, lifetime=dt.timedelta(days=365))
        platform.system_ring.rotate(MONTH, force=True)
        platform.clock.forward(seconds=(LEAD + OVERLAP).total_seconds())
        with pytest.raises(Unauthenticated):
            verify(platform, long_lived)
        platform.system_ring.rotate(MONTH)
        assert platform.run("SELECT count(*) FROM signing_keys") == [(1,)]

    def test_rotation_does_nothing_while_nothing_is_due(self, platform):
        assert not platform.system_ring.rotate(MONTH).create
        assert platform.system_ring.rotate(MONTH, force=True).create
        assert not platform.system_ring.rotate(MONTH, force=True).create

    def test_keys_cannot_be_opened_with_another_key(self, platform):
        foreign = KeyRing(platform.app_database, "another key to encrypt signing keys", clock=platform.clock)
        with pytest.raises(Unavailable, match="KONTOR_IDENTITY_KEY_ENCRYPTION_KEY"):
            foreign.sign({}, "JWT")

    def test_last_known_keys_are_used_while_the_database_is_away(self, platform):
        ring = KeyRing(
            platform.app_database, "the key that encrypts keys in the tests", clock=platform.clock, max_age=0
        )
        before = ring.published()
        platform.app_database.close()
        assert ring.published() == before

    def test_nothing_is_signed_without_a_key(self, platform):
        platform.run("DELETE FROM signing_keys")
        with pytest.raises(Unavailable):
            token(platform)
        assert platform.browser().get("/.well-known/jwks.json").json == {"keys": []}

    @staticmethod
    def signer(platform):
        head = token(platform).partition(".")[0]
        return json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"]


class TestErrors:
    def test_unknown_paths_methods_and_sizes_are_answered_in_oauths_form(self, platform):
        browser = platform.browser()
        assert browser.get("/nowhere").status_code == 404
        refused = browser.get("/oauth2/token")
        assert refused.status_code == 405
        assert "POST" in refused.headers["Allow"]
        large = browser.post("/oauth2/token", data={"grant_type": "x" * 100_000})
        assert large.status_code == 413
        for response in (refused, large):
            assert response.json["error"] == "invalid_request"

    @pytest.mark.parametrize(
        ("path", "request_"),
        [
            ("/oauth2/authorize", {"method": "POST", "data": question() | {"tenant": "de\0mo"}}),
            ("/oauth2/authorize", {"query_string": question(redirect_uri="\0")}),
            ("/oauth2/token", {"method": "POST", "headers": {"Authorization": "Basic //46eA=="}}),
            ("/oauth2/token", {"method": "POST", "headers": {"Authorization": "Basic \xe9"}}),
            ("/oauth2/token", {"method": "POST", "headers": {"Authorization": "Basic "}}),
        ],
    )
    def test_what_nobody_can_read_is_the_callers_error(self, platform, path, request_):
        response = platform.browser().open(path, **request_)
        assert (response.status_code, response.json["error"]) == (400, "invalid_request")

    def test_database_that_is_away_is_told_as_503(self, platform):
        platform.app_database.close()
        response = platform.browser().post("/oauth2/token", data={"grant_type": "client_credentials", "client_id": "x"})
        assert response.status_code == 503
        assert response.json["error"] == "temporarily_unavailable"

    def test_defect_is_told_without_its_text(self, platform, monkeypatch):
        def fail(*_):
            raise RuntimeError("secret text")

        monkeypatch.setattr(platform.ring, "published", fail)
        response = platform.browser().get("/.well-known/jwks.json")
        assert response.status_code == 500
        assert "secret" not in response.text
