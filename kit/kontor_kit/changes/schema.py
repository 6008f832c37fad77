"""The change log's tables, and what a revision calls to create them.

change_log         the changes in order, partitioned by month; nobody changes a row but to redact it
change_log_state   one row: the last position, and which history of the database this is
change_log_heads   the last digest of each tenant's chain, and where in the log the tenant was restored, if it was
change_relay      one row: how far the log was told to the broker, with the transport `amqp`
change_log_seals   what is left of a partition that was dropped: where its chains stood
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BYTEA

from kontor_kit import migrations
from kontor_kit.tables import KEY_TEXT


def change_log_tables(metadata: sa.MetaData) -> None:
    """Declare the tables of the change log."""
    _declare_log(metadata)
    _declare_beside(metadata)


def _declare_log(metadata: sa.MetaData) -> None:
    sa.Table(
        "change_log",
        metadata,
        sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("log_time", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("tenant_id", sa.Uuid, nullable=False),
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("resource_name", KEY_TEXT, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("event_type", KEY_TEXT, nullable=False),
        sa.Column("before", BYTEA),
        sa.Column("after", BYTEA),
        *(sa.Column(name, KEY_TEXT) for name in ("subject", "actor", "client_id", "peer", "request_id", "trace_id")),
        sa.Column("change_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("salt", BYTEA),
        sa.Column("content_digest", BYTEA, nullable=False),
        sa.Column("digest", BYTEA, nullable=False),
        sa.Index("change_log_tenant", "tenant_id", "position"),
        sa.Index("change_log_resource", "tenant_id", "resource_name", "position"),
        postgresql_partition_by="RANGE (log_time)",
    )


def _declare_beside(metadata: sa.MetaData) -> None:
    sa.Table(
        "change_log_state",
        metadata,
        sa.Column("single", sa.Boolean, primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("incarnation", sa.BigInteger, nullable=False),
        sa.Column("system_identifier", KEY_TEXT),
        sa.Column("timeline", sa.BigInteger),
    )
    sa.Table(
        "change_log_heads",
        metadata,
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("digest", BYTEA, nullable=False),
        sa.Column("restore_position", sa.BigInteger),
    )
    sa.Table(
        "change_log_seals",
        metadata,
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("digest", BYTEA, nullable=False),
        sa.Column("seal_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    sa.Table(
        "change_relay",
        metadata,
        sa.Column("single", sa.Boolean, primary_key=True),
        sa.Column("position", sa.BigInteger),
        sa.Column("incarnation", sa.BigInteger),
        sa.Column("run", KEY_TEXT),
    )


def create_change_log() -> None:
    """Create the tables, as they are in the log's first version, and the functions that work on partitions."""
    op.execute(_TABLES)
    works = migrations.system_role()
    for table in ("change_log", "change_log_heads", "change_log_seals"):
        migrations.secure(table, system="SELECT, INSERT, UPDATE, DELETE", app="SELECT")
    op.execute("ALTER TABLE change_log_state ENABLE ROW LEVEL SECURITY")
    for name, role, privileges in (("system", works, "SELECT, UPDATE"), ("app", migrations.app_role(), "SELECT")):
        op.execute(f"CREATE POLICY {name} ON change_log_state TO {role} USING (true)")
        op.execute(f"GRANT {privileges} ON change_log_state TO {role}")
    op.execute(f"GRANT EXECUTE ON FUNCTION prepare_change_log(), drop_change_log(timestamptz) TO {works}")
    op.execute("SELECT prepare_change_log()")


def drop_change_log() -> None:
    """Take back what `create_change_log` did."""
    op.execute("DROP FUNCTION prepare_change_log(), drop_change_log(timestamptz)")
    for table in ("change_log_seals", "change_log_heads", "change_log_state", "change_log"):
        op.drop_table(table)


def create_relay() -> None:
    """Create the row that says how far the relay is, which it is not before it runs for the first time."""
    op.execute(
        "CREATE TABLE change_relay ("
        'single boolean PRIMARY KEY CHECK (single), position bigint, incarnation bigint, run text COLLATE "C")'
    )
    op.execute("INSERT INTO change_relay VALUES (true)")
    op.execute("ALTER TABLE change_relay ENABLE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY system ON change_relay TO {migrations.system_role()} USING (true)")
    op.execute(f"GRANT SELECT, UPDATE ON change_relay TO {migrations.system_role()}")


def drop_relay() -> None:
    """Take back what `create_relay` did."""
    op.drop_table("change_relay")


def add_restores() -> None:
    """Add the column that says where in the log a tenant was restored."""
    op.add_column("change_log_heads", sa.Column("restore_position", sa.BigInteger))


def drop_restores() -> None:
    """Take back what `add_restores` did."""
    op.drop_column("change_log_heads", "restore_position")


_TABLES = """
CREATE TABLE change_log (
    position bigint NOT NULL,
    log_time timestamptz NOT NULL,
    tenant_id uuid NOT NULL,
    event_id uuid NOT NULL,
    resource_name text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    event_type text COLLATE "C" NOT NULL,
    before bytea,
    after bytea,
    subject text COLLATE "C",
    actor text COLLATE "C",
    client_id text COLLATE "C",
    peer text COLLATE "C",
    request_id text COLLATE "C",
    trace_id text COLLATE "C",
    change_time timestamptz NOT NULL,
    salt bytea,
    content_digest bytea NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (position, log_time)
) PARTITION BY RANGE (log_time);
CREATE INDEX change_log_tenant ON change_log (tenant_id, position);
CREATE INDEX change_log_resource ON change_log (tenant_id, resource_name, position);
CREATE TABLE change_log_default PARTITION OF change_log DEFAULT;
ALTER TABLE change_log_default ENABLE ROW LEVEL SECURITY;
CREATE TABLE change_log_state (
    single boolean PRIMARY KEY CHECK (single),
    position bigint NOT NULL,
    incarnation bigint NOT NULL,
    system_identifier text COLLATE "C",
    timeline bigint
);
INSERT INTO change_log_state VALUES (true, 0, 1);
CREATE TABLE change_log_heads (tenant_id uuid PRIMARY KEY, position bigint NOT NULL, digest bytea NOT NULL);
CREATE TABLE change_log_seals (
    tenant_id uuid NOT NULL,
    position bigint NOT NULL,
    digest bytea NOT NULL,
    seal_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, position)
);

-- Makes the partitions of this month and the next ones. As the owner: who works runs no DDL.
CREATE FUNCTION prepare_change_log() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $body$
DECLARE
    month timestamptz := date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
    name text;
BEGIN
    FOR ahead IN 0..3 LOOP
        name := 'change_log_' || to_char(month AT TIME ZONE 'UTC', 'YYYYMM');
        IF to_regclass(name) IS NULL THEN
            EXECUTE format('CREATE TABLE %I PARTITION OF change_log FOR VALUES FROM (%L) TO (%L)',
                name, month, month + interval '1 month');
            EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        END IF;
        month := ((month AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC';
    END LOOP;
END
$body$;

-- Drops the partitions that end before a time, and leaves a seal for each tenant's chain in them.
CREATE FUNCTION drop_change_log(before_time timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $body$
DECLARE
    part record;
    dropped integer := 0;
BEGIN
    FOR part IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'change_log'::regclass AND c.relname ~ '^change_log_[0-9]{6}$'
        AND ((to_date(right(c.relname, 6), 'YYYYMM') + interval '1 month') AT TIME ZONE 'UTC') <= before_time
        ORDER BY c.relname
    LOOP
        EXECUTE format('INSERT INTO change_log_seals (tenant_id, position, digest)
            SELECT DISTINCT ON (tenant_id) tenant_id, position, digest FROM %I ORDER BY tenant_id, position DESC
            ON CONFLICT DO NOTHING', part.relname);
        EXECUTE format('DROP TABLE %I', part.relname);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$body$;
REVOKE EXECUTE ON FUNCTION prepare_change_log(), drop_change_log(timestamptz) FROM PUBLIC;
"""
