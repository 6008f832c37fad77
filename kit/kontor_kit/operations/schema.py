"""The tables of jobs and operations, and what a revision calls to create them.

leases            one row for each job that runs in one process at a time
operations        one row for each operation; `due_time` is when a worker may take it; `holder` moves that ahead
tenant_deletions  what the deletion of a tenant, which identity has every service do, came to here
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BYTEA, JSONB

from kontor_kit import forgetting, migrations
from kontor_kit.tables import KEY_TEXT

_ENDED = sa.text("end_time IS NOT NULL")
_RUNNING = sa.text("state = 1")
_STUCK = sa.text("state = 5")


def operations_tables(metadata: sa.MetaData) -> None:
    """Declare the tables of jobs and operations."""
    sa.Table(
        "leases",
        metadata,
        sa.Column("name", KEY_TEXT, primary_key=True),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("holder", sa.Text),
    )
    sa.Table(
        "operations",
        metadata,
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("kind", KEY_TEXT, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("subject", KEY_TEXT, nullable=False),
        sa.Column("traceparent", sa.Text),
        sa.Column("request", BYTEA, nullable=False),
        sa.Column("checkpoint", JSONB),
        sa.Column("stage", sa.Text, nullable=False),
        sa.Column("done_units", sa.BigInteger, nullable=False),
        sa.Column("total_units", sa.BigInteger, nullable=False),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("holder", sa.Text),
        sa.Column("retries", sa.Integer, nullable=False),
        sa.Column("faults", sa.Integer, nullable=False),
        sa.Column("due_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end_time", sa.DateTime(timezone=True)),
        sa.Column("result", BYTEA),
        sa.Column("error", BYTEA),
        sa.Index("operations_subject", "tenant_id", "subject", "id"),
        sa.Index("operations_due", "due_time", postgresql_where=_RUNNING),
        sa.Index("operations_stuck", "tenant_id", "id", postgresql_where=_STUCK),
        sa.Index("operations_ended", "end_time", postgresql_where=_ENDED),
    )
    forgetting.receipts_table(metadata)


def create_operations() -> None:
    """Create the tables, as they are in their first version."""
    key, time = sa.Text(collation="C"), sa.DateTime(timezone=True)
    op.create_table(
        "leases",
        sa.Column("name", key, primary_key=True),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("expire_time", time, nullable=False),
        sa.Column("holder", sa.Text),
    )
    op.create_table(
        "operations",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("kind", key, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("subject", key, nullable=False),
        sa.Column("traceparent", sa.Text),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.Column("checkpoint", JSONB),
        sa.Column("stage", sa.Text, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("done_units", "total_units")),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("holder", sa.Text),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("retries", "faults")),
        *(sa.Column(name, time, nullable=False) for name in ("due_time", "create_time", "update_time")),
        sa.Column("end_time", time),
        sa.Column("result", sa.LargeBinary),
        sa.Column("error", sa.LargeBinary),
    )
    op.create_index("operations_subject", "operations", ["tenant_id", "subject", "id"])
    op.create_index("operations_due", "operations", ["due_time"], postgresql_where=_RUNNING)
    op.create_index("operations_stuck", "operations", ["tenant_id", "id"], postgresql_where=_STUCK)
    op.create_index("operations_ended", "operations", ["end_time"], postgresql_where=_ENDED)
    migrations.secure("operations", app="SELECT, INSERT, UPDATE", system="SELECT, UPDATE, DELETE")
    works = migrations.system_role()
    op.execute("ALTER TABLE leases ENABLE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY system ON leases TO {works} USING (true) WITH CHECK (true)")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON leases TO {works}")
    forgetting.create_forgetting()


def drop_operations() -> None:
    """Take back what `create_operations` did."""
    forgetting.drop_forgetting()
    op.drop_table("operations")
    op.drop_table("leases")
