"""An event as it travels over the broker: CloudEvents 1.0 in JSON, with the record as protobuf inside.

Beside what the specification defines there are extension attributes: `traceparent`, and

    kontortenant    the tenant, a UUID
    kontorsubject   who did it, a resource name
    kontorversion   the record's version after the change
    kontorposition  where the change stream of the source goes on after the event
    kontorrelay     the unbroken run of the relay that the message belongs to: whoever sees another one than before has
                    missed something, and turns to the change stream

Imports no gRPC: the receiver reads messages in a patched process.
"""

from __future__ import annotations

import base64
import datetime as dt
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

import orjson

from kontor_kit.inbox.events import Event
from kontor_kit.inbox.sources import relay_started

T = TypeVar("T")

CONTENT_TYPE: Final = "application/cloudevents+json"
_DATA_TYPE: Final = "application/protobuf"
_TYPE: Final = re.compile(r"(kontor\.([a-z][a-z0-9_]*)\.v[0-9]+)\.([a-z][a-z0-9_]*)\.[a-z][A-Za-z0-9_]*")
_TRACE: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_LAST: Final = 2**63 - 1
_LONGEST: Final = 1000


class Malformed(Exception):
    """A message that cannot be read, whoever tries and however often."""

    def __init__(self, attribute: str, problem: str) -> None:
        super().__init__(f"{attribute}: {problem}" if attribute else problem)
        self.attribute = attribute
        """The attribute that is wrong; empty where it is the whole."""


class Message(NamedTuple):
    """What a relay says."""

    source: str
    """The short name of the service that says it."""
    event: Event | None
    """None where the relay says only that it begins anew."""
    position: str
    relay: str


def schema_of(event_type: str) -> str:
    """Return the full name of the message that the record of an event is; raises Malformed."""
    found = _TYPE.fullmatch(event_type)
    if found is None:
        raise Malformed("type", "is not the type of an event")
    return f"{found[1]}.{found[3].title().replace('_', '')}"


def encode(message: Message) -> bytes:
    """Return the body of a message."""
    event = message.event
    fields: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(event.id if event else uuid.uuid4()),
        "source": f"//{message.source}.kontor",
        "type": event.type if event else relay_started(message.source),
        "kontorposition": message.position,
        "kontorrelay": message.relay,
    }
    if event is not None:
        fields |= {
            "subject": event.resource_name,
            "time": event.time.astimezone(dt.UTC).isoformat().replace("+00:00", "Z"),
            "kontortenant": str(event.tenant_id),
            # The integers of CloudEvents have 32 bits only.
            "kontorversion": str(event.version),
        }
        if event.subject:
            fields["kontorsubject"] = event.subject
        if event.traceparent:
            fields["traceparent"] = event.traceparent
        if event.data:
            fields["datacontenttype"] = _DATA_TYPE
            fields["dataschema"] = f"type.googleapis.com/{schema_of(event.type)}"
            fields["data_base64"] = base64.b64encode(event.data).decode()
    return orjson.dumps(fields)


def parse(body: bytes | str) -> Message:
    """Return what a body says. Raises Malformed."""
    try:
        fields = orjson.loads(body)
    except ValueError as error:
        raise Malformed("", f"the body is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise Malformed("", "the body is not a JSON object")
    if _text(fields, "specversion") != "1.0":
        raise Malformed("specversion", "must be 1.0")
    event_type = _text(fields, "type")
    schema = schema_of(event_type)
    service = event_type.split(".")[1]
    if _text(fields, "source") != f"//{service}.kontor":
        raise Malformed("source", f"is not the service that tells {event_type}")
    event = None if event_type == relay_started(service) else _event(fields, event_type, schema)
    return Message(service, event, _text(fields, "kontorposition"), _text(fields, "kontorrelay"))


def _event(fields: Mapping[str, Any], event_type: str, schema: str) -> Event:
    return Event(
        id=_read(fields, "id", uuid.UUID),
        tenant_id=_read(fields, "kontortenant", uuid.UUID),
        type=event_type,
        resource_name=_text(fields, "subject"),
        version=_read(fields, "kontorversion", _version),
        time=_read(fields, "time", _time),
        data=_data(fields, schema),
        traceparent=_read(fields, "traceparent", _traceparent) if "traceparent" in fields else "",
        subject=_text(fields, "kontorsubject") if "kontorsubject" in fields else "",
    )


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise Malformed(name, "is missing" if value in (None, "") else "must be text")
    # CloudEvents allow no control characters, and what is longer fits into no index.
    if not value.isprintable() or len(value.encode()) > _LONGEST:
        raise Malformed(name, f"must be of printable characters, at most {_LONGEST} bytes")
    return value


def _read(fields: Mapping[str, Any], name: str, read: Callable[[str], T]) -> T:
    try:
        return read(_text(fields, name))
    except ValueError as error:
        raise Malformed(name, str(error)) from None


def _version(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) > _LAST:
        raise ValueError("must be a whole number")
    return int(text)


def _time(text: str) -> dt.datetime:
    time = dt.datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("must have a time zone")
    return time


def _traceparent(text: str) -> str:
    if not _TRACE.fullmatch(text):
        raise ValueError("must have the form of W3C Trace Context")
    return text


def _data(fields: Mapping[str, Any], schema: str) -> bytes:
    if "data" in fields:
        raise Malformed("data", "must be given as data_base64")
    encoded = fields.get("data_base64")
    if encoded is None:
        return b""
    if _text(fields, "datacontenttype") != _DATA_TYPE:
        raise Malformed("datacontenttype", f"must be {_DATA_TYPE}")
    if _text(fields, "dataschema").rpartition("/")[2] != schema:
        raise Malformed("dataschema", f"is not that of {schema}")
    try:
        return base64.b64decode(encoded, validate=True)
    except (ValueError, TypeError) as error:
        raise Malformed("data_base64", f"is not base64: {error}") from None
