"""What every method has in common in OpenAPI: error answers, headers, header parameters."""

from __future__ import annotations

from typing import Any

from kontor_gateway.contract import Binding, Method

Json = dict[str, Any]

HEADERS = ("RateLimit", "RateLimit-Policy", "X-Request-Id")
PAGE_NOT_FOUND = "404-page"
"""The component for 404 where the answer may be a page."""
IDEMPOTENCY_KEY, IF_MATCH = "Idempotency-Key", "If-Match"

_PRINTABLE: Json = {"type": "string", "maxLength": 128, "pattern": "^[!-~]([ -~]*[!-~])?$"}
_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_FIELDS = "type.googleapis.com/google.rpc.BadRequest"
# HTTP status -> gRPC code, reason, message, description.
_ERRORS: dict[int, tuple[int, str, str, str]] = {
    400: (
        3,
        "INVALID_ARGUMENT",
        "display_name: must not be empty",
        "The request is malformed (INVALID_ARGUMENT, OUT_OF_RANGE), or the state forbids it (FAILED_PRECONDITION).",
    ),
    401: (16, "UNAUTHENTICATED", "Jwt is expired", "There is no token, or it is not valid (UNAUTHENTICATED)."),
    403: (7, "PERMISSION_DENIED", "the permission is missing", "The caller may not do this (PERMISSION_DENIED)."),
    404: (5, "NOT_FOUND", "there is no such resource", "There is no such resource (NOT_FOUND)."),
    409: (
        10,
        "ABORTED",
        "somebody else has changed the resource",
        "Somebody else was faster (ABORTED), or the resource, or one like it, is there (ALREADY_EXISTS).",
    ),
    412: (9, "ETAG_MISMATCH", "the resource has changed", "The resource is no longer what If-Match says."),
    413: (3, "REQUEST_TOO_LARGE", "The body of the request is too large.", "The body is too large."),
    415: (
        3,
        "UNSUPPORTED_CONTENT_TYPE",
        "the content type must be application/json",
        "The body is not JSON, or it is compressed.",
    ),
    422: (3, "IDEMPOTENCY_KEY_REUSED", "the key was used before", "The Idempotency-Key came with another request."),
    429: (8, "RATE_LIMITED", "There were too many requests.", "There were too many requests (RESOURCE_EXHAUSTED)."),
    431: (3, "HEADERS_TOO_LARGE", "The headers of the request are too large.", "URL and headers are too large."),
    500: (13, "INTERNAL", "Something went wrong.", "Something went wrong (INTERNAL)."),
    503: (14, "SERVICE_UNAVAILABLE", "The service cannot be reached.", "Try again later (UNAVAILABLE)."),
    504: (4, "DEADLINE_EXCEEDED", "The service took too long to answer.", "It took too long (DEADLINE_EXCEEDED)."),
}


def error_statuses(method: Method, binding: Binding, headers: set[str]) -> list[int]:
    """The statuses that a call can fail with; `headers` are the header parameters that it takes."""
    statuses = {400, 404, 429, 431, 500, 503, 504}
    if not method.is_public:
        statuses |= {401, 403}
    if binding.verb != "GET":
        statuses.add(409)
    if binding.body:
        statuses |= {413, 415}
    if IF_MATCH in headers:
        statuses.add(412)
    if IDEMPOTENCY_KEY in headers:
        statuses.add(422)
    return sorted(statuses)


def components() -> Json:
    """The components `responses`, `headers` and `parameters`."""
    nowhere = _error(404)
    nowhere["description"] = "The link leads nowhere; where people follow it, a page says so."
    nowhere["content"] |= {"text/html": {"schema": {}}}
    return {
        "responses": {str(status): _error(status) for status in _ERRORS} | {PAGE_NOT_FOUND: nowhere},
        "headers": {
            "ETag": _header("The version of the resource, for If-Match.", '"v1"'),
            "RateLimit": _header("What is left of the limit that is nearest.", '"client";r=199;t=1'),
            "RateLimit-Policy": _header("The limit that is nearest.", '"client";q=200;w=1'),
            "Retry-After": _header("How many seconds to wait.", "1"),
            "X-Request-Id": _header("The id of this request in the logs.", "0198c0de-7a2b-4c3d-8e4f-5a6b7c8d9e0f"),
        },
        "parameters": {
            IDEMPOTENCY_KEY: _parameter(
                IDEMPOTENCY_KEY,
                "Makes a repetition of this call return the first answer, for 24 hours.",
                _PRINTABLE,
            ),
            IF_MATCH: _parameter(
                IF_MATCH,
                "The ETag that the resource must still have.",
                _PRINTABLE,
            ),
        },
    }


def _error(status: int) -> Json:
    code, reason, message, description = _ERRORS[status]
    domain = "gateway.kontor" if status in (401, 413, 415, 429, 431, 503, 504) else "contacts.kontor"
    details: list[Json] = [{"@type": _INFO, "reason": reason, "domain": domain}]
    if status == 400:
        violation = {"field": "display_name", "description": "must not be empty"}
        details.append({"@type": _FIELDS, "fieldViolations": [violation]})
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in HEADERS}
    if status == 429:
        headers["Retry-After"] = {"$ref": "#/components/headers/Retry-After"}
    schema = {"$ref": "#/components/schemas/google.rpc.Status"}
    example = {"code": code, "message": message, "details": details}
    return {
        "description": description,
        "headers": headers,
        "content": {"application/json": {"schema": schema, "example": example}},
    }


def _header(description: str, example: str) -> Json:
    return {"description": description, "schema": {"type": "string"}, "example": example}


def _parameter(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "header", "description": description, "schema": schema}
