"""The routes, one for each way to call a method; what has no route is refused."""

from __future__ import annotations

import base64
from collections import defaultdict
from typing import Any

from kontor_gateway.contract import Binding, Contract, Method
from kontor_gateway.fields import route_key
from kontor_gateway.limits import address_limit
from kontor_gateway.replies import header
from kontor_gateway.settings import Options, RateLimits
from kontor_gateway.templates import Template

FILTER_CONFIG = "type.googleapis.com/envoy.config.route.v3.FilterConfig"
DIRECT_LIMIT = 64 * 1024 * 1024
IDENTITY = "identity_http"
_FORM_BYTES = 64 * 1024

Json = dict[str, Any]

_JWT = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig"
_NEEDS_TOKEN: Json = {"envoy.filters.http.jwt_authn": {"@type": _JWT, "requirement_name": "token"}}


def virtual_host(
    contract: Contract, *, documents: dict[str, tuple[str, bytes]], rate_limits: RateLimits, options: Options
) -> Json:
    """The virtual host of everything; `documents` maps a path to content type and content."""
    lists: dict[str, list[Json]] = defaultdict(list)
    for method in contract.methods:
        lists[f"/{method.service}/"].append(_native(method, rate_limits, options))
    bindings = [(method, binding) for method in contract.methods for binding in method.bindings]
    for method, binding in sorted(bindings, key=lambda pair: _precedence(pair[1].template)):
        lists[binding.template.prefix].append(_rest(method, binding, rate_limits, options))
    for template, verbs in _verbs(bindings).items():
        lists[template.prefix].append(_wrong_verb(template, verbs))
    for path, (content_type, content) in documents.items():
        lists[path].append(_document(path, content_type, content))
    for prefix in ("/oauth2/", "/.well-known/"):
        lists[prefix].append(_identity(prefix, rate_limits, options))
    if options.cors_origins:
        for routes in lists.values():
            routes.insert(0, _preflight(contract))
    return {
        "name": "kontor",
        "domains": ["*"],
        "matcher": {
            "matcher_tree": {
                "input": {
                    "name": "path",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
                        "header_name": ":path",
                    },
                },
                "prefix_match_map": {"map": {prefix: _route_list(routes) for prefix, routes in lists.items()}},
            }
        },
        "typed_per_filter_config": {"envoy.filters.http.cors": _cors(options.cors_origins)},
    }


def _route_list(routes: list[Json]) -> Json:
    action = {"@type": "type.googleapis.com/envoy.config.route.v3.RouteList", "routes": routes}
    return {"action": {"name": "routes", "typed_config": action}}


def _precedence(template: Template) -> tuple[Any, ...]:
    """Sorts what is more specific first: literals before wildcards, verbs before none."""
    return (tuple(segment.startswith("*") for segment in template.segments), not template.verb, template.text)


def _answered(method: Method, binding: Binding) -> tuple[str, ...]:
    """The HTTP methods of a binding: what answers GET answers HEAD too, as RFC 9110 wants it; a stream has no end."""
    if binding.verb == "GET" and not method.proto.server_streaming:
        return ("GET", "HEAD")
    return (binding.verb,)


def _verbs(bindings: list[tuple[Method, Binding]]) -> dict[Template, list[str]]:
    """The HTTP methods that each path takes, by a template of it; the more specific paths first."""
    verbs: dict[str, set[str]] = defaultdict(set)
    templates: dict[str, Template] = {}
    for method, binding in bindings:
        verbs[binding.template.path].update(_answered(method, binding))
        templates[binding.template.path] = binding.template
    ordered = sorted(templates.values(), key=_precedence)
    return {template: sorted(verbs[template.path]) for template in ordered}


def _match(template: Template) -> Json:
    if template.is_literal:
        return {"path": template.path}
    return {"safe_regex": {"regex": template.regex}}


def _rest(method: Method, binding: Binding, limits: RateLimits, options: Options) -> Json:
    verb = {"name": ":method", "string_match": {"safe_regex": {"regex": "|".join(_answered(method, binding))}}}
    return {
        "name": method.full_name,
        "match": _match(binding.template) | {"headers": [verb]},
        "route": _action(method, options),
        "metadata": {"filter_metadata": {"envoy.filters.http.lua": {"method": route_key(method, binding)}}},
        "typed_per_filter_config": _access(method, limits),
    }


def _native(method: Method, limits: RateLimits, options: Options) -> Json:
    grpc = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
    disabled = ("envoy.filters.http.buffer", "envoy.filters.http.grpc_json_transcoder")
    return {
        "name": method.path,
        "match": {"path": method.path, "headers": [grpc]},
        "route": _action(method, options),
        "typed_per_filter_config": _access(method, limits) | _disabled(*disabled),
    }


def _action(method: Method, options: Options) -> Json:
    is_stream = method.proto.server_streaming or method.proto.client_streaming
    # Each further try goes to another replica where there is one.
    retry: Json = {
        "retry_on": "connect-failure,refused-stream",
        "num_retries": 2,
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                },
            }
        ],
        # One that is dead has the least requests, and is chosen first again and again.
        "host_selection_retry_max_attempts": 20,
    }
    if method.is_read and not is_stream:
        # A server that stops cancels what comes in at this moment; of callers that go away nobody hears.
        retry["retry_on"] += ",unavailable,cancelled,reset"
    action: Json = {
        "cluster": method.upstream,
        "timeout": "0s" if is_stream else f"{options.timeout_seconds}s",
        "retry_policy": retry,
    }
    if is_stream:
        action["idle_timeout"] = f"{options.stream_idle_seconds}s"
    return action


def _access(method: Method, limits: RateLimits) -> Json:
    """Who may come in, and how often."""
    if not method.is_public:
        return _NEEDS_TOKEN
    return {
        "envoy.filters.http.jwt_authn": {"@type": _JWT, "disabled": True},
        "envoy.filters.http.local_ratelimit": address_limit(limits),
    }


def _wrong_verb(template: Template, verbs: list[str]) -> Json:
    return {
        "match": _match(template),
        "direct_response": {"status": 405},
        "response_headers_to_add": [header("allow", ", ".join(verbs))],
        "typed_per_filter_config": _disabled(*_METHOD_FILTERS),
    }


def _preflight(contract: Contract) -> Json:
    """Where a browser asks whether it may call. The CORS filter answers; what it does not answer has no token."""
    return {
        "match": {
            "prefix": "/",
            "headers": [
                {"name": ":method", "string_match": {"exact": "OPTIONS"}},
                {"name": "access-control-request-method", "present_match": True},
            ],
        },
        "route": {"cluster": contract.upstreams[0]},
        "typed_per_filter_config": _NEEDS_TOKEN,
    }


def _document(path: str, content_type: str, content: bytes) -> Json:
    return {
        "match": {
            "path": path,
            "headers": [{"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}],
        },
        "direct_response": {"status": 200, "body": {"inline_bytes": base64.b64encode(content).decode()}},
        "response_headers_to_add": [header("content-type", content_type), header("cache-control", "no-cache")],
        "typed_per_filter_config": _disabled(*_METHOD_FILTERS),
    }


def _identity(prefix: str, limits: RateLimits, options: Options) -> Json:
    limited = {"envoy.filters.http.local_ratelimit": address_limit(limits)}
    limited["envoy.filters.http.buffer"] = {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.BufferPerRoute",
        "buffer": {"max_request_bytes": _FORM_BYTES},
    }
    return {
        "match": {"prefix": prefix},
        "route": {
            "cluster": IDENTITY,
            "timeout": f"{options.timeout_seconds}s",
            "retry_policy": {"retry_on": "connect-failure", "num_retries": 2},
        },
        "typed_per_filter_config": _disabled(*_METHOD_FILTERS) | limited,
    }


_METHOD_FILTERS = (
    "envoy.filters.http.jwt_authn",
    "envoy.filters.http.local_ratelimit",
    "envoy.filters.http.buffer",
    "envoy.filters.http.lua",
    "envoy.filters.http.grpc_json_transcoder",
)


def _disabled(*names: str) -> Json:
    """Switch filters off that only methods need: a route without a method has nothing to check or to transcode."""
    return {name: {"@type": FILTER_CONFIG, "disabled": True} for name in names}


def _cors(origins: tuple[str, ...]) -> Json:
    return {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy",
        "allow_origin_string_match": [{"exact": origin} for origin in origins],
        "allow_methods": "GET, POST, PATCH, PUT, DELETE",
        "allow_headers": "authorization, content-type, idempotency-key, if-match, traceparent, "
        "grpc-timeout, x-grpc-web, x-user-agent",
        "expose_headers": "etag, grpc-status, grpc-message, grpc-status-details-bin, ratelimit, ratelimit-policy, "
        "retry-after, x-request-id",
        "max_age": "600",
    }
