"""Sees that nothing is measured that is not the same: what was filled in, and what the yardstick does."""

from __future__ import annotations

import random
import uuid
from contextlib import ExitStack
from typing import Any

import grpc
import psycopg
from instance import Instance
from operations import OPERATIONS, Sample

from kontor.contacts.v1 import contact_pb2
from kontor.contacts.v1 import contact_service_pb2 as pb

SIZE = 10
ANSWERS = {"ListContacts": pb.ListContactsResponse, "SearchContacts": pb.SearchContactsResponse}
OWN = "'{id,owner,create_time,update_time,version}'::text[]"


class Caller:
    """Calls a service of contacts."""

    def __init__(self, channel: grpc.Channel, token: str) -> None:
        self._channel, self._metadata = channel, (("authorization", f"Bearer {token}"),)

    def __call__(self, method: str, request: Any) -> Any:
        """Call a method."""
        answer = ANSWERS.get(method, contact_pb2.Contact)
        call = self._channel.unary_unary(
            f"/kontor.contacts.v1.ContactService/{method}", type(request).SerializeToString, answer.FromString
        )
        return call(request, metadata=self._metadata)


def verify(platform: Instance, names: list[str], yardsticks: list[str]) -> None:
    """See that the service would have written what was filled in, and that yardsticks do what it does.

    `yardsticks` are addresses. Raises AssertionError.
    """
    draw, sample = random.Random(0), Sample(names, [""])
    with ExitStack() as stack:
        service, *others = (
            Caller(stack.enter_context(grpc.insecure_channel(address)), platform.token)
            for address in (platform.contacts, *yardsticks)
        )
        connection = stack.enter_context(psycopg.connect(platform.database_url("owner"), autocommit=True))
        for name in draw.sample(names, SIZE):
            stored = service("GetContact", pb.GetContactRequest(name=name))
            for caller in (service, *others):
                request = pb.CreateContactRequest(contact=stored, request_id=str(uuid.uuid4()), allow_duplicates=True)
                copy = caller("CreateContact", request)
                try:
                    _same(_stored(connection, name), _stored(connection, copy.name))
                finally:
                    service("DeleteContact", pb.DeleteContactRequest(name=copy.name))
        for operation in (
            OPERATIONS[key] for key in ("get", "list", "filter", "search", "update") for _ in range(SIZE)
        ):
            request = operation.request(draw, sample)
            _agree(operation.method, request, service, others)


def _agree(method: str, request: Any, service: Caller, others: list[Caller]) -> None:
    expected = _comparable(service(method, request))
    for other in others:
        _same(expected, _comparable(other(method, request)))


def _same(expected: Any, found: Any) -> None:
    if found != expected:
        raise AssertionError(f"{found}\ninstead of\n{expected}")


def _comparable(answer: Any) -> Any:
    """Leave out of an answer what is different each time."""
    if isinstance(answer, pb.ListContactsResponse):
        answer.ClearField("next_page_token")
    if isinstance(answer, contact_pb2.Contact):
        answer.ClearField("etag")
        answer.ClearField("update_time")
    return answer


def _stored(connection: psycopg.Connection[Any], name: str) -> tuple[Any, ...]:
    id = name.removeprefix("contacts/")
    row = connection.execute(f"SELECT to_jsonb(c) - {OWN} FROM contacts c WHERE id = %s", (id,)).fetchone()
    found = connection.execute("SELECT field, value FROM terms WHERE id = %s ORDER BY field, value", (id,))
    return row, found.fetchall()
