"""Rows of a tenant in every table of a service, as its metadata says, and how many there are."""

import datetime as dt
import itertools
import uuid

import sqlalchemy as sa
from psycopg import sql

from kontor_kit.forgetting import RECEIPTS

_NUMBERS = itertools.count(1_000_000)


def tables(metadata):
    """Return the tables whose rows belong to tenants, those first that others refer to."""
    return [table for table in metadata.sorted_tables if "tenant_id" in table.c and table.name != RECEIPTS]


def fill(connection, metadata, tenant_id, number):
    """Put so many rows of a tenant into each table, as the superuser; a tenant is one row of its own."""
    for table in tables(metadata):
        for _ in range(1 if table.name in ("tenants", "change_log_heads") else number):
            row = {column.name: _value(column, tenant_id) for column in table.c if _is_needed(column)}
            if table.name == "tenants":
                row |= {"id": tenant_id, "state": 1}
            for key in table.foreign_key_constraints:
                if not set(key.column_keys) & row.keys() - {"tenant_id"}:
                    continue  # It may refer to nothing.
                named = [element.column.name for element in key.elements]
                query = sql.SQL("SELECT {} FROM {} WHERE tenant_id = %s LIMIT 1").format(
                    sql.SQL(", ").join(map(sql.Identifier, named)), sql.Identifier(key.referred_table.name)
                )
                found = connection.execute(query, [tenant_id]).fetchone()
                row |= dict(zip(key.column_keys, found, strict=True))
            connection.execute(
                sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                    sql.Identifier(table.name),
                    sql.SQL(", ").join(map(sql.Identifier, row)),
                    sql.SQL(", ").join(sql.Placeholder() * len(row)),
                ),
                list(row.values()),
            )


def count(connection, metadata, tenant_id):
    """Return how many rows of a tenant each table has."""
    query = "SELECT count(*) FROM {} WHERE tenant_id = %s"
    return {
        table.name: connection.execute(sql.SQL(query).format(sql.Identifier(table.name)), [tenant_id]).fetchone()[0]
        for table in tables(metadata)
    }


def _is_needed(column):
    return not column.nullable and column.server_default is None and column.identity is None


def _value(column, tenant_id):
    if column.name == "tenant_id":
        return tenant_id
    for kind, make in (
        (sa.Uuid, uuid.uuid4),
        (sa.LargeBinary, lambda: uuid.uuid4().bytes),
        (sa.Boolean, lambda: False),
        (sa.DateTime, lambda: dt.datetime.now(dt.UTC)),
        (sa.Date, lambda: dt.datetime.now(dt.UTC).date()),
        # Nobody works on an operation that has succeeded.
        (sa.SmallInteger, lambda: 2),
        (sa.Integer, lambda: next(_NUMBERS)),
        (sa.Numeric, lambda: 1),
        (sa.JSON, lambda: "{}"),
        (sa.ARRAY, list),
        (sa.Text, lambda: f"x{next(_NUMBERS)}"),
    ):
        if isinstance(column.type, kind):
            return make()
    raise AssertionError(f"no value for {column}")
