"""The copy of the tenants' own fields, for services that do not serve their definitions: filled by events.

    definition_copies.table(metadata)                                          # tables.py
    definition_copies.create()                                                 # a revision
    definition_copies.declare(handlers, custom_field_definition_pb2.CustomFieldDefinition)

A definition holds in such a service as soon as the event of it was handled, a moment after it was stored.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from google.protobuf.message import Message
from sqlalchemy.dialects.postgresql import JSONB, insert

from kontor_kit import migrations
from kontor_kit.db import Statement
from kontor_kit.ids import parse_name
from kontor_kit.inbox.events import Event, Handlers
from kontor_kit.inbox.handling import Work
from kontor_kit.mapping import plain
from kontor_kit.tables import KEY_TEXT

_NAME: Final = "custom_field_definitions"
_COPIED: Final = ("resource_type", "key", "type", "required", "filterable", "max_length")


def table(metadata: sa.MetaData) -> sa.Table:
    """Declare the table."""
    return sa.Table(
        _NAME, metadata, *_columns(), sa.Index(f"{_NAME}_resource_type", "tenant_id", "resource_type", "key")
    )


def create() -> None:
    """Create the table, held to the tenant."""
    op.create_table(_NAME, *_columns())
    op.create_index(f"{_NAME}_resource_type", _NAME, ["tenant_id", "resource_type", "key"])
    migrations.secure(_NAME)


def drop() -> None:
    """Drop the table."""
    op.drop_table(_NAME)


def declare(handlers: Handlers, message: type[Message]) -> None:
    """Follow the definitions of `message`, the contract's CustomFieldDefinition."""
    descriptor: Any = message.DESCRIPTOR
    copy = _copy()

    def follow(event: Event, work: Work) -> None:
        """Copy a definition, unless the copy is as new already."""
        work.tx.defer(copy, _values(event, event.record(message())))

    handlers.on(f"{descriptor.file.package}.custom_field_definition.*")(follow)


def _copy() -> Statement:
    copies = table(sa.MetaData())
    copy = insert(copies).values({column.name: sa.bindparam(column.name, type_=column.type) for column in copies.c})
    return Statement(
        copy.on_conflict_do_update(
            index_elements=["tenant_id", "id"],
            set_={column.name: copy.excluded[column.name] for column in copies.c if not column.primary_key},
            where=copies.c.version < copy.excluded.version,
        )
    )


def _values(event: Event, record: Any) -> dict[str, Any]:
    optional = ("min_value", "max_value")
    return {
        "tenant_id": event.tenant_id,
        "id": parse_name(event.resource_name, "customFieldDefinitions/{custom_field_definition}", "name"),
        "version": event.version,
        **{name: getattr(record, name) for name in _COPIED},
        **{name: getattr(record, name) if record.HasField(name) else None for name in optional},
        "options": [plain(option) for option in record.options] or None,
        "delete_time": record.delete_time.ToDatetime(dt.UTC) if record.HasField("delete_time") else None,
    }


def _columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("resource_type", KEY_TEXT, nullable=False),
        sa.Column("key", KEY_TEXT, nullable=False),
        sa.Column("type", sa.SmallInteger, nullable=False),
        sa.Column("options", JSONB(none_as_null=True)),
        sa.Column("required", sa.Boolean, nullable=False),
        sa.Column("filterable", sa.Boolean, nullable=False),
        sa.Column("min_value", sa.Double),
        sa.Column("max_value", sa.Double),
        sa.Column("max_length", sa.Integer, nullable=False),
        sa.Column("delete_time", sa.DateTime(timezone=True)),
    ]
