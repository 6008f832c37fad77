"""The tenants' own fields at run time: their definitions, remembered for a moment, and what is done with values by them.

A service that has resources with custom fields keeps their definitions in the table `custom_field_definitions`: one
service serves them, for the collections of all; the others have a copy (`definition_copies`).
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from google.protobuf import json_format

from kontor_kit.custom_fields import Definition, FieldType, Format, check
from kontor_kit.db import Row, Statement, Transaction
from kontor_kit.errors import InvalidArgument
from kontor_kit.filter_sql import CUSTOM, TENANT
from kontor_kit.tables import KEY_TEXT
from kontor_kit.terms import Term, terms

_FRESH_SECONDS: Final = 5.0
"""So long a process may not know of a change that another one made."""
_REMEMBERED: Final = 10_000

_TYPES: Final = dict(enumerate(FieldType, start=1))


class _Known(NamedTuple):
    """What is remembered of a collection, by key."""

    live: dict[str, Definition]
    ever: dict[str, Definition]
    """Those that were deleted too."""


class Definitions:
    """The definitions of one service's resources."""

    def __init__(self, metadata: sa.MetaData, formats: Mapping[FieldType, Format] | None = None) -> None:
        """`formats` bring text of a type into form, where the service has rules for it."""
        self._formats = formats or {}
        self._table = metadata.tables.get("custom_field_definitions")
        self._lock = threading.Lock()
        self._remembered: dict[tuple[uuid.UUID | None, str], tuple[float, _Known]] = {}
        if self._table is not None:
            columns = self._table.c
            names = ("key", "type", "options", "required", "filterable", "min_value", "max_value", "max_length")
            self._select = Statement(
                sa.select(*(columns[name] for name in names), columns.delete_time.is_(None))
                .where(columns.tenant_id == TENANT, columns.resource_type == sa.bindparam("collection", type_=KEY_TEXT))
                # Of one key that which is not deleted counts; it comes last.
                .order_by(columns.delete_time.asc().nulls_last())
            )

    def load(self, tx: Transaction, collection: str, *, fresh: bool = False) -> dict[str, Definition]:
        """Return the definitions of a collection by key; as they were a few seconds ago unless `fresh`."""
        return self._load(tx, collection, fresh=fresh).live

    def _load(self, tx: Transaction, collection: str, *, fresh: bool = False) -> _Known:
        if self._table is None:
            return _Known({}, {})
        now, key = time.monotonic(), (tx.tenant_id, collection)
        found = self._remembered.get(key)
        if found is not None and found[0] > now and not fresh:
            return found[1]
        rows = tx.run(self._select, {"tenant": tx.tenant_id, "collection": collection})
        read = [(_definition(row[:-1]), row[-1]) for row in rows]
        known = _Known(
            {definition.key: definition for definition, is_live in read if is_live},
            {definition.key: definition for definition, _ in read},
        )
        with self._lock:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = (now + _FRESH_SECONDS, known)
        return known

    def forget(self, tenant_id: uuid.UUID | None, collection: str) -> None:
        """Make the next look see what was just changed in this process."""
        with self._lock:
            self._remembered.pop((tenant_id, collection), None)

    def check(self, tx: Transaction, collection: str, before: Any | None, after: Any) -> None:
        """Bring the custom fields of a record into form, in place; raises InvalidArgument for what is wrong."""
        try:
            values = json_format.MessageToDict(after.custom_fields)
        except ValueError:
            raise InvalidArgument((CUSTOM, "has a number that is none, or infinite")) from None
        stored = json_format.MessageToDict(before.custom_fields) if before is not None else None
        definitions = self.load(tx, collection)
        if not values.keys() <= definitions.keys():
            definitions = self.load(tx, collection, fresh=True)
        if not values and not definitions:
            return
        checked = check(values, definitions, CUSTOM, before=stored, formats=self._formats)
        if checked.violations:
            raise InvalidArgument(*checked.violations)
        after.ClearField(CUSTOM)
        if checked.values:
            after.custom_fields.update(checked.values)

    def terms(self, tx: Transaction, collection: str, record: Any, prefix: str) -> set[Term]:
        """Return the terms of the record's filterable custom fields; `prefix` names the field they are in."""
        # Those of deleted fields as well: records keep the values, and the field may come back.
        definitions: Mapping[str, Definition] = self._load(tx, collection).ever
        found: set[Term] = set()
        for key, value in json_format.MessageToDict(record.custom_fields).items():
            definition = definitions.get(key)
            if definition is not None and definition.filterable:
                found |= terms(f"{prefix}.{key}", definition.typed(value))
        return found


def _definition(row: Row) -> Definition:
    key, kind, options, required, filterable, min_value, max_value, max_length = row
    return Definition(
        key=key,
        type=_TYPES[kind],
        required=required,
        filterable=filterable,
        options=frozenset(option["value"] for option in options or ()),
        retired=frozenset(option["value"] for option in options or () if option.get("retired")),
        min_value=min_value,
        max_value=max_value,
        max_length=max_length,
    )
