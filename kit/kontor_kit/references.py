"""References to records of other services: nothing is stored that names a record which is not there.

The owner of the record is asked, with the caller's own token, so that nobody learns of what they may not see; a yes is
remembered for this caller for a while. Where the owner cannot be reached the write is refused as UNAVAILABLE.
"""

from __future__ import annotations

import importlib
import threading
import time
import uuid
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, NamedTuple

import grpc
from google.api import field_behavior_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from kontor_kit.calls import Call
from kontor_kit.clients import Peers
from kontor_kit.errors import InvalidArgument, Unavailable, Violation
from kontor_kit.ids import parse_name
from kontor_kit.mapping import pattern_of, reference_type, snake_case

_REMEMBERED_SECONDS: Final = 60.0
_REMEMBERED: Final = 100_000
_WHETHER_DELETED: Final = FieldMask(paths=["delete_time"])
_ABSENT: Final = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT)


class Foreign(NamedTuple):
    """A field that refers to records of another service."""

    path: tuple[FieldDescriptor, ...]
    """The fields that lead to it from the message, itself last."""
    kind: str
    """The type of the records, `identity.kontor/User`."""

    @property
    def service(self) -> str:
        """Return the short name of the service, `identity`."""
        return self.kind.partition(".")[0]


class _Named(NamedTuple):
    """A name in a message: where it stands, and what it names."""

    path: str
    foreign: Foreign
    name: str


@cache
def foreign_fields(descriptor: Descriptor) -> tuple[Foreign, ...]:
    """Return the fields of a message that refer to records of other services; not those that only services set."""
    return tuple(_foreign_fields(descriptor, (), (descriptor,)))


def _foreign_fields(
    descriptor: Descriptor, path: tuple[FieldDescriptor, ...], above: tuple[Descriptor, ...]
) -> Iterator[Foreign]:
    own = above[0].file.package.split(".")[1]
    for field in descriptor.fields:
        if field_behavior_pb2.OUTPUT_ONLY in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]:
            continue
        here, kind, inner = (*path, field), reference_type(field), field.message_type
        if "/" in kind and kind.partition(".")[0] != own:
            yield Foreign(here, kind)
        elif inner is not None and _may_lead_on(inner) and inner not in above:
            yield from _foreign_fields(inner, here, (*above, inner))


def _may_lead_on(descriptor: Descriptor) -> bool:
    return descriptor.file.package.startswith("kontor.") and not descriptor.GetOptions().map_entry


def _named(message: Message | None) -> Iterator[_Named]:
    for foreign in foreign_fields(message.DESCRIPTOR) if message is not None else ():
        for place, name in _names(message, foreign.path):
            yield _Named(place, foreign, name)


def _names(message: Any, path: tuple[FieldDescriptor, ...]) -> Iterator[tuple[str, str]]:
    """Yield what stands at the end of `path`, and where, through repeated fields; nothing for what is empty."""
    field, *rest = path
    value = getattr(message, field.name)
    places = (
        [(f"{field.name}[{index}]", each) for index, each in enumerate(value)]
        if field.is_repeated
        else [(field.name, value)]
    )
    for place, each in places:
        if rest:
            yield from ((f"{place}.{inner}", name) for inner, name in _names(each, tuple(rest)))
        elif each:
            yield place, each


class References:
    """Asks other services. Safe for threads."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._lock = threading.Lock()
        self._remembered: dict[tuple[uuid.UUID, str, str], float] = {}

    def check(self, call: Call, after: Message, before: Message | None = None) -> None:
        """See that all which a message refers to is there, as far as `before` did not refer to it already.

        Raises InvalidArgument with each field whose record does not exist, or is deleted, or is not for the caller to
        know of; and Unavailable.
        """
        principal = call.principal
        assert principal is not None, "a record is stored by a principal"
        if principal.subject.startswith("services/"):
            return  # A service has no token to ask with; it knows the names from the owner's own events.
        # Who calls exists; the token says so.
        known = {principal.subject, *(each.name for each in _named(before))}
        wanted: list[_Named] = []
        violations: list[Violation] = []
        for each in _named(after):
            key = (principal.tenant_id, principal.subject, each.name)
            if each.name in known or self._remembered.get(key, 0.0) > time.monotonic():
                continue
            try:
                parse_name(each.name, pattern_of(each.foreign.kind), each.path)
            except InvalidArgument as error:
                violations += error.violations
            else:
                wanted.append(each)
        # All are asked for at once, each once.
        asked = [(each, self._begin(call, each)) for each in {each.name: each for each in wanted}.values()]
        problems = {each.name: self._problem(each, answer) for each, answer in asked}
        violations += [Violation(each.path, problems[each.name]) for each in wanted if problems[each.name]]
        if violations:
            raise InvalidArgument(*violations)
        with self._lock:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            until = time.monotonic() + _REMEMBERED_SECONDS
            self._remembered |= {(principal.tenant_id, principal.subject, each.name): until for each in wanted}

    def _begin(self, call: Call, wanted: _Named) -> Any:
        method = _get(wanted.foreign)
        make: Any = message_factory.GetMessageClass(method.input_type)
        return self._peers.ask_whether(call, method, make(name=wanted.name, read_mask=_WHETHER_DELETED))

    @staticmethod
    def _problem(wanted: _Named, answer: Any) -> str:
        """Return what is wrong with a record; nothing where it is there."""
        try:
            record = answer.result()
        except grpc.RpcError as error:
            if answer.code() in _ABSENT:
                return f"there is no {wanted.name}"
            raise Unavailable(f"{wanted.foreign.service} cannot be asked for {wanted.name}; repeat later") from error
        return f"{wanted.name} is deleted" if record.HasField("delete_time") else ""


@cache
def _get(foreign: Foreign) -> Any:
    """Return the method that returns records of the type."""
    record = foreign.kind.rpartition("/")[2]
    module = importlib.import_module(f"kontor.{foreign.service}.v1.{snake_case(record)}_service_pb2")
    return module.DESCRIPTOR.services_by_name[f"{record}Service"].methods_by_name[f"Get{record}"]
