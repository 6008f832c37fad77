"""A service that runs in the test's process, on its real path of calls and a real database, and who calls it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from kontor_kit.calls import MethodSpec
from kontor_kit.changes.waking import Waker
from kontor_kit.db import Database
from kontor_kit.ids import uuid7
from kontor_kit.metrics import Metrics
from kontor_kit.server import Server
from kontor_kit.service import Runtime, Service, all_servicers, call_path
from kontor_kit.testing import ISSUER, Answer, Signer, answer
from kontor_kit.testing.databases import ServiceDatabase


@dataclass(frozen=True)
class Running:
    """A service that answers at `address`."""

    service: Service
    database: ServiceDatabase
    runtime: Runtime
    address: str
    channel: grpc.Channel
    signer: Signer
    methods: Mapping[str, MethodSpec]

    def caller(
        self,
        *permissions: str,
        tenant: uuid.UUID | None = None,
        user: str | None = None,
        teams: Iterable[uuid.UUID] = (),
        **claims: Any,
    ) -> Caller:
        """Return somebody with a token: of a tenant and a user that nobody had before, unless they are given.

        `permissions` are entries such as `contacts.accounts.read:own`, everything (`*:all`) without any.
        """
        tenant, subject, teams = tenant or uuid7(), user or f"users/{uuid7()}", tuple(teams)
        token = self.signer.token(
            *permissions, tenant=str(tenant), sub=subject, teams=[str(team) for team in teams], **claims
        )
        return Caller(self, tenant, subject, teams, token)


@dataclass
class Caller:
    """Somebody who calls a service: `caller("GetAccount", name=...)`."""

    running: Running = field(repr=False)
    tenant: uuid.UUID
    user: str
    """The resource name of who calls."""
    teams: tuple[uuid.UUID, ...]
    token: str = field(repr=False)
    headers: dict[str, Any] = field(default_factory=dict)
    """What came ahead of the last answer."""

    def __call__(
        self, method: str, request: Any = None, *, metadata: Mapping[str, str] | None = None, **fields: Any
    ) -> Any:
        """Call a method with `request`, or one of `fields`; raises grpc.RpcError."""
        spec = self.running.methods[method]
        send = self.running.channel.unary_unary(
            spec.full_name, lambda message: message.SerializeToString(), spec.output.FromString
        )
        sent = (("authorization", f"Bearer {self.token}"), *(metadata or {}).items())
        response, call = send.with_call(request or spec.input(**fields), metadata=sent, timeout=30)
        self.headers = dict(call.initial_metadata() or ())
        return response

    def refusal(
        self, method: str, request: Any = None, *, metadata: Mapping[str, str] | None = None, **fields: Any
    ) -> Answer:
        """Call a method that must not succeed, and return how it was refused."""
        try:
            response = self(method, request, metadata=metadata, **fields)
        except grpc.RpcError as error:
            return answer(error)
        raise AssertionError(f"{method} was not refused, it answered: {response}")

    def colleague(self, *permissions: str, user: str | None = None, teams: Iterable[uuid.UUID] = ()) -> Caller:
        """Return somebody else of the same tenant."""
        return self.running.caller(*permissions, tenant=self.tenant, user=user, teams=teams)


@contextmanager
def running(
    service: Service, database: ServiceDatabase, signer: Signer, keys: Path, **changes: Any
) -> Iterator[Running]:
    """Run `service` on `database` in this process; it takes the tokens of `signer`, whose keys are in the file `keys`.

    `changes` are settings.
    """
    settings = database.settings(issuer=ISSUER, jwks_file=keys, jwks_url="", **changes)
    pool = Database(settings.database_url, pool_size=settings.database_pool_size, name=f"test-{service.name}")
    system = Database(settings.system_database_url, pool_size=4, name=f"test-{service.name}-system")
    pool.open()
    system.open()
    runtime = Runtime(
        settings=settings,
        database=pool,
        system=system,
        metrics=Metrics(f"test-{service.name}"),
        waker=Waker(settings.database_url),
    )
    servicers = all_servicers(service, runtime)
    server = Server(
        settings,
        call_path(service, runtime),
        servicers,
        checks={"database": pool.is_reachable},
        parts=[runtime.waker, *service.parts(runtime)],
        drainers=[runtime.waker.release],
        closers=[pool.close, system.close],
    )
    server.start()
    server.health.check()
    address = f"127.0.0.1:{server.port}"
    methods = {method.name: MethodSpec.of(method) for servicer in servicers for method in servicer.SERVICE.methods}
    try:
        with grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1)]) as channel:
            yield Running(service, database, runtime, address, channel, signer, methods)
    finally:
        server.stop()


class Peer(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # which it cannot take when it runs
    """Stands for other services: knows whatever record it is asked for, except those in `absent`; tells `records`."""

    def __init__(self) -> None:
        self.absent: set[str] = set()
        """Names of records that are not there."""
        self.records: dict[str, bytes] = {}
        """What is told of a record, by name: nothing of others."""
        self._pool = ThreadPoolExecutor(4)
        self._server = grpc.server(self._pool)
        self._server.add_generic_rpc_handlers((self,))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Serve every method."""
        return grpc.unary_unary_rpc_method_handler(self._get)

    def close(self) -> None:
        """Stop."""
        self._server.stop(None).wait()
        self._pool.shutdown()

    def _get(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        # The name is field 1 of every Get request.
        name = data[2 : 2 + data[1]].decode()
        if name in self.absent:
            context.abort(grpc.StatusCode.NOT_FOUND, "there is no such record")
        return self.records.get(name, b"")
