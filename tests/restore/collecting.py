"""Everything that a tenant can read of its records through the API, as the descriptors say what there is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
from google.protobuf.message import Message

from kontor_kit.calls import MethodSpec
from tests.e2e.contract import is_of_operations, methods, reference, resource_type, service_of

OF_OPERATORS = "ListTenants"
"""Shows what is beyond a tenant."""

UNTIL_NOW = ("ListStageVisits", "duration")
"""A method and a field of what it answers that counts on while one looks."""

Found = dict[str, list[Message]]


class Collector:
    """Reads as the administrator of a tenant."""

    def __init__(self, url: str, token: str) -> None:
        """`url` is the gateway's."""
        options = [("grpc.max_receive_message_length", -1)]
        self._channel = grpc.insecure_channel(url.removeprefix("http://"), options)
        self._metadata = (("authorization", f"Bearer {token}"),)

    def collect(self) -> Found:
        """Return the records by the method that lists them, deleted ones too; those below a record with its name."""
        lists = [spec for spec in methods() if spec.name.startswith("List") and spec.name != OF_OPERATORS]
        below = {spec.full_name: parent for spec in lists if (parent := _parent(spec))}
        found = {spec.name: list(self._all(spec)) for spec in lists if spec.full_name not in below}
        for spec in lists:
            if spec.full_name in below:
                field, kind = below[spec.full_name]
                for record in [record for records in list(found.values()) for record in records]:
                    if resource_type(record.DESCRIPTOR) == kind and not _is_deleted(record):
                        found[f"{spec.name} {record.name}"] = list(self._all(spec, **{field: record.name}))  # type: ignore[attr-defined]
        return found

    def close(self) -> None:
        """End."""
        self._channel.close()

    def _all(self, spec: MethodSpec, **fields: Any) -> Iterator[Message]:
        call = self._channel.unary_unary(
            spec.full_name, lambda message: message.SerializeToString(), spec.output.FromString
        )
        names = spec.descriptor.input_type.fields_by_name
        request = spec.input(**fields)
        for name, value in (("show_deleted", True), ("page_size", 200)):
            if name in names:
                setattr(request, name, value)
        if is_of_operations(spec):
            request.parent = f"services/{service_of(spec)}"
        while True:
            page = call(request, metadata=self._metadata, timeout=60)
            for record in _records(page):
                if spec.name == UNTIL_NOW[0]:
                    record.ClearField(UNTIL_NOW[1])
                yield record
            if not (token := getattr(page, "next_page_token", "")):
                return
            request.page_token = token


def _records(page: Any) -> list[Any]:
    lists = [value for field, value in page.ListFields() if field.is_repeated and field.message_type]
    return [record for records in lists for record in records]


def _parent(spec: MethodSpec) -> tuple[str, str] | None:
    """Return the field that names the record below which a method lists, and the type of that; None for all others."""
    for field in spec.descriptor.input_type.fields:
        if field.name in ("parent", "name") and not is_of_operations(spec) and reference(field) not in ("", "*"):
            return field.name, reference(field)
    return None


def _is_deleted(record: Any) -> bool:
    return "delete_time" in record.DESCRIPTOR.fields_by_name and record.HasField("delete_time")
