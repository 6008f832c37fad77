"""Forgetting a tenant: everything that a service keeps of it goes, log and operations included, in small batches.

The log's chain of digests is the tenant's own, so that it goes as a whole, and those of others stay what they are. What
is left is a row of `tenant_deletions`: how many rows of which table there were. It is the receipt, and makes a deletion
that was interrupted count on.
"""

from __future__ import annotations

import datetime as dt
import time
import uuid
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from kontor.operations.v1 import tenant_data_service_pb2
from kontor_kit import migrations
from kontor_kit.calls import Behavior, Call
from kontor_kit.db import Database, Statement
from kontor_kit.errors import FailedPrecondition, PermissionDenied
from kontor_kit.ids import parse_name
from kontor_kit.principals import PLATFORM_TENANT, Scope
from kontor_kit.records import principal_of
from kontor_kit.tables import KEY_TEXT

BATCH: Final = 1000
SECONDS: Final = 2.0
"""So long one call goes on."""
RECEIPTS: Final = "tenant_deletions"

_BEGIN: Final = Statement(
    sa.text(
        f"INSERT INTO {RECEIPTS} (tenant_id, request_id, rows, begin_time)"  # noqa: S608  # a constant
        " VALUES (:tenant, :request_id, '{}', clock_timestamp())"
        " ON CONFLICT DO NOTHING"
    )
)
_READ: Final = Statement(
    sa.text(
        f"SELECT rows, begin_time, end_time FROM {RECEIPTS}"  # noqa: S608  # a constant
        " WHERE tenant_id = :tenant AND request_id = :request_id"
    )
)
_DELETE: Final = Statement(
    sa.text("SELECT delete_tenant_rows(CAST(:tenant AS uuid), CAST(:relation AS text), CAST(:size AS integer))")
)
_COUNT: Final = Statement(
    sa.text(
        f"UPDATE {RECEIPTS} SET rows = rows || jsonb_build_object(CAST(:relation AS text),"  # noqa: S608  # a constant
        " COALESCE(CAST(rows ->> CAST(:relation AS text) AS bigint), 0) + CAST(:number AS bigint))"
        " WHERE tenant_id = :tenant AND request_id = :request_id"
    )
)
_END: Final = Statement(
    sa.text(
        f"UPDATE {RECEIPTS} SET end_time = clock_timestamp()"  # noqa: S608  # a constant
        " WHERE tenant_id = :tenant AND request_id = :request_id AND end_time IS NULL"
    )
)


class Receipt(NamedTuple):
    """What a deletion came to so far."""

    rows: dict[str, int]
    """How many rows were deleted, by table."""
    begin_time: dt.datetime
    end_time: dt.datetime | None
    """None as long as something may be left."""


def tables_of(metadata: sa.MetaData) -> list[sa.Table]:
    """Return the tables that hold what is of a tenant and goes with it, those first that others refer to."""
    return [table for table in metadata.sorted_tables if "tenant_id" in table.c and table.name != RECEIPTS]


class Forgetting:
    """Forgets tenants in the database of one service, as the system role, which no row of others is hidden from."""

    def __init__(self, metadata: sa.MetaData, system: Database) -> None:
        self._system = system
        # What refers to others comes before them.
        self._tables = [table.name for table in reversed(tables_of(metadata))]

    def advance(self, tenant_id: uuid.UUID, request_id: str, *, seconds: float = SECONDS, size: int = BATCH) -> Receipt:
        """Go on with a deletion for some `seconds`, `size` rows at a time; return what it came to.

        It is over when nothing was found in any table: what was written meanwhile is looked for again.
        """
        if tenant_id == PLATFORM_TENANT:
            raise FailedPrecondition("the tenant of the operators cannot be forgotten", reason="PLATFORM_TENANT")
        key, until = {"tenant": tenant_id, "request_id": request_id}, time.monotonic() + seconds
        with self._system.write(None) as tx:
            tx.defer(_BEGIN, key)
            [row] = tx.run(_READ, key)
        found = row[2] is None
        while found and time.monotonic() < until:
            found = sum(self._delete(table, key, until, size) for table in self._tables) > 0
            if not found:
                with self._system.write(None) as tx:
                    tx.defer(_END, key)
        with self._system.read(None) as tx:
            [row] = tx.run(_READ, key)
        return Receipt(*row)

    def _delete(self, table: str, key: dict[str, Any], until: float, size: int) -> bool:
        """Delete the rows of a table as far as time allows; tell whether there were any, or can be."""
        number, found = size, False
        while number == size:
            if time.monotonic() >= until:
                return True
            with self._system.write(None) as tx:
                [(number,)] = tx.run(_DELETE, {**key, "relation": table, "size": size})
                if number:
                    tx.defer(_COUNT, {**key, "relation": table, "number": number})
                    found = True
        return found


class TenantDataServicer:
    """Serves `DeleteTenantData` for one service."""

    SERVICE = tenant_data_service_pb2.DESCRIPTOR.services_by_name["TenantDataService"]

    def __init__(self, service: str, metadata: sa.MetaData, system: Database) -> None:
        self._permission = f"{service}.tenants.forget"
        self._forgetting = Forgetting(metadata, system)

    def handler(self, method: str) -> Behavior | None:
        """Return what serves the RPC of this name; None where nothing does."""
        return self.delete if method == "DeleteTenantData" else None

    def delete(self, request: Any, call: Call) -> Any:
        """Delete a part of what is kept of a tenant."""
        principal = principal_of(call)
        # Who may do everything in a tenant may not reach into others: only the platform's own services may.
        is_service = principal.tenant_id == PLATFORM_TENANT and principal.subject.startswith("serviceAccounts/")
        if not is_service or principal.scope(self._permission) is not Scope.ALL:
            raise PermissionDenied(
                f"the permission {self._permission} is needed", metadata={"permission": self._permission}
            )
        receipt = self._forgetting.advance(parse_name(request.tenant, "tenants/{tenant}", "tenant"), request.request_id)
        return tenant_data_service_pb2.DeleteTenantDataResponse(
            done=receipt.end_time is not None,
            rows=receipt.rows,
            begin_time=receipt.begin_time,
            end_time=receipt.end_time,
        )


def receipts_table(metadata: sa.MetaData) -> None:
    """Declare the table of receipts."""
    sa.Table(
        RECEIPTS,
        metadata,
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("request_id", KEY_TEXT, primary_key=True),
        sa.Column("rows", JSONB, nullable=False),
        sa.Column("begin_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end_time", sa.DateTime(timezone=True)),
    )


def create_forgetting() -> None:
    """Create the table of receipts, and the function that deletes rows, as they are in their first version."""
    op.create_table(
        RECEIPTS,
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("request_id", sa.Text(collation="C"), primary_key=True),
        sa.Column("rows", JSONB, nullable=False),
        sa.Column("begin_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end_time", sa.DateTime(timezone=True)),
    )
    migrations.secure(RECEIPTS, app="SELECT", system="SELECT, INSERT, UPDATE")
    op.execute(_FUNCTION)
    op.execute("REVOKE EXECUTE ON FUNCTION delete_tenant_rows(uuid, text, integer) FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION delete_tenant_rows(uuid, text, integer) TO {migrations.system_role()}")


def drop_forgetting() -> None:
    """Take back what `create_forgetting` did."""
    op.execute("DROP FUNCTION delete_tenant_rows(uuid, text, integer)")
    op.drop_table(RECEIPTS)


# As the owner: the system role has no business in the tables of records but this. In partitions the same place can be
# that of a row of somebody else, so that the tenant counts too.
_FUNCTION = """
CREATE FUNCTION delete_tenant_rows(tenant uuid, relation text, size integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $body$
DECLARE
    deleted integer;
BEGIN
    IF relation = 'tenant_deletions' OR tenant = '00000000-0000-7000-8000-000000000001' THEN
        RAISE EXCEPTION 'rows of % are not deleted', relation;
    END IF;
    EXECUTE format('DELETE FROM %1$I WHERE tenant_id = $1 AND ctid = ANY (ARRAY('
        'SELECT ctid FROM %1$I WHERE tenant_id = $1 LIMIT $2))', relation) USING tenant, size;
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END
$body$
"""
