"""The write load: writers that repeat a request with the same key until they have an answer, or leave it in doubt."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
from google.protobuf import json_format

from kontor.contacts.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    contact_service_pb2,
    contact_service_pb2_grpc,
)
from kontor.identity.v1 import team_service_pb2, team_service_pb2_grpc
from tests.e2e.rest import Rest

SECONDS = 5.0
"""So long a writer waits for an answer."""
LEAVING = 0.05
"""The part of failed requests that are not repeated."""
CREATING = 0.2
IMPATIENT = 0.1
"""The part of requests that are first sent by somebody who goes away before there can be an answer."""
IMPATIENT_SECONDS = 0.02
LONGEST_PAUSE = 1.0
OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)
# How a call ends when a process that it needs was killed; anything else is a defect.
PASSING_CODES = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    # What comes in when a server stops; REST does not see it, for there the gateway may repeat what has a key.
    grpc.StatusCode.CANCELLED,
}
PASSING_STATUS = {409, 502, 503, 504}


@dataclass(frozen=True)
class Kind:
    """A kind of record that is written."""

    service: str
    collection: str
    singular: str
    text: str
    """The field that updates change."""
    pb: Any
    stub: Any

    def create(self, key: str, text: str) -> Any:
        request = getattr(self.pb, f"Create{self.singular.title()}Request")(request_id=key)
        json_format.ParseDict({"displayName": text, self.text: text}, getattr(request, self.singular))
        if "allow_duplicates" in request.DESCRIPTOR.fields_by_name:
            request.allow_duplicates = True
        return request

    def update(self, key: str, name: str, text: str) -> Any:
        request = getattr(self.pb, f"Update{self.singular.title()}Request")(request_id=key)
        record = getattr(request, self.singular)
        json_format.ParseDict({"name": name, self.text: text}, record)
        request.update_mask.paths.append(record.DESCRIPTOR.fields_by_camelcase_name[self.text].name)
        return request


KINDS = (
    Kind(
        "contacts", "accounts", "account", "legalName", account_service_pb2, account_service_pb2_grpc.AccountServiceStub
    ),
    Kind("contacts", "contacts", "contact", "title", contact_service_pb2, contact_service_pb2_grpc.ContactServiceStub),
    Kind("identity", "teams", "team", "description", team_service_pb2, team_service_pb2_grpc.TeamServiceStub),
)


@dataclass
class Write:
    """A request, and what became of it."""

    key: str
    writer: Writer
    tenant: str
    kind: Kind
    name: str
    """The record to change; empty where it is to be created."""
    text: str
    sent: int = 0
    answer: dict[str, Any] | None = None
    """The record as it was answered, None while there is no answer."""
    is_left: bool = False
    """Whether its writer went away without an answer."""

    @property
    def version(self) -> int:
        assert self.answer is not None
        return int(self.answer["etag"].removeprefix("v"))


@dataclass
class Journal:
    """All that was written."""

    writes: list[Write] = field(default_factory=list)
    known: dict[str, list[tuple[Kind, str]]] = field(default_factory=lambda: defaultdict(list))
    """The records that there are for certain, by tenant."""
    surprises: list[str] = field(default_factory=list)
    """Answers that no fault explains."""

    @property
    def acknowledged(self) -> list[Write]:
        return [write for write in self.writes if write.answer is not None]


class Surprise(Exception):
    """An answer that no fault explains."""


def is_passing(error: Any) -> bool:
    """Tell whether a gRPC error is one that a dead process explains.

    Envoy resets a stream whose service died in the middle of an answer, which gRPC calls INTERNAL.
    """
    return error.code() in PASSING_CODES or "RST_STREAM" in error.details()


class RestSender:
    """Sends writes as JSON."""

    def __init__(self, platform: Any, tenant: str) -> None:
        self._rest = Rest(platform, tenant)
        self.close = self._rest.http.close

    def send(self, write: Write, seconds: float = SECONDS) -> dict[str, Any] | str:
        """Return the record, or why there is none within `seconds`; raises Surprise where no fault explains it."""
        self._rest.http.timeout = seconds
        kind, headers = write.kind, {"idempotency-key": write.key}
        body, query = {kind.text: write.text}, {}
        try:
            if write.name:
                answer = self._rest.send("PATCH", write.name, body, headers=headers, updateMask=kind.text)
            else:
                if kind.service == "contacts":
                    query = {"allowDuplicates": "true"}
                body["displayName"] = write.text
                answer = self._rest.send("POST", kind.collection, body, headers=headers, **query)
        except httpx.TransportError as error:
            return repr(error)
        if answer.status_code == 200:
            return answer.json()
        if answer.status_code not in PASSING_STATUS:
            raise Surprise(f"{answer.status_code} {answer.text}")
        return answer.text


class GrpcSender:
    """Sends writes as messages."""

    def __init__(self, platform: Any, tenant: str) -> None:
        self._channel = grpc.insecure_channel(platform.url.partition("://")[2], OPTIONS)
        self._metadata = [("authorization", f"Bearer {platform.token(tenant=tenant)}")]
        self.close = self._channel.close

    def send(self, write: Write, seconds: float = SECONDS) -> dict[str, Any] | str:
        """As that of RestSender."""
        kind = write.kind
        verb = "Update" if write.name else "Create"
        request = kind.update(write.key, write.name, write.text) if write.name else kind.create(write.key, write.text)
        call = getattr(kind.stub(self._channel), f"{verb}{kind.singular.title()}")
        try:
            answer = call(request, metadata=self._metadata, timeout=seconds)
        except grpc.RpcError as error:
            if not is_passing(error):
                raise Surprise(f"{error.code()} {error.details()}") from error
            return f"{error.code()} {error.details()}"
        return json_format.MessageToDict(answer)


class Writer(threading.Thread):
    """Writes in one tenant, one request after the other."""

    def __init__(self, sender: Any, tenant: str, journal: Journal, *, pause: float, seed: str) -> None:
        super().__init__(name=f"writer-{seed}", daemon=True)
        self._sender, self._tenant, self._journal, self._pause = sender, tenant, journal, pause
        self._draw = random.Random(seed)
        self.enough, self.abandoned = threading.Event(), threading.Event()

    def run(self) -> None:
        while not self.enough.is_set():
            self.settle(self._next())
            self.enough.wait(self._draw.uniform(0, 2 * self._pause))

    def _next(self) -> Write:
        known = self._journal.known[self._tenant]
        key = str(uuid.UUID(int=self._draw.getrandbits(128), version=4))
        if len(known) < 5 or self._draw.random() < CREATING:
            return Write(key, self, self._tenant, self._draw.choice(KINDS), "", f"Text {key}")
        kind, name = self._draw.choice(known)
        return Write(key, self, self._tenant, kind, name, f"Text {key}")

    def write(self, kind: Kind, text: str) -> Write:
        """Create something particular."""
        write = Write(str(uuid.uuid4()), self, self._tenant, kind, "", text)
        self.settle(write)
        return write

    def repeat(self, write: Write) -> dict[str, Any] | str:
        """Send a write once more."""
        return self._sender.send(write)

    def settle(self, write: Write) -> None:
        """Send it until there is an answer, or leave it."""
        self._journal.writes.append(write)
        pause, seconds = 0.05, SECONDS
        if self._draw.random() < IMPATIENT:
            seconds = self._draw.uniform(0, IMPATIENT_SECONDS)
        while not self.abandoned.is_set():
            write.sent += 1
            try:
                answer = self._sender.send(write, seconds)
            except Surprise as error:
                self._journal.surprises.append(f"{time.strftime('%X')} {write.kind.collection} {write.key}: {error}")
                answer = str(error)
            if isinstance(answer, dict):
                write.answer = answer
                if not write.name:
                    self._journal.known[self._tenant].append((write.kind, answer["name"]))
                return
            if self._draw.random() < LEAVING:
                write.is_left = True
                return
            self.abandoned.wait(pause)
            seconds = SECONDS
            pause = min(pause * 2, LONGEST_PAUSE)


class Load:
    """Several writers: in each tenant one by REST and one by gRPC, on the same records."""

    def __init__(self, platform: Any, tenants: list[str], *, pause: float, seed: int) -> None:
        self.journal = Journal()
        self._senders = [
            (tenant, sender(platform, tenant)) for tenant in tenants for sender in (RestSender, GrpcSender)
        ]
        self.writers = [
            Writer(sender, tenant, self.journal, pause=pause, seed=f"{seed}-{number}")
            for number, (tenant, sender) in enumerate(self._senders)
        ]

    def start(self) -> None:
        for writer in self.writers:
            writer.start()

    def stop(self, patience: float) -> None:
        """Let the writers end what they have begun, for so many seconds."""
        for writer in self.writers:
            writer.enough.set()
        until = time.monotonic() + patience
        for writer in self.writers:
            writer.join(max(until - time.monotonic(), 0))
            writer.abandoned.set()
            writer.join()
            writer.abandoned.clear()

    def close(self) -> None:
        for _, sender in self._senders:
            sender.close()
