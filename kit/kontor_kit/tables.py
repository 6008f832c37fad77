"""The tables of a service: what every resource table has, and the tables the kit itself keeps in each database.

    <collection>      one row a record; `tenant_id` first in the key and in every index
    terms             one row a value of a many-valued or custom field: one b-tree serves all filters on them
    external_ids      the keys of records in other systems, unique a tenant and collection
    requests          the answers to requests with a request id, kept 24 hours
    change_pending    what was changed, written with the change itself and drained into the change log
    custom_fields     the tenant's own fields, in services that have resources with custom fields

Every value of `terms` is text whose byte order is the order of the values (`terms.encode`): text comparison is leakproof,
so an index on it serves queries under row security, which `@>` on arrays and documents would not.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB

KEY_TEXT = sa.Text(collation="C")
"""Text that is compared byte by byte: the same order on every server, prefixes by index."""


def resource_table(
    collection: str,
    metadata: sa.MetaData,
    *parts: sa.schema.SchemaItem,
    owned: bool = True,
) -> sa.Table:
    """Declare the table of a resource: `parts`, and the columns that every resource has.

    Columns bear the names of the proto fields. Money takes two, `<field>_amount` and `<field>_currency`; a field that
    can be sorted by and is text has a `<field>_key` beside it, with the folded text.
    """
    columns: list[sa.schema.SchemaItem] = [
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("delete_time", sa.DateTime(timezone=True)),
    ]
    if owned:
        columns += [
            sa.Column("owner", sa.Uuid),
            sa.Column("team", sa.Uuid),
            sa.Index(f"{collection}_owner", "tenant_id", "owner", "id"),
            sa.Index(f"{collection}_team", "tenant_id", "team", "id"),
        ]
    return sa.Table(collection, metadata, *columns, *parts)


def index(collection: str, *columns: str, unique: bool = False) -> sa.Index:
    """Declare an index of a resource table on `columns` within the tenant, with the id behind unless it is unique."""
    name = f"{collection}_{'_'.join(columns)}"
    if unique:
        return sa.Index(name, "tenant_id", *columns, unique=True, postgresql_where=sa.text("delete_time IS NULL"))
    return sa.Index(name, "tenant_id", *columns, "id")


def search_index(collection: str) -> sa.Index:
    """Declare the trigram index of a table with a `search_text` column."""
    return sa.Index(
        f"{collection}_search",
        "tenant_id",
        "search_text",
        postgresql_using="gin",
        postgresql_ops={"search_text": "gin_trgm_ops"},
    )


def kit_tables(metadata: sa.MetaData) -> None:
    """Declare the tables that the kit keeps in the database of every service."""
    sa.Table(
        "terms",
        metadata,
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("term", KEY_TEXT, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Index("terms_id", "tenant_id", "id"),
    )
    sa.Table(
        "external_ids",
        metadata,
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("collection", KEY_TEXT, primary_key=True),
        sa.Column("system", KEY_TEXT, primary_key=True),
        sa.Column("key", KEY_TEXT, primary_key=True),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Index("external_ids_id", "tenant_id", "id"),
    )
    sa.Table(
        "requests",
        metadata,
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("subject", KEY_TEXT, primary_key=True),
        sa.Column("request_id", KEY_TEXT, primary_key=True),
        sa.Column("fingerprint", BYTEA, nullable=False),
        sa.Column("response", BYTEA, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Index("requests_create_time", "create_time"),
    )
    sa.Table(
        "change_pending",
        metadata,
        sa.Column("sequence", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("tenant_id", sa.Uuid, nullable=False),
        sa.Column("resource_name", KEY_TEXT, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("event_type", KEY_TEXT, nullable=False),
        sa.Column("before", BYTEA),
        sa.Column("after", BYTEA, nullable=False),
        sa.Column("subject", KEY_TEXT, nullable=False),
        sa.Column("actor", KEY_TEXT),
        sa.Column("client_id", KEY_TEXT),
        sa.Column("peer", KEY_TEXT),
        sa.Column("request_id", KEY_TEXT),
        sa.Column("trace_id", KEY_TEXT),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
    )


def json_column(name: str) -> sa.Column[Any]:
    """A column for repeated or nested messages, as JSON with proto field names; NULL where there are none."""
    return sa.Column(name, JSONB(none_as_null=True))


def array_column(name: str, item: Any) -> sa.Column[Any]:
    """A column for repeated scalars, enums (SmallInteger) and references (Uuid); NULL where there are none."""
    return sa.Column(name, ARRAY(item))
