"""The sample in docs: another department follows contacts."""

import http.client
import http.server
import importlib.util
import itertools
import json
import threading
import time
import urllib.error
from pathlib import Path

import grpc
import pytest

from kontor.changes.v1 import stream_pb2
from kontor_contacts.service import service
from kontor_contacts.tables import metadata
from kontor_kit.changes.sequencer import Sequencer
from kontor_kit.db import Database
from services.contacts.tests.test_changes import create

SAMPLE = Path(__file__).parents[3] / "docs" / "following.py"


@pytest.fixture
def following():
    spec = importlib.util.spec_from_file_location("following", SAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def token_endpoint(monkeypatch):
    """Serve the token of `endpoint.caller`; its URL is `endpoint.url`."""

    class Endpoint(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            assert self.path == "/oauth2/token"
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"access_token": server.caller().token, "expires_in": 600}).encode())

        def log_message(self, *_):
            pass

    monkeypatch.setenv("CLIENT_ID", "me")
    monkeypatch.setenv("CLIENT_SECRET", "my secret")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_it_is_told_of_each_change_once_though_it_is_stopped_and_its_token_ends(
    serve, following, token_endpoint, tmp_path, capsys
):
    contacts = serve(service())
    anna = contacts.caller()
    token_endpoint.caller = lambda: contacts.caller(tenant=anna.tenant, user=anna.user, exp=int(time.time()) + 2)
    system = Database(contacts.database.url("system"), pool_size=2)
    system.open()
    sequencer = Sequencer(metadata, system)
    kept = tmp_path / "position"

    class Enough(Exception):
        pass

    def take(count):
        """Run the sample until it printed so many lines; return them."""
        lines = []

        def say(*words, **_):
            lines.append(words)
            if len(lines) == count:
                # What was printed is written down as well before it is stopped.
                monkey.stop = True

        class Kept(type(kept)):
            def write_text(self, text, *arguments, **keywords):
                super().write_text(text, *arguments, **keywords)
                if monkey.stop:
                    raise Enough

        monkey = type("Monkey", (), {"stop": False})
        following.print = say
        with pytest.raises(Enough):
            following.main(token_endpoint.url, Kept(kept), contacts.address)
        return [words[2] for words in lines]

    for number in range(3):
        create(anna, f"Account {number}")
    while sequencer.advance():
        pass
    assert take(2) == ["Account 0", "Account 1"]
    assert take(1) == ["Account 2"]

    def later():
        create(anna, "Account 3")
        while sequencer.advance():
            pass

    timer = threading.Timer(3.0, later)  # when the first token has ended
    timer.start()
    assert take(1) == ["Account 3"]
    timer.join()
    system.close()


class Died(grpc.RpcError):
    """What a caller sees when something on the way died."""

    def __init__(self, code):
        self.code = lambda: code


def test_it_goes_on_from_its_position_whatever_died_on_the_way(following, monkeypatch):
    """Envoy resets the stream of a service that died, which gRPC calls INTERNAL; there is no token without a gateway."""
    deaths = [
        urllib.error.URLError("refused"),
        Died(grpc.StatusCode.UNAVAILABLE),
        http.client.RemoteDisconnected(),
        Died(grpc.StatusCode.INTERNAL),
    ]
    asked = []

    class Stub:
        def __init__(self, channel):
            pass

        def Subscribe(self, request, metadata):  # noqa: N802  # as gRPC names it
            asked.append(request.position)
            yield stream_pb2.SubscribeResponse(position=f"{len(asked)}")
            if deaths:
                raise deaths.pop()

    def token(url):
        if len(deaths) % 2:
            raise deaths.pop()
        return "token"

    monkeypatch.setattr(following.change_service_pb2_grpc, "ChangeServiceStub", Stub)
    monkeypatch.setattr(following, "token", token)
    monkeypatch.setattr(following.time, "sleep", lambda seconds: None)
    told = following.changes("http://127.0.0.1:9", "127.0.0.1:9", "0")
    assert [position for _, position in itertools.islice(told, 3)] == ["1", "2", "3"]
    assert asked == ["0", "1", "2"]
    assert deaths == []
