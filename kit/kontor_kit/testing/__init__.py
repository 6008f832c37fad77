"""Support for tests: tokens, calls, and a server in the same process."""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from joserfc import jwt
from joserfc.jwk import ECKey

from kontor_kit.calls import CallPath, Servicer, Verifier
from kontor_kit.checks import Checks
from kontor_kit.config import Settings
from kontor_kit.health import Check
from kontor_kit.server import Server
from kontor_kit.tokens import FixedKeys, TokenVerifier

ISSUER = "http://issuer.test"
AUDIENCE = "kontor"
TENANT = uuid.UUID("0198a000-0000-7000-8000-000000000001")
USER = "users/0198a000-0000-7000-8000-000000000002"
ENVIRONMENT: Final = {"KONTOR_DRAIN_DELAY_SECONDS": "0", "KONTOR_REFERENCE_SECONDS": "30"}
"""What every service in a test is told: nobody notices that it ends, and machines that run tests may be slow."""


class Signer:
    """Stands for identity: has a key, and signs whatever a test wants signed."""

    def __init__(self, key_id: str = "test") -> None:
        self.key = ECKey.generate_key("P-256", {"kid": key_id, "use": "sig"})

    def token(self, *permissions: str, key: Any = None, header: Mapping[str, str] | None = None, **claims: Any) -> str:
        """Return a token of the tenant TENANT with `permissions` (`*:all` without any); `claims` replace the usual."""
        now = int(time.time())
        usual = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": USER,
            "tenant": str(TENANT),
            "teams": [],
            "perms": [*permissions] or ["*:all"],
            "client_id": "test",
            "iat": now,
            "exp": now + 600,
            "jti": str(uuid.uuid4()),
        }
        chosen = {name: value for name, value in {**usual, **claims}.items() if value is not None}
        head = {"alg": "ES256", "kid": str(self.key.kid), **(header or {})}
        return jwt.encode(head, chosen, key or self.key, algorithms=[head["alg"]])

    def verifier(self) -> TokenVerifier:
        """Return a verifier that takes the tokens of this signer."""
        return TokenVerifier(ISSUER, AUDIENCE, FixedKeys([self.key]))


def settings(**changes: Any) -> Settings:
    """Return the settings of a service `test`: the defaults on a free port of the loopback, and `changes`."""
    usual = Settings.load("test", {"KONTOR_LISTEN": "127.0.0.1:0", **ENVIRONMENT})
    return dataclasses.replace(usual, **changes)


@contextmanager
def serving(
    servicers: Iterable[Servicer],
    verifier: Verifier,
    *,
    path: CallPath | None = None,
    checks: Mapping[str, Check] | None = None,
    **changes: Any,
) -> Iterator[Server]:
    """Run a server in this process; `changes` are settings. Its address is `127.0.0.1:{server.port}`."""
    path = path or CallPath("test.kontor", verifier, checks=[Checks()])
    server = Server(settings(**{"drain": 1.0, **changes}), path, servicers, checks=checks)
    server.start()
    server.health.check()
    try:
        yield server
    finally:
        server.stop()


@dataclasses.dataclass(frozen=True)
class Answer:
    """How a call failed, unpacked."""

    code: grpc.StatusCode
    message: str
    reason: str
    domain: str
    metadata: dict[str, str]
    violations: dict[str, str]
    """Field to description."""
    request_id: str
    details: list[Any]
    """The packed details."""
    headers: dict[str, Any]

    def detail(self, kind: type[Message]) -> Any:
        """Return the first detail of `kind`. Raises LookupError."""
        for packed in self.details:
            if packed.Is(kind.DESCRIPTOR):
                found = kind()
                packed.Unpack(found)
                return found
        raise LookupError(kind.DESCRIPTOR.full_name)


def answer(error: grpc.RpcError) -> Answer:
    """Unpack the error of a call."""
    call: Any = error
    status = rpc_status.from_call(call)
    found: dict[Any, Any] = {
        kind: kind()
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RequestInfo)
    }
    packed = list(status.details) if status is not None else []
    for kind, message in found.items():
        for detail in packed:
            if detail.Is(kind.DESCRIPTOR):
                detail.Unpack(message)
    info, bad, request = found.values()
    return Answer(
        code=call.code(),
        message=call.details(),
        reason=info.reason,
        domain=info.domain,
        metadata=dict(info.metadata),
        violations={violation.field: violation.description for violation in bad.field_violations},
        request_id=request.request_id,
        details=packed,
        headers=dict(call.initial_metadata() or ()),
    )
