"""The operations that are measured: what a caller sends, as gRPC and as REST."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

import people
from google.protobuf import json_format

from kontor.contacts.v1 import contact_service_pb2 as pb

PAGE_SIZE = 50
SEARCH_SIZE = 20


@dataclass
class Sample:
    """What of the stored data requests are made of."""

    names: list[str]
    """Names of contacts."""
    page_tokens: list[str]
    """Where pages of the list by name begin, as the target gave them; the first is empty."""


class Rest(NamedTuple):
    """A request of HTTP."""

    verb: str
    path: str
    body: bytes = b""


class Operation(NamedTuple):
    """Something that callers do."""

    title: str
    method: str
    """Of the gRPC service."""
    request: Callable[[random.Random, Sample], Any]
    """Makes the gRPC request."""
    rest: Callable[[Any], Rest]
    """Makes the REST request of the gRPC request."""


def _get(draw: random.Random, sample: Sample) -> Any:
    return pb.GetContactRequest(name=draw.choice(sample.names))


def _create(draw: random.Random, sample: Sample) -> Any:
    key = uuid.uuid4()
    contact = people.person(draw, key.hex)
    # Once in ten thousand times somebody of that name lives there already, and is suspected rightly.
    contact.addresses[0].postal_code = key.hex[:12]
    return pb.CreateContactRequest(contact=contact, request_id=str(key))


def _update(draw: random.Random, sample: Sample) -> Any:
    contact = {"name": draw.choice(sample.names), "title": f"Buyer {draw.randrange(10**9)}"}
    return pb.UpdateContactRequest(contact=contact, update_mask={"paths": ["title"]})


def _list(draw: random.Random, sample: Sample) -> Any:
    token = draw.choice(sample.page_tokens)
    return pb.ListContactsRequest(page_size=PAGE_SIZE, order_by="display_name", page_token=token)


def _filter(draw: random.Random, sample: Sample) -> Any:
    return pb.ListContactsRequest(page_size=PAGE_SIZE, filter=f'custom_fields.segment = "{people.segment(draw)}"')


def _search(draw: random.Random, sample: Sample) -> Any:
    return pb.SearchContactsRequest(query=people.fragment(draw), page_size=SEARCH_SIZE)


def _rest_create(request: Any) -> Rest:
    return Rest("POST", f"/v1/contacts?requestId={request.request_id}", _json(request.contact))


def _rest_update(request: Any) -> Rest:
    body = json.dumps({"title": request.contact.title}).encode()
    return Rest("PATCH", f"/v1/{request.contact.name}?updateMask=title", body)


def _rest_list(request: Any) -> Rest:
    asked = {"filter": request.filter, "orderBy": request.order_by, "pageToken": request.page_token}
    query = "".join(f"&{name}={quote(value)}" for name, value in asked.items() if value)
    return Rest("GET", f"/v1/contacts?pageSize={request.page_size}{query}")


def _json(message: Any) -> bytes:
    return json_format.MessageToJson(message, indent=None).encode()


OPERATIONS = {
    "get": Operation("get", "GetContact", _get, lambda request: Rest("GET", f"/v1/{request.name}")),
    "create": Operation("create", "CreateContact", _create, _rest_create),
    "update": Operation("update one field", "UpdateContact", _update, _rest_update),
    "list": Operation("list 50 by name", "ListContacts", _list, _rest_list),
    "filter": Operation("filter by custom field", "ListContacts", _filter, _rest_list),
    "search": Operation(
        "search by fragment",
        "SearchContacts",
        _search,
        lambda request: Rest("GET", f"/v1/contacts:search?query={request.query}&pageSize={request.page_size}"),
    ),
}

# A method that answers at once, by which the generator's own limit is measured.
ECHO = Operation("echo", "Echo", _get, lambda request: Rest("GET", f"/v1/{request.name}"))
