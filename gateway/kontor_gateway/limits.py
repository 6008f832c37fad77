"""Local rate limits: per tenant and per client where there is a token, per address where there is none."""

from __future__ import annotations

from typing import Any

from kontor_gateway.settings import Limit, RateLimits

_EVERYTHING = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
_NO_LIMIT = Limit(1_000_000_000)
_MAX_CALLERS = 10_000

Json = dict[str, Any]


def caller_limits(limits: RateLimits) -> Json:
    """The filter's configuration for methods that need a token."""
    return _config(
        (limits.client, [_claim("tenant"), _claim("sub")]),
        (limits.tenant, [_claim("tenant")]),
    )


def address_limit(limits: RateLimits) -> Json:
    """The filter's configuration for a route that needs none; each such route counts by itself."""
    return _config((limits.address, [("remote_address", {"remote_address": {}})]))


def policies(limits: RateLimits) -> str:
    """The Lua table of the policies, by what Envoy's header tells of a policy: how many requests it allows."""
    lines = ["local POLICIES = {}"]
    for name, limit in (("tenant", limits.tenant), ("client", limits.client), ("address", limits.address)):
        text = f'"{name}";q={limit.requests};w={limit.seconds}'
        lines.append(f'POLICIES["{limit.requests}"] = {{ name = "{name}", text = \'{text}\' }}')
    return "\n".join(lines) + "\n"


def _config(*limits: tuple[Limit, list[tuple[str, Json]]]) -> Json:
    return {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "rate_limit",
        "token_bucket": _bucket(_NO_LIMIT),
        "always_consume_default_token_bucket": False,
        "filter_enabled": _EVERYTHING,
        "filter_enforced": _EVERYTHING,
        "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
        "rate_limited_as_resource_exhausted": True,
        "max_dynamic_descriptors": _MAX_CALLERS,
        "rate_limits": [{"actions": [action for _, action in actions]} for _, actions in limits],
        "descriptors": [
            {"entries": [{"key": key} for key, _ in actions], "token_bucket": _bucket(limit)}
            for limit, actions in limits
        ],
    }


def _claim(name: str) -> tuple[str, Json]:
    """An entry of a descriptor from a claim of the token; the descriptor is left out where there is no token."""
    path = [{"key": "token"}, {"key": name}]
    key = {"key": "envoy.filters.http.jwt_authn", "path": path}
    return name, {"metadata": {"descriptor_key": name, "metadata_key": key, "source": "DYNAMIC"}}


def _bucket(limit: Limit) -> Json:
    return {
        "max_tokens": limit.requests,
        "tokens_per_fill": limit.requests,
        "fill_interval": f"{limit.seconds}s",
    }
