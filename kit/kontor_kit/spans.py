"""Spans for OpenTelemetry, sent by OTLP over gRPC; imported only where a process is told where to send them.

The spans are made of the places in traces that the kit keeps anyway (`kontor_kit.tracing`), without the SDK's own
machinery, which costs several times as much; the SDK decides what is recorded, gathers the spans and sends them. It reads
the variables that OpenTelemetry knows (OTEL_TRACES_SAMPLER, OTEL_BSP_*, OTEL_EXPORTER_OTLP_*) by itself.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from opentelemetry import trace as api
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace.status import Status, StatusCode

from kontor_kit.jobs import holder
from kontor_kit.tracing import Attributes, SpanKind, Trace, recording

_KINDS: Final = {kind: api.SpanKind[kind.name] for kind in SpanKind}
_SCOPE: Final = InstrumentationScope("kontor")
_PATIENCE_SECONDS: Final = 2.0
_FINE: Final = Status(StatusCode.UNSET)


class SpanSender:
    """Sends the spans of a process to `endpoint`, `http://host:4317` or https; those it cannot send in time are lost."""

    def __init__(self, endpoint: str, service: str, role: str, version: str) -> None:
        self._resource = Resource.create(
            {
                "service.namespace": "kontor",
                "service.name": f"kontor-{service}",
                "service.version": version,
                "service.instance.id": holder(),
                "kontor.role": role,
            }
        )
        # Made for its sampler alone, which it reads from the environment.
        self._sampler = TracerProvider(resource=self._resource, shutdown_on_exit=False).sampler
        self._exporter = OTLPSpanExporter(endpoint=endpoint)
        self._processor = BatchSpanProcessor(self._exporter)

    def start(self) -> None:
        """Take the spans of this process from now on."""
        recording.recorder = self

    def stop(self) -> None:
        """Take no more, and send those that are left; whoever stops does not wait long for a collector that is away."""
        recording.recorder = None
        end = threading.Timer(_PATIENCE_SECONDS, self._exporter.shutdown)
        end.start()
        self._processor.shutdown()  # type: ignore[no-untyped-call]
        end.cancel()

    def wants(self, trace_id: str, parent_id: str = "", flags: str = "") -> bool:
        """Tell whether a trace is to be recorded, given what the span that it is continued from says of that."""
        context = None
        if parent_id:
            parent = _context(trace_id, parent_id, int(flags, 16), is_remote=True)
            context = api.set_span_in_context(api.NonRecordingSpan(parent))
        decision = self._sampler.should_sample(context, int(trace_id, 16), "").decision
        return decision is Decision.RECORD_AND_SAMPLE

    def record(
        self, trace: Trace, name: str, kind: SpanKind, began: int, attributes: Attributes, *, failure: str = ""
    ) -> None:
        """Take the span at `trace`, which began at `began` (nanoseconds since 1970) and ends now."""
        flags = int(trace.flags, 16)
        self._processor.on_end(
            ReadableSpan(
                name,
                context=_context(trace.trace_id, trace.span_id, flags),
                parent=_context(trace.trace_id, trace.parent_id, flags) if trace.parent_id else None,
                resource=self._resource,
                attributes=attributes,
                kind=_KINDS[kind],
                status=Status(StatusCode.ERROR, failure) if failure else _FINE,
                start_time=began,
                end_time=time.time_ns(),
                instrumentation_scope=_SCOPE,
            )
        )


def _context(trace_id: str, span_id: str, flags: int, *, is_remote: bool = False) -> api.SpanContext:
    return api.SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=is_remote, trace_flags=api.TraceFlags(flags))
