"""Spans of the gateway, sent by OTLP over gRPC: what was asked for, and nothing of who asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

Json = dict[str, Any]

COLLECTOR: Final = "collector"
"""The cluster that takes the spans."""
_PORT: Final = 4317
# What Envoy says of its own accord of who asks, written over.
_PERSONAL: Final = ("peer.address", "user_agent")


def tracing() -> Json:
    """The part of the connection manager: a span for each request that is in no trace yet, or in one that is recorded."""
    kind = "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig"
    service = {"envoy_grpc": {"cluster_name": COLLECTOR}, "timeout": "5s"}
    return {
        "provider": {
            "name": "envoy.tracers.opentelemetry",
            "typed_config": {"@type": kind, "grpc_service": service, "service_name": "kontor-gateway"},
        },
        # The path ends before it begins: it may name a record, and a query may hold anything.
        "max_path_tag_length": 0,
        "custom_tags": [{"tag": tag, "literal": {"value": "-"}} for tag in _PERSONAL],
    }


def collector(endpoint: str) -> tuple[str, int]:
    """Return host and port of an endpoint such as `http://collector:4317`. ValueError where it is none."""
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{endpoint!r} is not of the form http://host:port or https://host:port")
    return parts.hostname, parts.port or _PORT


def collector_socket(endpoint: str, authorities: Path) -> Json | None:
    """The transport socket of the cluster; None for plain text. `authorities` is a file in PEM."""
    if not endpoint.startswith("https:"):
        return None
    host, _ = collector(endpoint)
    names = [{"san_type": "DNS", "matcher": {"exact": host}}]
    trusted = {"trusted_ca": {"filename": str(authorities)}, "match_typed_subject_alt_names": names}
    context = {"common_tls_context": {"validation_context": trusted}, "sni": host}
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    return {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": kind} | context}
