"""Channels to other services: every call has a deadline and carries the trace, and only reads are repeated."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, Self

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from kontor_kit.calls import Call, MethodSpec, tell_rpc
from kontor_kit.config import Settings
from kontor_kit.errors import Unavailable
from kontor_kit.metrics import RPC_LABELS, Durations
from kontor_kit.tls import ClientTls, Watched, channel_credentials
from kontor_kit.tracing import SpanKind, Trace, current_deadline, current_trace, recorded_below

Token = str | Callable[[], str]
"""A bearer token, or what gives one for each call."""

OUTGOING: Final = Durations("kontor_client_seconds", "How long calls to other services took.", RPC_LABELS)
"""All calls that this process makes, streams left out; whoever serves metrics registers it."""


def connect(
    address: str,
    services: Iterable[ServiceDescriptor] = (),
    *,
    token: Token | None = None,
    tls: ClientTls | None = None,
    deadline: float = 5.0,
) -> grpc.Channel:
    """Open a channel to `address` (`host:port`), in plain text where `tls` is None.

    Where the address stands for several replicas (`dns:///name:port` of a headless service), they share the calls.
    Reads of `services` are repeated up to three times while the server is UNAVAILABLE. A call that brings no timeout
    gets `deadline` seconds; none gets more than is left of the call on whose behalf it is made.
    """
    options: list[tuple[str, Any]] = [
        ("grpc.service_config", json.dumps(service_config(services))),
        ("grpc.keepalive_time_ms", 60_000),
        # Other services are neighbours: a proxy for the outside world, set in the environment, is not for them.
        ("grpc.enable_http_proxy", 0),
        ("grpc.max_receive_message_length", -1),
    ]
    if tls is None:
        channel = grpc.insecure_channel(address, options)
    else:
        if tls.server_name:
            options.append(("grpc.ssl_target_name_override", tls.server_name))
        channel = grpc.secure_channel(address, channel_credentials(tls), options)
    return grpc.intercept_channel(channel, _Outgoing(token, deadline))


class Peers:
    """The other services, by short name: a channel to each, another one once the certificates changed. For threads."""

    def __init__(
        self,
        targets: Mapping[str, str],
        tls: ClientTls | None = None,
        *,
        token: Token | None = None,
        reference_seconds: float = 0.2,
    ) -> None:
        """`reference_seconds` is how long one of them may take to say whether a record is there."""
        self._reference_seconds = reference_seconds
        self._targets = targets
        self._tls = tls
        self._token = token
        self._lock = threading.Lock()
        self._channels = Watched[dict[str, grpc.Channel]](dict, tls.files if tls else ())

    @classmethod
    def of(cls, settings: Settings, *, token: Token | None = None) -> Self:
        """Return those that a service is configured with."""
        tls, seconds = ClientTls.of(settings), settings.reference_seconds
        return cls(settings.peers, tls, token=token, reference_seconds=seconds)

    def channel(self, service: str) -> grpc.Channel:
        """Return a channel to a service, to be asked for anew for each call. Raises Unavailable where it is unknown."""
        with self._lock:
            self._channels.refresh()  # Calls under way go on over the channels before.
            if service not in self._channels.value:
                self._channels.value[service] = self.connect(service)
            return self._channels.value[service]

    def connect(self, service: str) -> grpc.Channel:
        """Open a channel to a service, for the caller to close. Raises Unavailable where it is unknown."""
        if service not in self._targets:
            raise Unavailable(f"it is not configured where {service} answers", reason="PEER_NOT_CONFIGURED")
        return connect(self._targets[service], token=self._token, tls=self._tls)

    def call(
        self,
        method: MethodDescriptor,
        request: Message,
        *,
        metadata: tuple[tuple[str, str | bytes], ...] = (),
        timeout: float | None = None,
    ) -> Any:
        """Call a method of the service that its package names, and return the answer; `timeout` is in seconds.

        Raises grpc.RpcError, and Unavailable where the service is unknown.
        """
        return self._sender(method)(request, metadata=metadata, timeout=timeout)

    def ask(self, call: Call, method: MethodDescriptor, request: Message, *, timeout: float = 3.0) -> Any:
        """Call a method within `call`, with the caller's own token: what they may not, is refused. Raises as `call`."""
        return self.call(method, request, metadata=_token_of(call), timeout=timeout)

    def ask_whether(self, call: Call, method: MethodDescriptor, request: Message) -> Any:
        """Begin to ask, as `ask` does, for a record that is to be referred to; return a future of the answer."""
        return self._sender(method).future(request, metadata=_token_of(call), timeout=self._reference_seconds)

    def _sender(self, method: MethodDescriptor) -> Any:
        spec = MethodSpec.of(method)
        channel = self.channel(spec.service.split(".")[1])
        return channel.unary_unary(spec.full_name, lambda message: message.SerializeToString(), spec.output.FromString)

    def close(self) -> None:
        """Close the channels."""
        with self._lock:
            for channel in self._channels.value.values():
                channel.close()
            self._channels.value.clear()


def _token_of(call: Call) -> tuple[tuple[str, str]]:
    return (("authorization", str(call.metadata.get("authorization", ""))),)


def service_config(services: Iterable[ServiceDescriptor]) -> dict[str, Any]:
    """Return the gRPC service config: replicas take turns, and reads of `services`, as the contract says, are repeated."""
    reads = [
        {"service": spec.service, "method": spec.name}
        for service in services
        for spec in map(MethodSpec.of, service.methods)
        if spec.is_read and not spec.is_streaming
    ]
    retry = {
        "maxAttempts": 3,
        "initialBackoff": "0.05s",
        "maxBackoff": "0.5s",
        "backoffMultiplier": 3,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    repeated = {"methodConfig": [{"name": reads, "retryPolicy": retry}]} if reads else {}
    return {"loadBalancingConfig": [{"round_robin": {}}]} | repeated


class _Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: Any
    compression: Any


class _CallDetails(_Details, grpc.ClientCallDetails):
    pass


class _Outgoing(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):  # type: ignore[type-arg]
    """Adds token, trace and deadline to each call."""

    def __init__(self, token: Token | None, deadline: float) -> None:
        self._token = token
        self._deadline = deadline

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Make the call, and count it; a span where spans are recorded."""
        trace = recorded_below()
        started = time.monotonic()
        call = continuation(self._complete(client_call_details, self._deadline, trace), request)

        def end(ended: Any) -> None:
            path = client_call_details.method[1:]
            code, seconds = ended.code(), time.monotonic() - started
            OUTGOING.of(*path.split("/"))(code.name, seconds)
            if trace is not None:
                tell_rpc(trace, SpanKind.CLIENT, path, code, seconds)

        call.add_done_callback(end)
        return call

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Make the call; a stream may last as long as the caller wants."""
        return continuation(self._complete(client_call_details, None, None), request)

    def _complete(self, details: Any, deadline: float | None, span: Trace | None) -> _CallDetails:
        metadata = list(details.metadata or ())
        given = {name for name, _ in metadata}
        if self._token is not None and "authorization" not in given:
            metadata.append(
                ("authorization", f"Bearer {self._token if isinstance(self._token, str) else self._token()}")
            )
        trace = span or current_trace.get()
        if trace is not None and "traceparent" not in given:
            metadata.append(("traceparent", trace.traceparent))
            if trace.state:
                metadata.append(("tracestate", trace.state))
        timeout = details.timeout if details.timeout is not None else deadline
        until = current_deadline.get()
        if until is not None and until < float("inf"):
            left = max(until - time.monotonic(), 0.0)
            timeout = left if timeout is None else min(timeout, left)
        return _CallDetails(
            details.method, timeout, metadata, details.credentials, details.wait_for_ready, details.compression
        )
