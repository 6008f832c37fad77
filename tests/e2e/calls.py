"""The three ways to call a method: REST through the gateway, gRPC through the gateway, gRPC straight to the service."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import grpc
import httpx
from google.api import annotations_pb2
from google.api.httpbody_pb2 import HttpBody
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from kontor.api.v1 import conflict_pb2
from kontor_kit.calls import HTTP_STATUS_HEADER, MethodSpec
from tests.e2e.contract import service_of
from tests.e2e.support import Platform

REST, GATEWAY, DIRECT = WAYS = ("REST", "gRPC through the gateway", "gRPC at the service")
# What errors bring along; imported, so that their JSON can be read.
DETAILS = (error_details_pb2, conflict_pb2)
# https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto says which status each code has in HTTP;
# the kit and the gateway have a status of their own for a few errors.
HTTP = {
    "INVALID_ARGUMENT": {400, 413, 415, 422, 431},
    "FAILED_PRECONDITION": {400, 412},
    "OUT_OF_RANGE": {400},
    "UNAUTHENTICATED": {401},
    "PERMISSION_DENIED": {403},
    "NOT_FOUND": {404},
    "ABORTED": {409, 412},
    "ALREADY_EXISTS": {409},
    "RESOURCE_EXHAUSTED": {429},
    "UNIMPLEMENTED": {405, 501},
    "UNAVAILABLE": {502, 503},
}


@dataclass(frozen=True)
class Answer:
    """How a call ended."""

    code: str
    """The name of the gRPC code, OK for a success."""
    message: Any = None
    """What was answered; None for an error."""
    text: str = ""
    """The error's sentence."""
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    fields: tuple[str, ...] = ()
    """The fields that are at fault."""


def explain(status: status_pb2.Status) -> Answer:
    """Unpack an error."""
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        _ = detail.Unpack(info) or detail.Unpack(bad)
    fields = tuple(violation.field for violation in bad.field_violations)
    return Answer(code_pb2.Code.Name(status.code), None, status.message, info.reason, dict(info.metadata), fields)


def read_error(response: httpx.Response) -> Answer:
    """Unpack an error of REST, which has the one form that all of them have, and the HTTP status of its code."""
    assert response.headers["content-type"] == "application/json", response.text
    status = json_format.Parse(response.content, status_pb2.Status())
    answer = explain(status)
    assert answer.text, response.text
    assert answer.reason, response.text
    assert response.status_code in HTTP[answer.code], (response.status_code, response.text)
    return answer


def http_request(spec: MethodSpec, request: Message) -> tuple[str, str, dict[str, Any], Any]:
    """Return what a request is in REST: verb, path, parameters and body, which is None where there is none."""
    declared = spec.descriptor.GetOptions().Extensions[annotations_pb2.http]
    left = json_format.MessageToDict(request)
    rule = next((rule for rule in (declared, *declared.additional_bindings) if _fits(rule, left)), declared)
    verb = rule.WhichOneof("pattern")

    def take(variable: re.Match[str]) -> str:
        *parents, last = map(_camel, variable[1].split("."))
        holder = left
        for parent in parents:
            holder = holder[parent]
        return quote(holder.pop(last), safe="/" if variable[2] else "")

    path = re.sub(r"\{([\w.]+)(=[^}]*)?\}", take, getattr(rule, verb))
    if rule.body == "*":
        return verb.upper(), path, {}, left
    body = left.pop(_camel(rule.body), {}) if rule.body else None
    return verb.upper(), path, dict(_flat(left)), body


def raw_body(spec: MethodSpec, request: Message) -> HttpBody | None:
    """Return what a request sends as it is instead of JSON; None where it sends nothing like that."""
    name = spec.descriptor.GetOptions().Extensions[annotations_pb2.http].body
    field = spec.descriptor.input_type.fields_by_name.get(name)
    return getattr(request, name) if field is not None and field.message_type is HttpBody.DESCRIPTOR else None


def _fits(rule: Any, document: Mapping[str, Any]) -> bool:
    """Whether a request has what stands in the path."""
    variables = re.findall(r"\{(\w+)", getattr(rule, rule.WhichOneof("pattern")))
    return all(_camel(name) in document for name in variables)


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _flat(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif value != {}:
            yield prefix + name, value


class Client:
    """Calls methods in each of the ways. Does not raise for an error: it is an answer."""

    def __init__(
        self, platform: Platform, http: httpx.Client, channels: Mapping[tuple[str, str], grpc.Channel]
    ) -> None:
        self.platform = platform
        self.http = http
        self._channels = channels

    def call(self, way: str, spec: MethodSpec, request: Message | bytes, token: str = "", **metadata: str) -> Answer:
        """Call a method; without a token where none is given. In gRPC the request can be bytes that are none."""
        if token:
            metadata["authorization"] = f"Bearer {token}"
        if way == REST:
            return self._rest(spec, request, metadata)
        channel = self._channels[way, service_of(spec)]
        make = channel.unary_stream if spec.is_streaming else channel.unary_unary
        send = make(spec.full_name, _encode, response_deserializer=spec.output.FromString)
        try:
            if spec.is_streaming:
                # The first answer will do.
                return Answer("OK", _first(send(request, metadata=tuple(metadata.items()), timeout=30)))
            answer, made = send.with_call(request, metadata=tuple(metadata.items()), timeout=30)
            # A page for people, which says that a link leads nowhere.
            is_nowhere = (HTTP_STATUS_HEADER, "404") in made.initial_metadata()
            return Answer("NOT_FOUND" if is_nowhere else "OK", answer)
        except grpc.RpcError as error:
            status = rpc_status.from_call(error)
            if status is None:
                return Answer(error.code().name, text=error.details())
            return explain(status)

    def everywhere(self, spec: MethodSpec, request: Message, token: str = "") -> dict[str, Answer]:
        """Call a method with the same request in all ways."""
        return {way: self.call(way, spec, request, token) for way in WAYS}

    def do(self, spec: MethodSpec, request: Message, token: str) -> Any:
        """Call a method straight at the service, and return what it answers; it has to succeed."""
        answer = self.call(DIRECT, spec, request, token)
        assert answer.code == "OK", (spec.name, answer)
        return answer.message

    def _rest(self, spec: MethodSpec, request: Message, headers: Mapping[str, str]) -> Answer:
        verb, path, parameters, body = http_request(spec, request)
        sent: dict[str, Any] = {} if body is None else {"json": body}
        raw = raw_body(spec, request)
        if raw is not None:
            sent, headers = {"content": raw.data}, {**headers, "content-type": raw.content_type}
        if spec.is_streaming:
            return self._first_line(verb, path, parameters, headers, spec)
        response = self.http.request(verb, path, params=parameters, headers=headers, **sent)
        if spec.output is HttpBody and (response.status_code == 200 or _is_page(response)):
            body = HttpBody(content_type=response.headers["content-type"], data=response.content)
            return Answer({200: "OK", 404: "NOT_FOUND"}[response.status_code], body)
        if response.status_code == 200:
            return Answer("OK", json_format.Parse(response.content, spec.output()))
        return read_error(response)

    def _first_line(
        self, verb: str, path: str, parameters: Mapping[str, Any], headers: Mapping[str, str], spec: MethodSpec
    ) -> Answer:
        with self.http.stream(verb, path, params=parameters, headers=headers) as response:
            if response.status_code != 200:
                response.read()
                return read_error(response)
            return Answer("OK", json_format.Parse(next(response.iter_lines()), spec.output()))


def _is_page(response: httpx.Response) -> bool:
    return response.headers["content-type"].startswith("text/html")


def _first(stream: Any) -> Any:
    answer = next(stream)
    stream.cancel()
    return answer


def _encode(request: Message | bytes) -> bytes:
    return request if isinstance(request, bytes) else request.SerializeToString()


@contextmanager
def connected(platform: Platform, services: Iterable[str]) -> Iterator[Client]:
    """Open what the three ways need."""
    with ExitStack() as stack:
        http = stack.enter_context(httpx.Client(base_url=platform.url, timeout=30))
        gateway = stack.enter_context(grpc.insecure_channel(platform.url.removeprefix("http://")))
        channels = {(GATEWAY, service): gateway for service in services}
        for service in services:
            channels[DIRECT, service] = stack.enter_context(grpc.insecure_channel(platform.address(service)))
        yield Client(platform, http, channels)
