"""The HTTP filters, in the order in which a request passes them."""

from __future__ import annotations

import base64
from importlib.resources import files
from typing import Any

from kontor_gateway.contract import Contract
from kontor_gateway.fields import tables
from kontor_gateway.limits import caller_limits, policies
from kontor_gateway.routes import IDENTITY
from kontor_gateway.settings import Options, RateLimits

_TYPE = "type.googleapis.com/envoy.extensions.filters.http"

Json = dict[str, Any]


def http_filters(
    contract: Contract, *, issuer: str, audience: str, jwks_url: str, rate_limits: RateLimits, options: Options
) -> list[Json]:
    """All filters; a token is checked before a body is read, and a body before it is transcoded."""
    request_lua = tables(contract) + _lua("text.lua") + _lua("json.lua") + _lua("request.lua")
    return [
        _filter("health_check", "health_check.v3.HealthCheck", _health()),
        _filter("cors", "cors.v3.Cors", {}),
        _filter("grpc_web", "grpc_web.v3.GrpcWeb", {}),
        _filter("lua.answer", "lua.v3.Lua", _inline(policies(rate_limits) + _lua("answer.lua"))),
        _filter("jwt_authn", "jwt_authn.v3.JwtAuthentication", _jwt(issuer, audience, jwks_url)),
        {"name": "envoy.filters.http.local_ratelimit", "typed_config": caller_limits(rate_limits)},
        _filter("buffer", "buffer.v3.Buffer", {"max_request_bytes": options.max_request_bytes}),
        _filter("lua", "lua.v3.Lua", _inline(request_lua)),
        _filter("grpc_json_transcoder", "grpc_json_transcoder.v3.GrpcJsonTranscoder", _transcoder(contract, options)),
        _filter("header_mutation", "header_mutation.v3.HeaderMutation", _original_path()),
        _filter("router", "router.v3.Router", {"suppress_envoy_headers": True}),
    ]


def _filter(name: str, kind: str, config: Json) -> Json:
    return {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": f"{_TYPE}.{kind}"} | config}


def _lua(name: str) -> str:
    return (files("kontor_gateway") / "lua" / name).read_text()


def _inline(source: str) -> Json:
    return {"default_source_code": {"inline_string": source}}


def _health() -> Json:
    """Readiness: 200, or 503 once draining has begun."""
    return {"pass_through_mode": False, "headers": [{"name": ":path", "string_match": {"exact": "/healthz"}}]}


def _jwt(issuer: str, audience: str, jwks_url: str) -> Json:
    provider = {
        "issuer": issuer,
        "audiences": [audience],
        "remote_jwks": {
            "http_uri": {"uri": jwks_url, "cluster": IDENTITY, "timeout": "5s"},
            "cache_duration": "60s",
            # The listener waits for the first answer, or for the failure, and never for a request.
            "async_fetch": {"failed_refetch_duration": "1s"},
        },
        # From the header only: a token in a URL would end up in logs.
        "from_headers": [{"name": "Authorization", "value_prefix": "Bearer "}],
        "forward": True,
        "payload_in_metadata": "token",
        "clock_skew_seconds": 5,
        "jwt_cache_config": {"jwt_cache_size": 1000, "jwt_max_token_size": 8192},
    }
    return {"providers": {"kontor": provider}, "requirement_map": {"token": {"provider_name": "kontor"}}}


def _original_path() -> Json:
    """The header by which the transcoder tells the services the URL: no query, which may be too long for metadata."""
    header = {"key": "x-envoy-original-path", "value": "%PATH(NQ:ORIG):1000%"}
    return {
        "mutations": {"request_mutations": [{"append": {"header": header, "append_action": "OVERWRITE_IF_EXISTS"}}]}
    }


def _transcoder(contract: Contract, options: Options) -> Json:
    return {
        "proto_descriptor_bin": base64.b64encode(contract.without_comments()).decode(),
        "services": sorted({method.service for method in contract.methods if method.bindings}),
        "match_incoming_request_route": True,
        "convert_grpc_status": True,
        "url_unescape_spec": "ALL_CHARACTERS",
        "query_param_unescape_plus": True,
        "print_options": {"stream_newline_delimited": True},
        "request_validation_options": {"reject_unknown_method": True, "reject_unknown_query_parameters": True},
        "max_request_body_size": options.max_request_bytes,
        "max_response_body_size": 64 * 1024 * 1024,
    }
