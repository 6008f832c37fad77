"""The details of refusals that name records: what differs in a stale edit, and which records look like a new one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Value

from kontor.api.v1 import conflict_pb2


def edit_conflict(
    current: Any, submitted: Message | None, paths: Iterable[str], etag: str
) -> conflict_pb2.EditConflict:
    """Return, for the fields of a stale edit, what is stored now and what was to be stored."""
    details = conflict_pb2.EditConflict(resource_name=current.name, current_etag=etag)
    if submitted is None:
        return details
    stored, given = (
        json_format.MessageToDict(message, preserving_proto_field_name=True) for message in (current, submitted)
    )
    for name in dict.fromkeys(path.partition(".")[0] for path in paths):
        if stored.get(name) != given.get(name):
            details.fields.add(
                field=name, current_value=_value(stored.get(name)), submitted_value=_value(given.get(name))
            )
    return details


def suspects(found: Sequence[tuple[Any, Iterable[str]]]) -> conflict_pb2.Suspects:
    """Return the records that look like a new one, each with the names of what they have in common with it."""
    details = conflict_pb2.Suspects()
    for record, fields in sorted(found, key=lambda pair: -len(list(pair[1]))):
        details.suspects.add(
            resource_name=record.name, display_name=getattr(record, "display_name", ""), matching_fields=sorted(fields)
        )
    return details


def _value(plain: Any) -> Value:
    value = Value()
    json_format.ParseDict(plain, value)
    return value
