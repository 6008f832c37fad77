"""The declaration of a resource: said once by its slice, read by everything that treats all resources alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from google.api import resource_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from kontor.api.v1 import annotations_pb2
from kontor_kit import filter_sql
from kontor_kit.folding import fold
from kontor_kit.mapping import Codec, snake_case
from kontor_kit.scopes import OwnerScope, ScopeRule
from kontor_kit.terms import Term, terms

STANDARD_EVENTS = ("created", "updated", "deleted", "undeleted")
"""What the standard methods do to a record."""

SEARCH_TEXT_LIMIT = 2000
_EVENT = re.compile("[a-z]+(_[a-z]+)*")


@dataclass(frozen=True)
class Resource:
    """One kind of record.

    The contract (`message`) says what it is called and which fields can be filtered, sorted and searched by; the table
    says how it is stored; `scope` says whom a record belongs to.
    """

    message: type[Message]
    table: sa.Table
    scope: ScopeRule = field(default_factory=OwnerScope)
    conflicts: dict[str, str] = field(default_factory=dict)
    """What to answer where a unique index is violated: the index's name to a sentence."""
    events: tuple[str, ...] = STANDARD_EVENTS
    """What can happen to a record, in snake_case; the last part of the types of its events."""
    computed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The fields that are not stored but filled by `Records.decorate`, each with the stored fields it is made of."""

    def __post_init__(self) -> None:
        """Raise ValueError where an event is not called as the others are."""
        if wrong := [event for event in self.events if not _EVENT.fullmatch(event)]:
            raise ValueError(f"events are called in snake_case: {', '.join(wrong)}")

    @cached_property
    def descriptor(self) -> Descriptor:
        """The message's descriptor."""
        descriptor: Descriptor = self.message.DESCRIPTOR  # type: ignore[assignment]
        return descriptor

    @cached_property
    def _options(self) -> Any:
        return self.descriptor.GetOptions().Extensions[resource_pb2.resource]

    @cached_property
    def kind(self) -> str:
        """The type's name, for example `Account`."""
        return self._options.type.rpartition("/")[2]  # type: ignore[no-any-return]

    @cached_property
    def pattern(self) -> str:
        """The pattern of the names, for example `accounts/{account}`."""
        return self._options.pattern[0]  # type: ignore[no-any-return]

    @cached_property
    def collection(self) -> str:
        """The collection in names and paths, for example `accounts`."""
        return self.pattern.partition("/")[0]

    @cached_property
    def singular(self) -> str:
        """The name of the field of requests that holds the resource, for example `account`."""
        return self.pattern.partition("{")[2].rstrip("}")

    @cached_property
    def plural(self) -> str:
        """The name of the field of responses that holds several, for example `custom_field_definitions`."""
        return snake_case(self.collection)

    @cached_property
    def event_prefix(self) -> str:
        """What the types of its events begin with, for example `kontor.contacts.v1.account`."""
        return f"{self.descriptor.file.package}.{self.singular}"

    @cached_property
    def codec(self) -> Codec:
        """The mapping between row and message."""
        return Codec(self.descriptor, self.table, self.collection, self.computed)

    @cached_property
    def filter_fields(self) -> filter_sql.FilterFields:
        """What a filter may name."""
        return filter_sql.FilterFields(self.descriptor, self.table)

    @cached_property
    def has_external_ids(self) -> bool:
        """Whether records have keys in other systems."""
        return "external_ids" in self.descriptor.fields_by_name

    @cached_property
    def has_custom_fields(self) -> bool:
        """Whether the tenant can give records fields of its own."""
        return filter_sql.CUSTOM in self.descriptor.fields_by_name

    @cached_property
    def has_owner(self) -> bool:
        """Whether records have an owner and a team."""
        return "owner" in self.descriptor.fields_by_name

    @cached_property
    def order_columns(self) -> dict[str, sa.Column[Any]]:
        """The fields that can be sorted by, with the column that does it.

        Raises ValueError where a column may be NULL: a page that begins behind a row without a value would be empty.
        """
        columns = {
            found.name: self.table.c[f"{found.name}_key" if f"{found.name}_key" in self.table.c else found.name]
            for found in self.descriptor.fields
            if _use(found).order
        }
        if nullable := [name for name, column in columns.items() if column.nullable]:
            raise ValueError(f"{self.table.name} cannot be sorted by {', '.join(nullable)}: the column may be NULL")
        return columns

    @cached_property
    def _keys(self) -> list[str]:
        return [name for name in self.order_columns if f"{name}_key" in self.table.c]

    @cached_property
    def _searched(self) -> list[Callable[[Any], list[str]]]:
        return [_reader(self.descriptor, path) for path in _marked(self.descriptor, lambda use: use.search)]

    @cached_property
    def _termed(self) -> list[tuple[str, Callable[[Any], list[Any]]]]:
        return [
            (self.filter_fields.term_field(path), _reader(self.descriptor, tuple(path.split("."))))
            for path, filter_field in self.filter_fields.fields.items()
            if filter_field.column is None and path != filter_sql.CUSTOM
        ]

    def derived(self, message: Any) -> dict[str, Any]:
        """Return the columns that are made of others: the sort keys, and the text that search looks through."""
        values: dict[str, Any] = {f"{name}_key": fold(getattr(message, name)) for name in self._keys}
        if "search_text" in self.table.c:
            words = dict.fromkeys(fold(text) for read in self._searched for text in read(message))
            values["search_text"] = " ".join(words)[:SEARCH_TEXT_LIMIT]
        return values

    def terms(self, message: Any) -> set[Term]:
        """Return the terms of the fields with many values; custom fields are the caller's."""
        found: set[Term] = set()
        for name, read in self._termed:
            found |= terms(name, read(message))
        return found


def _use(found: FieldDescriptor) -> annotations_pb2.FieldUse:
    return filter_sql.use_of(found)


def _marked(
    descriptor: Descriptor, wanted: Callable[[Any], bool], prefix: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    for found in descriptor.fields:
        if wanted(_use(found)):
            yield (*prefix, found.name)
        elif found.message_type is not None and found.message_type.full_name.startswith("kontor."):
            yield from _marked(found.message_type, wanted, (*prefix, found.name))


def _reader(descriptor: Descriptor, path: tuple[str, ...]) -> Callable[[Any], list[Any]]:
    """Return a function that collects the values at `path` of a message, through repeated fields; enums as names."""
    found = descriptor.fields_by_name[path[0]]
    name, repeated = found.name, found.is_repeated
    if len(path) > 1:
        inner: Any = found.message_type
        deeper = _reader(inner, path[1:])
        if repeated:
            return lambda message: [value for item in getattr(message, name) for value in deeper(item)]
        return lambda message: deeper(getattr(message, name))
    if found.enum_type is not None:
        names = {value.number: value.name for value in found.enum_type.values if value.number}
        if repeated:
            return lambda message: [names[item] for item in getattr(message, name) if item in names]
        return lambda message: [names[getattr(message, name)]] if getattr(message, name) in names else []
    if repeated:
        return lambda message: list(getattr(message, name))
    return lambda message: [getattr(message, name)]
