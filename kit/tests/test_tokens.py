"""Tokens: what is taken, what is refused, and how keys are found and rotated."""

from __future__ import annotations

import base64
import json
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey

from kit.tests import widgets
from kontor_kit.errors import Unauthenticated, Unavailable
from kontor_kit.principals import Scope
from kontor_kit.service import verifier
from kontor_kit.testing import AUDIENCE, ISSUER, TENANT, USER, Signer
from kontor_kit.tokens import FileKeys, FixedKeys, TokenVerifier, UrlKeys


class Clock:
    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Publisher:
    """Stands for the URL of a JWKS."""

    def __init__(self, *signers: Signer) -> None:
        self.signers = signers
        self.fetches = 0
        self.away = False

    def __call__(self, url: str) -> bytes:
        self.fetches += 1
        if self.away:
            raise OSError("away")
        return jwks(*self.signers)


def jwks(*signers: Signer) -> bytes:
    return json.dumps(KeySet([signer.key for signer in signers]).as_dict(private=False)).encode()


def reason(verifier, token):
    with pytest.raises(Unauthenticated) as caught:
        verifier.verify(token)
    return caught.value.reason


def url_keys(publisher, clock):
    return UrlKeys("http://issuer.test/jwks", fetch=publisher, clock=clock, max_age=300, pause=3)


@pytest.fixture
def signer():
    return Signer()


class TestVerify:
    def test_principal_of_the_claims(self, signer):
        team = "0198a000-0000-7000-8000-000000000003"
        token = signer.token("a.b.c:own", "a.*:team", teams=[team], act={"sub": "serviceAccounts/x"})
        principal = signer.verifier().verify(token)
        assert (principal.tenant_id, principal.subject, principal.client_id) == (TENANT, USER, "test")
        assert principal.permissions == {"a.b.c": Scope.OWN, "a.*": Scope.TEAM}
        assert [str(found) for found in principal.teams] == [team]
        assert principal.actor == "serviceAccounts/x"

    def test_ed25519_is_taken(self):
        key = OKPKey.generate_key("Ed25519", {"kid": "ed"})
        verifier = TokenVerifier(ISSUER, AUDIENCE, FixedKeys([key]))
        token = Signer().token(key=key, header={"alg": "Ed25519", "kid": "ed"})
        assert verifier.verify(token).subject == USER

    @pytest.mark.parametrize(
        ("claims", "expected"),
        [
            ({"exp": int(time.time()) - 60}, "TOKEN_EXPIRED"),
            ({"exp": None}, "TOKEN_INVALID"),
            ({"exp": "soon"}, "TOKEN_INVALID"),
            ({"nbf": int(time.time()) + 86400}, "TOKEN_INVALID"),
            ({"aud": "other"}, "TOKEN_AUDIENCE"),
            ({"aud": ["other", "another"]}, "TOKEN_AUDIENCE"),
            ({"iss": "http://other"}, "TOKEN_ISSUER"),
            ({"sub": "nobody"}, "TOKEN_INVALID"),
            ({"tenant": None}, "TOKEN_INVALID"),
            ({"tenant": "demo"}, "TOKEN_INVALID"),
            ({"perms": ["nonsense"]}, "TOKEN_INVALID"),
            ({"perms": None}, "TOKEN_INVALID"),
            ({"act": "somebody"}, "TOKEN_INVALID"),
        ],
    )
    def test_claims_refused(self, signer, claims, expected):
        assert reason(signer.verifier(), signer.token(**claims)) == expected

    def test_audience_may_be_one_of_several(self, signer):
        assert signer.verifier().verify(signer.token(aud=["other", AUDIENCE]))

    def test_unsigned_token_refused(self, signer):
        _, claims, _ = signer.token().split(".")
        header = base64.urlsafe_b64encode(b'{"alg":"none","kid":"test"}').rstrip(b"=").decode()
        assert reason(signer.verifier(), f"{header}.{claims}.") == "TOKEN_INVALID"

    def test_other_algorithms_refused(self, signer):
        # The classic confusion: the public key as the shared secret of an HMAC.
        shared = OctKey.import_key(signer.key.as_pem(private=False).replace(b"-----", b"+++++"))
        forged = signer.token(key=shared, header={"alg": "HS256"})
        assert reason(signer.verifier(), forged) == "TOKEN_INVALID"
        rsa = RSAKey.generate_key(2048, {"kid": "test"})
        verifier = TokenVerifier(ISSUER, AUDIENCE, FixedKeys([rsa]))
        assert reason(verifier, signer.token(key=rsa, header={"alg": "RS256"})) == "TOKEN_INVALID"

    def test_wrong_key_or_changed_claims_refused(self, signer):
        assert reason(signer.verifier(), Signer().token()) == "TOKEN_INVALID"
        header, _, signature = signer.token().split(".")
        _, claims, _ = signer.token(sub="users/0198a000-0000-7000-8000-00000000000f").split(".")
        assert reason(signer.verifier(), f"{header}.{claims}.{signature}") == "TOKEN_INVALID"

    @pytest.mark.parametrize("token", ["", ".", "a.b.c", "x" * 100_000, "é.é.é", "eyJhbGciOiJFUzI1NiJ9.e30.AA"])
    def test_nonsense_refused(self, signer, token):
        assert reason(signer.verifier(), token) == "TOKEN_INVALID"


class TestCache:
    def test_known_token_is_not_checked_again_and_ends_at_its_time(self, signer):
        clock = Clock(time.time())
        keys = FixedKeys([signer.key])
        verifier = TokenVerifier(ISSUER, AUDIENCE, keys, clock=clock, leeway=5)
        token = signer.token(exp=int(clock.now) + 60)
        first = verifier.verify(token)
        keys._keys.clear()
        assert verifier.verify(token) is first
        clock.now += 66
        assert reason(verifier, token) == "TOKEN_EXPIRED"

    def test_is_bounded(self, signer):
        verifier = TokenVerifier(ISSUER, AUDIENCE, FixedKeys([signer.key]), capacity=2)
        tokens = [signer.token() for _ in range(3)]
        for token in tokens:
            verifier.verify(token)
        assert list(verifier._known) == tokens[1:]


class TestUrlKeys:
    def test_rotation_is_noticed_by_the_unknown_id(self, signer):
        clock, publisher = Clock(), Publisher(signer)
        verifier = TokenVerifier(ISSUER, AUDIENCE, url_keys(publisher, clock))
        verifier.verify(signer.token())
        new = Signer("new")
        publisher.signers = (signer, new)
        clock.now += 10
        assert verifier.verify(new.token())
        assert verifier.verify(signer.token("still.good.one:all"))
        assert publisher.fetches == 2

    def test_unknown_ids_do_not_flood_the_publisher(self, signer):
        clock, publisher = Clock(), Publisher(signer)
        verifier = TokenVerifier(ISSUER, AUDIENCE, url_keys(publisher, clock))
        for number in range(20):
            assert reason(verifier, Signer(f"forged-{number}").token()) == "TOKEN_INVALID"
        assert publisher.fetches == 1
        clock.now += 4
        assert reason(verifier, Signer("forged").token()) == "TOKEN_INVALID"
        assert publisher.fetches == 2

    def test_withdrawn_key_is_dropped_when_old(self, signer):
        clock, publisher = Clock(), Publisher(signer)
        keys = url_keys(publisher, clock)
        assert keys.find("test")
        publisher.signers = (Signer("new"),)
        clock.now += 301
        assert keys.find("test") is None
        assert keys.find("new")

    def test_last_good_keys_stay_while_the_publisher_is_away(self, signer):
        clock, publisher = Clock(), Publisher(signer)
        keys = url_keys(publisher, clock)
        assert keys.find("test")
        publisher.away = True
        clock.now += 1000
        assert keys.find("test")
        assert keys.find("unknown") is None

    def test_unavailable_while_there_are_no_keys_at_all(self, signer):
        clock, publisher = Clock(), Publisher(signer)
        publisher.away = True
        verifier = TokenVerifier(ISSUER, AUDIENCE, url_keys(publisher, clock))
        with pytest.raises(Unavailable):
            verifier.verify(signer.token())
        publisher.away = False
        clock.now += 4
        assert verifier.verify(signer.token())

    def test_fetched_ahead_they_are_there_when_the_publisher_is_away(self, signer):
        publisher = Publisher(signer)
        publisher.away = True
        keys = url_keys(publisher, Clock())
        keys.fetch_ahead()
        until = time.monotonic() + 10
        while publisher.fetches < 2 and time.monotonic() < until:
            time.sleep(0.01)
        publisher.away = False
        while not keys.are_there() and time.monotonic() < until:
            time.sleep(0.01)
        publisher.away = True
        assert keys.find("test")

    @pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"keys": 1}', b'{"keys": [1]}', b'{"keys": []}'])
    def test_broken_document_counts_as_away(self, body):
        keys = UrlKeys("http://issuer.test/jwks", fetch=lambda url: body)
        with pytest.raises(Unavailable):
            keys.find("test")

    def test_service_fetches_them_before_anybody_calls(self, databases, signer):
        with publishing(signer) as (url, is_asked):
            settings = databases.new(widgets.service()).settings(jwks_url=url, issuer=ISSUER)
            checks = verifier(widgets.service(), SimpleNamespace(settings=settings))
            assert is_asked.wait(10)
        until = time.monotonic() + 10
        while time.monotonic() < until:
            # Asked is not yet taken in.
            with suppress(Unavailable):
                assert checks.verify(signer.token())
                break
            time.sleep(0.01)
        else:
            pytest.fail("the keys are not there")

    def test_fetched_over_http_without_a_proxy(self, signer, monkeypatch):
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        with publishing(signer) as (url, _):
            assert UrlKeys(url).find("test")


@contextmanager
def publishing(signer):
    """Publish the keys once; yield the URL, and the event that tells that somebody had them."""
    is_asked = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(jwks(signer))
            is_asked.set()

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/jwks", is_asked
        thread.join()


class TestFileKeys:
    def test_file_is_read_again_when_it_changed(self, signer, tmp_path):
        path = tmp_path / "jwks.json"
        path.write_bytes(jwks(signer))
        keys = FileKeys(path)
        assert isinstance(keys.find("test"), ECKey)
        assert keys.find("new") is None
        path.write_bytes(jwks(signer, Signer("new")))
        assert keys.find("new")
        path.write_bytes(b"{")
        assert keys.find("new")
