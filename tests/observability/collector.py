"""Stands for a collector of OpenTelemetry: takes spans by OTLP over gRPC and keeps them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service
from opentelemetry.proto.trace.v1 import trace_pb2

KINDS = {value: name.removeprefix("SPAN_KIND_") for name, value in trace_pb2.Span.SpanKind.items()}


@dataclass(frozen=True)
class Span:
    service: str
    name: str
    kind: str
    trace_id: str
    id: str
    parent: str
    attributes: dict[str, Any] = field(compare=False)
    failed: bool = False


class Collector(service.TraceServiceServicer):
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.spans: list[Span] = []
        self.received = b""
        """All that came, as it came."""
        self._server = grpc.server(ThreadPoolExecutor(2))
        service.add_TraceServiceServicer_to_server(self, self._server)
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the contract calls it so
        with self._lock:
            self.received += request.SerializeToString()
            for part in request.resource_spans:
                name = _attributes(part.resource.attributes)["service.name"]
                self.spans += [_span(name, span) for scope in part.scope_spans for span in scope.spans]
        return messages.ExportTraceServiceResponse()

    def close(self) -> None:
        self._server.stop(None).wait()

    def of(self, trace_id: str) -> Tree:
        with self._lock:
            return Tree([span for span in self.spans if span.trace_id == trace_id])


class Tree:
    """The spans of one trace."""

    def __init__(self, spans: list[Span]) -> None:
        self.spans = spans

    def below(self, parent: str, kind: str) -> list[Span]:
        return [span for span in self.spans if span.parent == parent and span.kind == kind]

    def one(self, parent: str, kind: str, name: str) -> Span:
        (found,) = [span for span in self.below(parent, kind) if span.name == name]
        return found


def _span(service: str, span: Any) -> Span:
    return Span(
        service,
        span.name,
        KINDS[span.kind],
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        _attributes(span.attributes),
        span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
