"""References to records of other services: nothing is stored that names a record which is not there.

The owner of the record is asked, with the caller's own token, so that nobody learns of what they may not see; a yes is
remembered for this caller for a while. Where the owner cannot be reached the write is refused as UNAVAILABLE.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterable
from typing import Final, NamedTuple

import grpc
from google.protobuf.descriptor import Descriptor

from kontor_kit.calls import Call
from kontor_kit.clients import Peers
from kontor_kit.errors import InvalidArgument, Unavailable, Violation
from kontor_kit.ids import parse_name
from kontor_kit.mapping import pattern_of, reference_type

_REMEMBERED_SECONDS: Final = 60.0
_REMEMBERED: Final = 100_000
_ABSENT: Final = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT)


class Foreign(NamedTuple):
    """A field that refers to records of another service."""

    field: str
    repeated: bool
    service: str
    """The short name of the service, `identity`."""
    method: str
    """The full method that returns such a record, `/kontor.identity.v1.UserService/GetUser`."""
    pattern: str
    """The pattern of the names, `users/{user}`."""


def foreign_fields(descriptor: Descriptor) -> list[Foreign]:
    """Return the fields of a resource that refer to records of other services."""
    own = descriptor.file.package.split(".")[1]
    found = []
    for field in descriptor.fields:
        domain, _, kind = reference_type(field).partition("/")
        service = domain.partition(".")[0]
        if kind and service != own:
            method = f"/kontor.{service}.v1.{kind}Service/Get{kind}"
            found.append(Foreign(field.name, field.is_repeated, service, method, pattern_of(reference_type(field))))
    return found


class References:
    """Asks other services. Safe for threads."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._lock = threading.Lock()
        self._remembered: dict[tuple[uuid.UUID, str, str], float] = {}

    def check(self, call: Call, foreign: Foreign, names: Iterable[str]) -> list[Violation]:
        """Return a violation for each name that does not exist, or not for the caller; raises Unavailable."""
        principal = call.principal
        assert principal is not None, "a record is stored by a principal"
        violations: list[Violation] = []
        if principal.subject.startswith("services/"):
            return violations  # A service has no token to ask with; it knows the names from the owner's own events.
        for index, name in enumerate(names):
            # Who calls exists; the token says so.
            key = (principal.tenant_id, principal.subject, name)
            if name == principal.subject or self._remembered.get(key, 0.0) > time.monotonic():
                continue
            path = f"{foreign.field}[{index}]" if foreign.repeated else foreign.field
            try:
                parse_name(name, foreign.pattern, path)
            except InvalidArgument as error:
                violations += error.violations
                continue
            if not self._exists(call, foreign, name):
                violations.append(Violation(path, f"there is no {name}"))
                continue
            with self._lock:
                if len(self._remembered) >= _REMEMBERED:
                    self._remembered.clear()
                self._remembered[key] = time.monotonic() + _REMEMBERED_SECONDS
        return violations

    def _exists(self, call: Call, foreign: Foreign, name: str) -> bool:
        channel = self._peers.channel(foreign.service)
        # Every Get request has the name as its field 1, and a name is short: two bytes go before it.
        ask = channel.unary_unary(
            foreign.method, lambda text: bytes((0x0A, len(text))) + text.encode(), lambda data: data
        )
        try:
            token = str(call.metadata.get("authorization", ""))
            ask(name, timeout=self._peers.reference_seconds, metadata=(("authorization", token),))
        except grpc.RpcError as error:
            if error.code() in _ABSENT:
                return False
            raise Unavailable(f"{foreign.service} cannot be asked for {name}; repeat later") from error
        return True
