"""Envoy's bootstrap configuration, rendered whole from the descriptor set."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kontor_gateway.contract import Contract
from kontor_gateway.docs import page
from kontor_gateway.filters import http_filters
from kontor_gateway.openapi import openapi_json
from kontor_gateway.replies import local_reply_config
from kontor_gateway.routes import DIRECT_LIMIT, IDENTITY, virtual_host
from kontor_gateway.settings import Options, RateLimits, Tls
from kontor_gateway.tls import listener_socket, upstream_socket
from kontor_gateway.tracing import COLLECTOR, collector, collector_socket, tracing

Address = tuple[str, int]
Json = dict[str, Any]

_MAX_CONNECTIONS = 10_000
_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"
_ADMIN = "administration"


def render(  # noqa: PLR0913 - what differs between installations is told apart by name
    upstreams: dict[str, list[Address]],
    *,
    listen: Address,
    admin: Address,
    identity_http: list[Address],
    issuer: str,
    audience: str = "kontor",
    descriptors: bytes | Path,
    rate_limits: RateLimits | None = None,
    tls: Tls | None = None,
    options: Options | None = None,
) -> Json:
    """Return the bootstrap as a dict for Envoy's JSON.

    `upstreams` gives the addresses of each service by its name, the second part of its package; the methods of services
    that are not in it have no route. `descriptors` is a serialized FileDescriptorSet with comments, or its file.
    With TLS the files of `tls.secrets` have to lie in `options.secrets`.
    ValueError where the contract declares no permission for a method.
    """
    options, rate_limits = options or Options(), rate_limits or RateLimits()
    contract = Contract.load(descriptors).only(upstreams)
    documents = _documents(contract, issuer)
    host = virtual_host(contract, documents=documents, rate_limits=rate_limits, options=options)
    manager = _connection_manager(options) | {
        "http_filters": http_filters(
            contract,
            issuer=issuer,
            audience=audience,
            jwks_url=_jwks_url(identity_http[0], options),
            rate_limits=rate_limits,
            options=options,
        ),
        "route_config": {
            "name": "kontor",
            "max_direct_response_body_size_bytes": DIRECT_LIMIT,
            "virtual_hosts": [host],
        },
    }
    clusters = [_grpc_cluster(name, addresses, options) for name, addresses in sorted(upstreams.items())]
    clusters += [_http_cluster(IDENTITY, identity_http, options), *_beside(admin, options)]
    listeners = [_listener(listen, manager, tls, options)]
    if options.metrics:
        listeners.append(_metrics_listener(options.metrics))
    return {
        "node": {"id": "gateway", "cluster": "kontor"},
        "admin": {"address": _socket(admin)},
        "static_resources": {"listeners": listeners, "clusters": clusters},
        "overload_manager": _overload(),
    }


def _documents(contract: Contract, issuer: str) -> dict[str, tuple[str, bytes]]:
    specification = openapi_json(contract, issuer=issuer)
    return {
        "/openapi.json": ("application/json", specification),
        "/docs": ("text/html; charset=utf-8", page(specification)),
        "/protos/descriptor.binpb": ("application/octet-stream", contract.serialized),
    }


def _listener(listen: Address, manager: Json, tls: Tls | None, options: Options) -> Json:
    chain: Json = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    if tls:
        chain["transport_socket"] = listener_socket(tls, options.secrets)
    return {"name": "gateway", "address": _socket(listen), "filter_chains": [chain]}


def _beside(admin: Address, options: Options) -> Iterator[Json]:
    """Where else it calls: its own administration for metrics, and who collects spans."""
    if options.metrics:
        yield _cluster(_ADMIN, [admin], {"explicit_http_config": {"http_protocol_options": {}}})
    if options.spans:
        yield _collector_cluster(options)


def _jwks_url(identity: Address, options: Options) -> str:
    scheme = "https" if options.upstream_tls else "http"
    return f"{scheme}://{identity[0]}:{identity[1]}/.well-known/jwks.json"


def _metrics_listener(address: Address) -> Json:
    """Who may ask for metrics may not administer: two paths of the administration, to be read only."""
    routes = [
        {"match": {"path": path, "headers": [_only_get()]}, "route": {"cluster": _ADMIN}}
        for path in ("/stats/prometheus", "/ready")
    ]
    manager = {
        "@type": f"type.googleapis.com/{_MANAGER}",
        "stat_prefix": "metrics",
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"type.googleapis.com/{_ROUTER}"}}
        ],
        "route_config": {"name": "metrics", "virtual_hosts": [{"name": "metrics", "domains": ["*"], "routes": routes}]},
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {"name": "metrics", "address": _socket(address), "filter_chains": [chain]}


def _only_get() -> Json:
    return {"name": ":method", "string_match": {"exact": "GET"}}


def _connection_manager(options: Options) -> Json:
    return {
        "@type": f"type.googleapis.com/{_MANAGER}",
        "stat_prefix": "gateway",
        "codec_type": "AUTO",
        "use_remote_address": True,
        "xff_num_trusted_hops": options.trusted_hops,
        "normalize_path": True,
        "server_header_transformation": "PASS_THROUGH",
        "generate_request_id": True,
        "always_set_request_id_in_response": True,
        "request_headers_timeout": "10s",
        # A GET of a batch has a thousand names in its URL.
        "max_request_headers_kb": 256,
        "stream_idle_timeout": f"{options.stream_idle_seconds}s",
        "common_http_protocol_options": {"idle_timeout": "3600s", "headers_with_underscores_action": "DROP_HEADER"},
        "http2_protocol_options": {
            "max_concurrent_streams": 256,
            "initial_stream_window_size": 1024 * 1024,
            "initial_connection_window_size": 4 * 1024 * 1024,
            "connection_keepalive": {"interval": "30s", "timeout": "10s"},
        },
        "early_header_mutation_extensions": [_strip_headers()],
        "local_reply_config": local_reply_config(),
        "access_log": _access_log(options.access_log) if options.access_log else [],
        **({"tracing": tracing()} if options.spans else {}),
    }


def _strip_headers() -> Json:
    """Headers by which the platform speaks to itself: a caller can never set them, whatever a service believes."""
    kind = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
    prefixes = ("x-kontor-", "x-envoy-")
    mutations = [{"remove_on_match": {"key_matcher": {"prefix": prefix}}} for prefix in prefixes]
    return {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": {"@type": f"type.googleapis.com/{kind}", "mutations": mutations},
    }


def _access_log(path: str) -> list[Json]:
    """One line of JSON a request: no query, no header of the caller's but the ids, because they hold secrets."""
    claims = "DYNAMIC_METADATA(envoy.filters.http.jwt_authn:token"
    line = {
        "time": "%START_TIME%",
        "method": "%REQ(X-ENVOY-ORIGINAL-METHOD?:METHOD)%",
        "path": "%PATH(NQ:ORIG_OR_PATH)%",
        "protocol": "%PROTOCOL%",
        "route": "%ROUTE_NAME%",
        "status": "%RESPONSE_CODE%",
        "grpc_status": "%GRPC_STATUS_NUMBER%",
        "duration_ms": "%DURATION%",
        "request_bytes": "%BYTES_RECEIVED%",
        "response_bytes": "%BYTES_SENT%",
        "upstream": "%UPSTREAM_HOST%",
        "flags": "%RESPONSE_FLAGS%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "tenant": f"%{claims}:tenant)%",
        "subject": f"%{claims}:sub)%",
        "address": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "traceparent": "%REQ(TRACEPARENT)%",
    }
    kind = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
    config = {"@type": kind, "path": path, "log_format": {"json_format": line}}
    return [{"name": "envoy.access_loggers.file", "typed_config": config}]


def _grpc_cluster(name: str, addresses: list[Address], options: Options) -> Json:
    protocol = {
        "explicit_http_config": {
            "http2_protocol_options": {"connection_keepalive": {"interval": "30s", "timeout": "10s"}}
        },
    }
    check = {"timeout": "1s", "interval": "2s", "no_traffic_interval": "2s"}
    thresholds = {"healthy_threshold": 1, "unhealthy_threshold": 2}
    cluster = _cluster(name, addresses, protocol) | {
        "health_checks": [check | thresholds | {"grpc_health_check": {}}],
        "outlier_detection": {
            "consecutive_5xx": 10,
            "consecutive_gateway_failure": 5,
            "interval": "5s",
            "base_ejection_time": "5s",
            "max_ejection_percent": 50,
        },
    }
    if options.upstream_tls:
        cluster["transport_socket"] = upstream_socket(options.upstream_tls, options.secrets, name)
    return cluster


def _http_cluster(name: str, addresses: list[Address], options: Options) -> Json:
    cluster = _cluster(name, addresses, {"explicit_http_config": {"http_protocol_options": {}}})
    if options.upstream_tls:
        # It is the same process as the gRPC service of identity, with the same certificate.
        cluster["transport_socket"] = upstream_socket(options.upstream_tls, options.secrets, "identity")
    return cluster


def _collector_cluster(options: Options) -> Json:
    cluster = _cluster(COLLECTOR, [collector(options.spans)], {"explicit_http_config": {"http2_protocol_options": {}}})
    transport = collector_socket(options.spans, options.spans_ca)
    return cluster | ({"transport_socket": transport} if transport else {})


def _cluster(name: str, addresses: list[Address], protocol: Json) -> Json:
    kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    endpoints = [{"endpoint": {"address": _socket(address)}} for address in addresses]
    return {
        "name": name,
        "type": "STATIC" if all(_is_ip(host) for host, _ in addresses) else "STRICT_DNS",
        "connect_timeout": "2s",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        "typed_extension_protocol_options": {kind: {"@type": f"type.googleapis.com/{kind}"} | protocol},
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": 1024,
                    "max_pending_requests": 1024,
                    "max_requests": 4096,
                    "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": 5},
                }
            ]
        },
    }


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _socket(address: Address) -> Json:
    return {"socket_address": {"address": address[0], "port_value": address[1]}}


def _overload() -> Json:
    kind = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    config = {"@type": f"type.googleapis.com/{kind}", "max_active_downstream_connections": _MAX_CONNECTIONS}
    name = "envoy.resource_monitors.global_downstream_max_connections"
    return {"resource_monitors": [{"name": name, "typed_config": config}]}
