"""What the gateway stands between in tests: a caller, and an upstream that answers every method of the contract."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import status_pb2
from joserfc import jwk, jwt

from kontor.api.v1 import annotations_pb2
from kontor_gateway.contract import Contract

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


def details(response: httpx.Response) -> dict[str, Any]:
    """The details of an error by the name of their type; the error must have the one form that all have."""
    assert response.headers["content-type"] == "application/json"
    status = response.json()
    assert set(status) <= {"code", "message", "details"}, status
    assert status["code"] > 0
    found = {detail["@type"].rsplit(".", 1)[-1]: detail for detail in status["details"]}
    assert found["ErrorInfo"]["reason"]
    assert found["ErrorInfo"]["domain"]
    return found


def violated(response: httpx.Response) -> str:
    """The one field that an error names."""
    violations = details(response)["BadRequest"]["fieldViolations"]
    assert len(violations) == 1
    return str(violations[0]["field"])
