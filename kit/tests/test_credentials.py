"""Tokens for services: fetched when needed, kept until shortly before they expire."""

import base64
import http.server
import json
import threading

import pytest

from kontor_kit.credentials import ClientToken
from kontor_kit.errors import Unavailable


@pytest.fixture
def endpoint():
    """Counts tokens; says `endpoint.status`, and `endpoint.lifetime` seconds."""

    class Endpoint(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            server.asked.append((self.path, self.headers["authorization"], self.headers["content-type"], body))
            self.send_response(server.status)
            self.end_headers()
            token = {"access_token": f"token {len(server.asked)}", "expires_in": server.lifetime}
            self.wfile.write(json.dumps(token if server.status == 200 else server.refusal).encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    server.asked, server.status, server.refusal, server.lifetime = [], 200, {"error": "invalid_client"}, 600
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_port}/oauth2/token"
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_token_is_asked_for_by_client_credentials(endpoint):
    assert ClientToken(endpoint.url, "me", "sec:ret")() == "token 1"
    ((path, authorization, content_type, body),) = endpoint.asked
    assert (path, content_type, body) == (
        "/oauth2/token",
        "application/x-www-form-urlencoded",
        b"grant_type=client_credentials",
    )
    assert base64.b64decode(authorization.removeprefix("Basic ")) == b"me:sec%3Aret"


@pytest.mark.parametrize(("lifetime", "until"), [(600, 570), (20, 15)])
def test_it_is_kept_until_shortly_before_it_expires(endpoint, lifetime, until):
    endpoint.lifetime = lifetime
    now = 1000.0
    token = ClientToken(endpoint.url, "me", "secret", clock=lambda: now)
    assert token() == "token 1"
    now = 1000.0 + until - 0.1
    assert token() == "token 1"
    now = 1000.0 + until
    assert token() == "token 2"


def test_without_an_answer_it_is_unavailable_and_the_next_call_tries_again(endpoint):
    token = ClientToken(endpoint.url, "me", "secret")
    endpoint.status = 503
    with pytest.raises(Unavailable):
        token()
    endpoint.status = 200
    assert token() == "token 2"
