"""Migrations: the run of Alembic for a service, and what its revisions say about tenants, roles and search.

Three roles: the owner migrates and owns the tables, and row security does not apply to it; the app role serves, held to
one tenant by the policy of each table; the system role works, on the tables that say so.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command, op
from alembic.config import Config
from alembic.runtime.migration import MigrationContext

from kontor_kit.config import Settings
from kontor_kit.db import TENANT_SETTING

logger = logging.getLogger(__name__)

TENANT = f"NULLIF(current_setting('{TENANT_SETTING}', true), '')::uuid"
EXTENSIONS = ("pg_trgm", "btree_gin")
LOCK_TIMEOUT = "5s"
MIGRATION_LOCK = 0x6B6F6E746F72
"""`kontor`: whoever migrates, or moves a tenant, holds this advisory lock, so that they come one after the other."""


def migrate(settings: Settings, service: Any, revision: str = "head") -> None:
    """Bring the service's database to `revision`; `-1` and the like go back."""
    with configured(settings, service) as config:
        step = command.downgrade if revision.startswith("-") or revision == "base" else command.upgrade
        step(config, revision)
        heads = MigrationContext.configure(config.attributes["connection"]).get_current_heads()
        logger.info("the database is at %s", ", ".join(heads) or "its beginning")


@contextmanager
def configured(settings: Settings, service: Any) -> Iterator[Config]:
    """Yield Alembic's configuration with a connection as the owner, locked against other migrations."""
    url = sa.make_url(settings.owner_database_url).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    config = _config(settings, service)
    # An open transaction beside would be waited for by an index that is made without a lock.
    with engine.connect() as connection, engine.connect().execution_options(isolation_level="AUTOCOMMIT") as guard:
        guard.execute(sa.select(sa.func.pg_advisory_lock(MIGRATION_LOCK)))
        connection.execute(sa.text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.commit()
        config.attributes["connection"] = connection
        yield config
    engine.dispose()


def statements(settings: Settings, service: Any, revisions: str) -> str:
    """Return the SQL of `revisions` (`0001:0002`), without a database."""
    config = _config(settings, service)
    config.output_buffer = StringIO()
    command.upgrade(config, revisions, sql=True)
    return config.output_buffer.getvalue()


def _config(settings: Settings, service: Any) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "alembic"))
    config.set_main_option("version_locations", str(service.migrations))
    config.set_main_option("path_separator", "newline")
    config.attributes.update(metadata=service.metadata, app_role=settings.app_role, system_role=settings.system_role)
    return config


def app_role() -> str:
    """Return the name of the app role, quoted; for revisions."""
    return _role("app_role")


def system_role() -> str:
    """Return the name of the system role, quoted; for revisions."""
    return _role("system_role")


def _role(attribute: str) -> str:
    context = op.get_context()
    name: str = context.config.attributes[attribute]  # type: ignore[union-attr]
    return context.dialect.identifier_preparer.quote(name)


def extensions() -> None:
    """Create the extensions that search needs; they are trusted, so that the owner of the database may."""
    for name in EXTENSIONS:
        op.execute(f"CREATE EXTENSION IF NOT EXISTS {name}")


def secure(table: str, *, system: str = "", app: str = "SELECT, INSERT, UPDATE, DELETE") -> None:
    """Hold the app role, with the privileges in `app`, to the tenant in `table`.

    The system role gets the privileges in `system`, for example `SELECT, DELETE`, on all of it; without it the system
    role has no business in the table.
    """
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    serves, works = app_role(), system_role()
    op.execute(
        f"CREATE POLICY tenant ON {table} TO {serves} USING (tenant_id = {TENANT}) WITH CHECK (tenant_id = {TENANT})"
    )
    op.execute(f"GRANT {app} ON {table} TO {serves}")
    if system:
        op.execute(f"CREATE POLICY system ON {table} TO {works} USING (true) WITH CHECK (true)")
        op.execute(f"GRANT {system} ON {table} TO {works}")


def let_system_look(table: str) -> None:
    """Let the system role find in `table`, over all tenants, what is due; it changes nothing there."""
    works = system_role()
    op.execute(f"CREATE POLICY system ON {table} FOR SELECT TO {works} USING (true)")
    op.execute(f"GRANT SELECT ON {table} TO {works}")


def create_resource(collection: str, *parts: sa.schema.SchemaItem, owned: bool = True) -> None:
    """Create the table of a resource with the columns that every resource has, held to the tenant.

    Old revisions call this too: what it creates never changes. A new need gets a function of its own.
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
        columns += [sa.Column("owner", sa.Uuid), sa.Column("team", sa.Uuid)]
    op.create_table(collection, *columns, *parts)
    if owned:
        op.create_index(f"{collection}_owner", collection, ["tenant_id", "owner", "id"])
        op.create_index(f"{collection}_team", collection, ["tenant_id", "team", "id"])
    secure(collection)


def create_indexes(collection: str, *columns: str) -> None:
    """Create an index of a resource's table for each of `columns`, within the tenant, with the id behind."""
    for column in columns:
        op.create_index(f"{collection}_{column}", collection, ["tenant_id", column, "id"])


def create_unique(collection: str, *columns: str) -> None:
    """Create an index that holds `columns` together unique among the live records of a tenant."""
    name = f"{collection}_{'_'.join(columns)}"
    where = sa.text("delete_time IS NULL")
    op.create_index(name, collection, ["tenant_id", *columns], unique=True, postgresql_where=where)


def create_kit_tables() -> None:
    """Create the tables that the kit keeps in every database, as they are in the kit's first version."""
    key = sa.Text(collation="C")
    now = sa.text("clock_timestamp()")
    op.create_table(
        "terms",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("term", key, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
    )
    op.create_index("terms_id", "terms", ["tenant_id", "id"])
    # One column with the values of all fields: the usual sample of it is too small to know how rare a value is.
    op.execute("ALTER TABLE terms ALTER COLUMN term SET STATISTICS 1000")
    op.create_table(
        "external_ids",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("collection", key, primary_key=True),
        sa.Column("system", key, primary_key=True),
        sa.Column("key", key, primary_key=True),
        sa.Column("id", sa.Uuid, nullable=False),
    )
    op.create_index("external_ids_id", "external_ids", ["tenant_id", "id"])
    op.create_table(
        "requests",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("subject", key, primary_key=True),
        sa.Column("request_id", key, primary_key=True),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("response", sa.LargeBinary, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
    )
    op.create_index("requests_create_time", "requests", ["create_time"])
    op.create_table(
        "change_pending",
        sa.Column("sequence", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("tenant_id", sa.Uuid, nullable=False),
        sa.Column("resource_name", key, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("event_type", key, nullable=False),
        sa.Column("before", sa.LargeBinary),
        sa.Column("after", sa.LargeBinary, nullable=False),
        sa.Column("subject", key, nullable=False),
        *(sa.Column(name, key) for name in ("actor", "client_id", "peer", "request_id", "trace_id")),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, server_default=now),
    )
    secure("terms")
    secure("external_ids")
    secure("requests", system="SELECT, DELETE")
    secure("change_pending", system="SELECT, DELETE")


def create_search(table: str, *, owned: bool = True, reach: str = "") -> None:
    """Create the function `search_<table>` (text, owner, teams, size) -> (id, score), and the index it looks through.

    It runs as the owner: under row security the planner does not use a trigram index, because its operators might leak.
    It compares the tenant itself. First it takes what has every word as a part, and only where there is none, what is
    spelled alike. `owner` and `teams` narrow it down before it counts; what may be seen is decided by who calls it.
    `reach` narrows it down in SQL for a scope rule of the resource's own: with `r` for the row, `$1` NULL for who reaches
    all, and `$2` NULL for who reaches no team's.
    """
    op.create_index(
        f"{table}_search",
        table,
        ["tenant_id", "search_text"],
        postgresql_using="gin",
        postgresql_ops={"search_text": "gin_trgm_ops"},
    )
    reach = reach or ("($1 IS NULL OR r.owner = $1 OR r.team = ANY ($2))" if owned else "true")
    # The conditions stand inside of a string of the function.
    tenant = TENANT.replace("'", "''")
    op.execute(_SEARCH.replace("{table}", table).replace("{tenant}", tenant).replace("{reach}", reach))
    op.execute(f"REVOKE EXECUTE ON FUNCTION search_{table}(text, uuid, uuid[], integer) FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION search_{table}(text, uuid, uuid[], integer) TO {app_role()}")


# Twenty rows are asked for as a rule. PostgreSQL would rather read all records than look up the thousand that it expects
# of any function.
#
# Each word becomes a condition of its own: an index serves `a AND b`, it does not serve `LIKE ALL`. A word of one or two
# letters has no trigram inside of a word, only at its beginning. Likeness costs 20 us a record: where thousands have the
# words as parts, those are looked at that have them as words.
#
# A wrong letter leaves a word of eight half of its likeness; two letters swapped leave 0.38, in a word of five 0.2. So
# the bound is lowered step by step until something is found: who is looked for is among the first ten for 98% of the
# names with an error in a word in FEBRL's sets 1 and 3, where a bound of 0.45 finds 75% and 0.3 finds 95%, and the high
# bound first keeps the low ones from looking at thousands of records. Nobody looks for an e-mail address by one that is
# like it: all addresses of a company are alike.
_SEARCH = """
CREATE FUNCTION search_{table}(query text, owner_id uuid, team_ids uuid[], size integer)
RETURNS TABLE (id uuid, score double precision)
ROWS 20
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = public, pg_temp
SET pg_trgm.word_similarity_threshold = 1
AS $body$
DECLARE
    words text[] := (regexp_split_to_array(query, ' +'))[1:6];
    parts text := '';
    alike text := '';
    whole text := '0';
    fit text := '0';
    word text;
    part text;
    bound double precision;
    found integer;
BEGIN
    FOREACH word IN ARRAY words LOOP
        part := replace(replace(replace(word, '\\', '\\\\'), '%', '\\%'), '_', '\\_');
        parts := parts || CASE WHEN length(word) > 2 THEN format(' AND r.search_text LIKE %L', '%' || part || '%')
            ELSE format(' AND (r.search_text LIKE %L OR r.search_text LIKE %L)', part || '%', '% ' || part || '%') END;
        -- Signs alone are like nothing.
        IF word ~ '\\w' AND word !~ '@' THEN
            alike := alike || format(' AND %L <%% r.search_text', word);
        END IF;
        whole := whole || format(' + (concat('' '', r.search_text, '' '') LIKE %L)::int', '% ' || part || ' %');
        fit := fit || format(' + word_similarity(%L, c.search_text)', word);
    END LOOP;
    FOREACH bound IN ARRAY ARRAY[1, 0.4, 0.3, 0.25] LOOP
        PERFORM set_config('pg_trgm.word_similarity_threshold', bound::text, true);
        CONTINUE WHEN bound < 1 AND alike = '';
        RETURN QUERY EXECUTE
            'SELECT c.id, ((' || fit || ') / $4)::float8 AS score FROM (SELECT r.id, r.search_text FROM'
            || ' (SELECT r.id, r.search_text FROM {table} r'
            || ' WHERE r.tenant_id = {tenant} AND r.delete_time IS NULL AND {reach}'
            || CASE WHEN bound < 1 THEN alike || ' LIMIT 2000) r' ELSE parts || ' LIMIT 10000) r'
               || ' ORDER BY ' || whole || ' DESC LIMIT 500' END
            || ') c ORDER BY score DESC, id LIMIT $3'
            USING owner_id, team_ids, size, cardinality(words);
        GET DIAGNOSTICS found = ROW_COUNT;
        EXIT WHEN found > 0;
    END LOOP;
END
$body$
"""
