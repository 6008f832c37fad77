"""The one path of every call: who calls, may they, is the request in order, run it, say how it ended.

Each method of a servicer is wrapped once, at start, into a gRPC handler that does all of this; there are no
interceptors, because each of those costs a call about as much as the whole path does.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, Protocol

import grpc
from google.api import annotations_pb2 as http_annotations
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from grpc_status import rpc_status

from kontor.api.v1 import annotations_pb2
from kontor_kit.errors import DeadlineExceeded, InvalidArgument, PermissionDenied, Unauthenticated
from kontor_kit.metrics import Metrics
from kontor_kit.principals import Principal, Scope
from kontor_kit.statuses import Failure, explain
from kontor_kit.tracing import (
    Attributes,
    SpanKind,
    Trace,
    current_deadline,
    current_trace,
    record,
    recording,
    start_span,
)

logger = logging.getLogger(__name__)
access = logging.getLogger("kontor_kit.access")

PUBLIC: Final = "public"
AUTHENTICATED: Final = "authenticated"
HTTP_STATUS_HEADER: Final = "x-kontor-http-status"
_FAULTS: Final = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""What somebody has to mend; anything else is an answer."""
# What is kept of the caller's time for the answer to travel, in seconds.
_MARGIN: Final = 0.02
_SLOW: Final = 1.0
# gRPC says "no deadline" with a time that is very far away.
_NO_DEADLINE: Final = 10 * 365 * 86400.0


@dataclass(frozen=True, slots=True, eq=False)
class MethodSpec:
    """What the contract says about a method. One object per method."""

    descriptor: MethodDescriptor
    service: str
    """The full name of the gRPC service: `kontor.contacts.v1.AccountService`."""
    name: str
    full_name: str
    """`/kontor.contacts.v1.AccountService/GetAccount`."""
    permission: str
    """What a caller needs; `public` where no token is needed, `authenticated` where any valid one will do."""
    input: type[Message]
    output: type[Message]
    is_streaming: bool
    """Whether it answers with a stream."""
    is_read: bool
    """Whether it changes nothing, as its HTTP verb GET says."""

    @classmethod
    def of(cls, descriptor: MethodDescriptor) -> MethodSpec:
        """Read the contract. Raises ValueError where it names no permission, or takes a stream."""
        options: Any = descriptor.GetOptions().Extensions
        permission = options[annotations_pb2.permission]
        if permission not in (PUBLIC, AUTHENTICATED) and permission.count(".") != 2:  # <service>.<collection>.<verb>
            raise ValueError(f"{descriptor.full_name} names no permission")
        if descriptor.client_streaming:
            raise ValueError(f"{descriptor.full_name} takes a stream, which nothing here serves")
        service = descriptor.containing_service.full_name
        return cls(
            descriptor=descriptor,
            service=service,
            name=descriptor.name,
            full_name=f"/{service}/{descriptor.name}",
            permission=permission,
            input=message_factory.GetMessageClass(descriptor.input_type),
            output=message_factory.GetMessageClass(descriptor.output_type),
            is_streaming=descriptor.server_streaming,
            is_read=options[http_annotations.http].WhichOneof("pattern") == "get",
        )


@dataclass(slots=True, eq=False)
class Call:
    """One call, as the method that serves it sees it."""

    method: MethodSpec
    trace: Trace
    principal: Principal | None = None
    """Who calls; None for a public method."""
    scope: Scope | None = None
    """How far the method's permission reaches for the caller; None where the method needs none."""
    request_id: str = ""
    """The `Idempotency-Key` that came along, or the request's `request_id`, which counts more; empty without."""
    deadline: float = math.inf
    """When the answer must be there, on the clock of `time.monotonic`."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    context: grpc.ServicerContext | None = None
    headers: dict[str, str] = field(default_factory=dict)
    """What is sent ahead of the answer."""

    @property
    def if_match(self) -> str:
        """The etag of `If-Match` that came along; empty where none did."""
        value: str = self.metadata.get("if-match", "")
        return value

    @property
    def peer(self) -> str:
        """The address of the caller as the socket has it (a gateway's, behind one); empty where there is none."""
        return self.context.peer() if self.context else ""

    def remaining(self) -> float:
        """Return the seconds left, not below 0; infinite for a stream without a deadline."""
        return max(self.deadline - time.monotonic(), 0.0)

    def is_active(self) -> bool:
        """Tell whether somebody still waits for the answer."""
        return self.remaining() > 0 and (self.context is None or self.context.is_active())

    def set_header(self, name: str, value: str) -> None:
        """Send a header ahead of the answer; `name` in lower case."""
        self.headers[name] = value

    def set_http_status(self, status: int) -> None:
        """Have the gateway answer with this status in place of the one that belongs to the gRPC code."""
        self.set_header(HTTP_STATUS_HEADER, str(status))


Behavior = Callable[[Any, Call], Any]
"""Serves a method: the request and the call to the response, or to an iterator of responses."""


class Servicer(Protocol):
    """Serves a gRPC service."""

    @property
    def SERVICE(self) -> Any:  # noqa: N802  # a constant of the class that serves
        """The service's descriptor."""

    def handler(self, method: str) -> Behavior | None:
        """Return what serves the method of this name; None where nothing does."""


class Verifier(Protocol):
    """Tells who a token belongs to."""

    def verify(self, token: str) -> Principal:
        """Return the principal. Raises Unauthenticated."""


class Certificates(Protocol):
    """Tells who a client certificate belongs to."""

    def find(self, auth_context: Mapping[str, Iterable[bytes]]) -> Principal | None:
        """Return the principal; None where the certificate names none."""


class CallPath:
    """Makes handlers that take every call the same way.

    `domain` is that of the errors, `checks` are what a request goes through once the caller is let in, in this order;
    each may change the request, and raises InvalidArgument.
    """

    def __init__(
        self,
        domain: str,
        verifier: Verifier,
        *,
        checks: Iterable[Callable[[Message, MethodSpec], None]] = (),
        certificates: Certificates | None = None,
        default_deadline: float = 10.0,
        metrics: Metrics | None = None,
    ) -> None:
        self.domain = domain
        self.metrics = metrics or Metrics()
        self._verifier = verifier
        self._certificates = certificates
        self._checks = tuple(checks)
        self._default_deadline = default_deadline

    def handler(self, spec: MethodSpec, behavior: Behavior) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Make the handler of a method."""
        if spec.is_streaming:
            serve = self._stream(spec, behavior)
            # A stream holds a thread for as long as it lives: grpcio takes it from the pool that this attribute names.
            serve.experimental_thread_pool = getattr(behavior, "experimental_thread_pool", None)  # type: ignore[attr-defined]
            return grpc.unary_stream_rpc_method_handler(serve)
        return grpc.unary_unary_rpc_method_handler(self._unary(spec, behavior))

    def _unary(self, spec: MethodSpec, behavior: Behavior) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        begin, end = self.metrics.calls.begin, self.metrics.calls.of(spec.service, spec.name)

        def serve(data: bytes, context: grpc.ServicerContext) -> bytes:
            begin()
            started = time.monotonic()
            call = self._open(spec, context, started)
            code = grpc.StatusCode.OK
            try:
                body = _encode(behavior(self._admit(call, data), call), spec)
            except Exception as error:  # noqa: BLE001  # the edge: whatever it is, the caller gets a status
                failure = self._fail(call, error)
                code = failure.code
                _abort(call, context, failure)
            finally:
                seconds = time.monotonic() - started
                end(code.name, seconds)
                _log(call, code, seconds)
                if recording.recorder is not None:
                    tell_rpc(call.trace, SpanKind.SERVER, call.method.full_name[1:], code, seconds)
            if call.headers:
                context.send_initial_metadata(tuple(call.headers.items()))
            return body

        return serve

    def _stream(self, spec: MethodSpec, behavior: Behavior) -> Callable[[bytes, grpc.ServicerContext], Iterator[bytes]]:
        begin, end = self.metrics.streams.begin, self.metrics.streams.of(spec.service, spec.name)

        def serve(data: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            begin()
            started = time.monotonic()
            call = self._open(spec, context, started)
            code = grpc.StatusCode.CANCELLED  # what it is when the caller goes away and this generator is closed
            try:
                responses = iter(behavior(self._admit(call, data), call))
                if call.headers:
                    context.send_initial_metadata(tuple(call.headers.items()))
                    call.headers.clear()
                for response in responses:
                    yield _encode(response, spec)
                code = grpc.StatusCode.OK
            except Exception as error:  # noqa: BLE001  # the edge: whatever it is, the caller gets a status
                failure = self._fail(call, error)
                code = failure.code
                _abort(call, context, failure)
            finally:
                seconds = time.monotonic() - started
                end(code.name, seconds)
                _log(call, code, seconds)

        return serve

    def _open(self, spec: MethodSpec, context: grpc.ServicerContext, now: float) -> Call:
        """Read the metadata, continue the trace and settle until when the answer must be there."""
        metadata: dict[str, Any] = dict(context.invocation_metadata())
        trace = start_span(metadata.get("traceparent"), metadata.get("tracestate", ""))
        left = context.time_remaining()
        if left < _NO_DEADLINE:
            deadline = now + left - _MARGIN
        else:
            deadline = math.inf if spec.is_streaming else now + self._default_deadline
        if spec.is_streaming:
            # One span for hours, with one below it for every look into the log, would tell nobody anything.
            trace = trace.unrecorded()
        # Never reset: grpcio runs every call in a context (of contextvars) of its own.
        current_trace.set(trace)
        current_deadline.set(deadline)
        request_id: str = metadata.get("idempotency-key", "")
        return Call(spec, trace, request_id=request_id, deadline=deadline, metadata=metadata, context=context)

    def _admit(self, call: Call, data: bytes) -> Message:
        """Let the caller in and return the request, checked. Nothing of it is looked at before."""
        spec = call.method
        if call.deadline <= time.monotonic():
            raise DeadlineExceeded("no time is left to work on the call")
        if spec.permission != PUBLIC:
            call.principal = principal = self._authenticate(call)
            if spec.permission != AUTHENTICATED:
                call.scope = principal.scope(spec.permission)
                if call.scope is None:
                    raise PermissionDenied(
                        f"the permission {spec.permission} is needed", metadata={"permission": spec.permission}
                    )
        try:
            request = spec.input.FromString(data)
        except DecodeError as error:
            message = "the request is not a valid message of its type, or has text that is not UTF-8"
            raise InvalidArgument(message=message, reason="MALFORMED_REQUEST") from error
        for check in self._checks:
            check(request, spec)
        return request

    def _authenticate(self, call: Call) -> Principal:
        authorization = call.metadata.get("authorization")
        if authorization:
            scheme, _, token = authorization.partition(" ")
            if scheme.lower() != "bearer":
                raise Unauthenticated("the authorization must be a bearer token", reason="TOKEN_INVALID")
            return self._verifier.verify(token)
        if self._certificates is not None and call.context is not None:
            principal = self._certificates.find(call.context.auth_context())  # type: ignore[arg-type]  # lists
            if principal is not None:
                return principal
        raise Unauthenticated("an access token is needed", reason="TOKEN_MISSING")

    def _fail(self, call: Call, exception: Exception) -> Failure:
        """Explain `exception`; log it where it is no business of the caller's."""
        failure = explain(exception, self.domain, call.trace.trace_id)
        extra = {"method": call.method.full_name}
        if failure.error is None:
            logger.error("unforeseen error", exc_info=exception, extra=extra)
        elif failure.error.http_status is not None:
            call.set_http_status(failure.error.http_status)
        elif failure.code is grpc.StatusCode.UNAVAILABLE:
            cause = failure.error.__cause__ or exception
            logger.warning("unavailable", extra={**extra, "reason": f"{type(cause).__name__}: {cause}"})
        return failure


def _encode(response: Any, spec: MethodSpec) -> bytes:
    if type(response) is not spec.output:
        raise TypeError(f"{spec.full_name} answered with {type(response)}")
    body: bytes = response.SerializeToString()
    return body


def _abort(call: Call, context: grpc.ServicerContext, failure: Failure) -> NoReturn:
    if call.headers:
        context.send_initial_metadata(tuple(call.headers.items()))
    context.abort_with_status(rpc_status.to_status(failure.status))
    raise AssertionError("abort_with_status returned")


def _log(call: Call, code: grpc.StatusCode, seconds: float) -> None:
    slow = seconds > _SLOW and not call.method.is_streaming
    level = logging.WARNING if slow else logging.DEBUG
    if access.isEnabledFor(level):
        fields = {"method": call.method.full_name, "code": code.name, "ms": round(seconds * 1000, 3), "peer": call.peer}
        if call.principal is not None:
            fields |= {"tenant": str(call.principal.tenant_id), "subject": call.principal.subject}
        access.log(level, "slow call" if slow else "call", extra=fields)


def tell_rpc(trace: Trace, kind: SpanKind, method: str, code: grpc.StatusCode, seconds: float) -> None:
    """Record the span of a call that has just ended, by who made it or who served it; `method` is `service/method`."""
    service, _, name = method.partition("/")
    attributes: Attributes = {
        "rpc.system": "grpc",
        "rpc.service": service,
        "rpc.method": name,
        "rpc.grpc.status_code": code.value[0],
    }
    began = time.time_ns() - int(seconds * 1e9)
    record(trace, method, kind, began, attributes, failure=code.name if code in _FAULTS else "")
