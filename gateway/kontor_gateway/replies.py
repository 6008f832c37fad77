"""One error form everywhere: how Envoy's own answers become a google.rpc.Status, in JSON and in gRPC."""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

DOMAIN = "gateway.kontor"
_TRANSCODED = "x-envoy-original-path"
"""Set on a request by the transcoder, which also makes gRPC of its content type: the caller is one of REST."""
_IS_ANSWERED = {
    "matcher": {"filter": "kontor", "path": [{"key": "is_answered"}], "value": {"bool_match": True}},
    "match_if_key_not_found": False,
}
_NO_KEYS = {
    "extension_filter": {
        "name": "envoy.access_loggers.extension_filters.cel",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
            "expression": "response.code_details.contains('Jwks_remote_fetch')",
        },
    }
}
_ENVOY_TEXT = "%LOCAL_REPLY_BODY%"


class Reply(NamedTuple):
    """What Envoy answers by itself with an HTTP status."""

    http: int
    code: str
    """The name of the gRPC code."""
    reason: str
    message: str
    """The text; `%LOCAL_REPLY_BODY%` stands for Envoy's own, which is good only where it tells no internals."""
    grpc_code: str = ""
    """The code for gRPC callers where it is another."""
    becomes: int = 0
    """The HTTP status to answer with where it is another."""


REPLIES = (
    Reply(400, "INVALID_ARGUMENT", "MALFORMED_REQUEST", f"The request is malformed. {_ENVOY_TEXT}"),
    Reply(401, "UNAUTHENTICATED", "UNAUTHENTICATED", _ENVOY_TEXT),
    # The gateway decides over tokens only: this is a token for another audience.
    Reply(403, "UNAUTHENTICATED", "UNAUTHENTICATED", _ENVOY_TEXT, becomes=401),
    Reply(404, "NOT_FOUND", "NO_SUCH_METHOD", "There is nothing at this address.", "UNIMPLEMENTED"),
    Reply(405, "UNIMPLEMENTED", "METHOD_NOT_ALLOWED", "This address does not take this method, see the header Allow."),
    Reply(408, "DEADLINE_EXCEEDED", "REQUEST_TIMEOUT", "The request took too long to arrive."),
    Reply(413, "INVALID_ARGUMENT", "REQUEST_TOO_LARGE", "The body of the request is too large."),
    Reply(415, "INVALID_ARGUMENT", "UNSUPPORTED_CONTENT_TYPE", "The content type must be application/json."),
    Reply(426, "INVALID_ARGUMENT", "UPGRADE_REQUIRED", "This version of HTTP is not spoken here."),
    Reply(429, "RESOURCE_EXHAUSTED", "RATE_LIMITED", "There were too many requests, see the header Retry-After."),
    Reply(431, "INVALID_ARGUMENT", "HEADERS_TOO_LARGE", "The headers of the request are too large."),
    Reply(500, "INTERNAL", "INTERNAL", "Something went wrong."),
    Reply(502, "UNAVAILABLE", "BAD_GATEWAY", "The service gave no valid answer."),
    Reply(503, "UNAVAILABLE", "SERVICE_UNAVAILABLE", "The service cannot be reached, try again later."),
    Reply(504, "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", "The service took too long to answer."),
)


def local_reply_config() -> dict[str, Any]:
    """The `local_reply_config` of the HTTP connection manager; the first mapper that fits is taken."""
    # What the request filter has answered is in the right form already.
    mappers: list[dict[str, Any]] = [{"filter": {"metadata_filter": _IS_ANSWERED}}]
    # Without identity's keys nobody can tell whether a token is good: Envoy's 401 would blame the caller.
    unavailable = next(reply for reply in REPLIES if reply.http == 503)
    mappers += _mappers(unavailable, when=_NO_KEYS)
    for reply in REPLIES:
        mappers += _mappers(reply, when=_status(reply.http))
    return {"mappers": mappers}


def _mappers(reply: Reply, *, when: dict[str, Any]) -> list[dict[str, Any]]:
    """The mappers for REST that has been transcoded, for gRPC and gRPC-Web, and for other REST."""
    return [
        _json_mapper(reply, when, _has_header(_TRANSCODED)),
        _grpc_mapper(reply, when, _is_grpc(invert=False)),
        _json_mapper(reply, when, _is_grpc(invert=True)),
    ]


def _grpc_mapper(reply: Reply, *conditions: dict[str, Any]) -> dict[str, Any]:
    """Of gRPC-Web the answer filter completes the answer."""
    code = code_pb2.Code.Value(reply.grpc_code or reply.code)
    headers = {"grpc-status": str(code)}
    mapper: dict[str, Any] = {"filter": _all(*conditions), "status_code": reply.becomes or reply.http}
    if _ENVOY_TEXT not in reply.message:
        # The details repeat the message, which must therefore be known beforehand.
        detail = any_pb2.Any()
        detail.Pack(error_details_pb2.ErrorInfo(reason=reply.reason, domain=DOMAIN))
        status = status_pb2.Status(code=code, message=reply.message, details=[detail])
        headers["grpc-status-details-bin"] = base64.b64encode(status.SerializeToString()).decode().rstrip("=")
        mapper["body"] = {"inline_string": reply.message}
    return mapper | {"headers_to_add": [header(name, value) for name, value in headers.items()]}


def _json_mapper(reply: Reply, *conditions: dict[str, Any]) -> dict[str, Any]:
    status = {
        "code": code_pb2.Code.Value(reply.code),
        "message": reply.message,
        "details": [
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reply.reason, "domain": DOMAIN},
        ],
    }
    return {
        "filter": _all(*conditions),
        "status_code": reply.becomes or reply.http,
        "body_format_override": {"json_format": status, "content_type": "application/json"},
    }


def _all(*filters: dict[str, Any]) -> dict[str, Any]:
    return {"and_filter": {"filters": list(filters)}}


def _status(code: int) -> dict[str, Any]:
    comparison = {"op": "EQ", "value": {"default_value": code, "runtime_key": "kontor.unused"}}
    return {"status_code_filter": {"comparison": comparison}}


def _is_grpc(*, invert: bool) -> dict[str, Any]:
    match = {"name": "content-type", "string_match": {"prefix": "application/grpc"}, "invert_match": invert}
    # A request without a content type is none of gRPC's.
    return {"header_filter": {"header": match | {"treat_missing_header_as_empty": True}}}


def _has_header(name: str) -> dict[str, Any]:
    return {"header_filter": {"header": {"name": name, "present_match": True}}}


def header(name: str, value: str) -> dict[str, Any]:
    """A header that an answer gets in place of any other of this name."""
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
