"""Create the kit's tables and those of identity."""

import uuid

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from kontor_kit import migrations

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.Text(collation="C")
TIME = sa.DateTime(timezone=True)
PLATFORM = "00000000-0000-7000-8000-000000000001"


def upgrade() -> None:
    """Create everything."""
    migrations.extensions()
    migrations.create_kit_tables()
    _create_tenants()
    _create_people()
    _create_secrets()
    _create_oauth()
    _create_signing_keys()
    _create_look_ups()


def _create_tenants() -> None:
    migrations.create_resource(
        "tenants",
        sa.Column("slug", KEY, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("suspend_reason", sa.Text),
        sa.Column("language_code", sa.Text),
        sa.Column("time_zone", sa.Text),
        sa.CheckConstraint("tenant_id = id", name="tenants_own_tenant"),
        owned=False,
    )
    live = sa.text("delete_time IS NULL")
    op.create_index("tenants_slug", "tenants", ["slug"], unique=True, postgresql_where=live)
    # Row security does not apply to the owner, so a view of the owner's sees all tenants; its own condition lets
    # nobody but operators see anything.
    columns = "id, version, create_time, update_time, delete_time, slug, display_name, display_name_key, state"
    select = f"SELECT '{PLATFORM}'::uuid AS tenant_id, {columns}, suspend_reason, language_code, time_zone"
    op.execute(
        f"CREATE VIEW all_tenants WITH (security_barrier) AS {select} FROM tenants"
        f" WHERE {migrations.TENANT} = '{PLATFORM}'"
    )
    op.execute(f"GRANT SELECT ON all_tenants TO {migrations.app_role()}")


def _create_people() -> None:
    migrations.create_resource(
        "users",
        sa.Column("email", KEY, nullable=False),
        *_named(),
        *(sa.Column(name, sa.Text) for name in ("given_name", "family_name", "language_code", "time_zone")),
        *_given(),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("search_text", sa.Text, nullable=False),
        owned=False,
    )
    migrations.create_indexes("users", "display_name_key", "create_time", "update_time", "state")
    _create_unique("users", "email")
    migrations.create_search("users", owned=False)
    op.create_table(
        "passwords",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Uuid, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False, comment="argon2"),
        sa.Column("update_time", TIME, nullable=False),
    )
    migrations.secure("passwords")
    state = sa.Column("state", sa.SmallInteger, nullable=False)
    for table, parts in (
        ("teams", []),
        ("roles", [sa.Column("grants", JSONB)]),
        ("service_accounts", [*_given(), state]),
    ):
        migrations.create_resource(table, *_named(), sa.Column("description", sa.Text), *parts, owned=False)
        migrations.create_indexes(table, "create_time", "update_time")
        _create_unique(table, "display_name_key")
    migrations.create_indexes("service_accounts", "state")


def _named() -> list[sa.Column[str]]:
    return [sa.Column("display_name", sa.Text, nullable=False), sa.Column("display_name_key", KEY, nullable=False)]


def _given() -> list[sa.Column[list[uuid.UUID]]]:
    return [sa.Column("roles", ARRAY(sa.Uuid)), sa.Column("teams", ARRAY(sa.Uuid))]


def _create_unique(table: str, column: str) -> None:
    live = sa.text("delete_time IS NULL")
    op.create_index(f"{table}_{column}", table, ["tenant_id", column], unique=True, postgresql_where=live)


def _create_secrets() -> None:
    op.create_table(
        "secrets",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("service_account", sa.Uuid, nullable=False),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False, comment="argon2"),
        sa.Column("expire_time", TIME),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("last_use_time", TIME),
    )
    op.create_index("secrets_service_account", "secrets", ["tenant_id", "service_account", "id"])
    migrations.secure("secrets")


def _create_oauth() -> None:
    op.create_table(
        "oauth_sessions",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("client_id", sa.Text, nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("expire_time", TIME, nullable=False),
        sa.Column("revoke_time", TIME),
        comment="one row a signing in; everything that came of it ends with it",
    )
    op.create_index("oauth_sessions_user", "oauth_sessions", ["tenant_id", "user_id"])
    op.create_index("oauth_sessions_expire_time", "oauth_sessions", ["expire_time"])
    migrations.secure("oauth_sessions", system="SELECT, DELETE")
    for table, extra in (("oauth_codes", ("redirect_uri", "code_challenge")), ("oauth_refresh_tokens", ())):
        op.create_table(
            table,
            sa.Column("tenant_id", sa.Uuid, primary_key=True),
            sa.Column("digest", sa.LargeBinary, primary_key=True),
            sa.Column("session_id", sa.Uuid, nullable=False),
            *(sa.Column(name, sa.Text, nullable=False) for name in extra),
            sa.Column("expire_time", TIME, nullable=False),
            sa.Column("use_time", TIME),
            sa.ForeignKeyConstraint(
                ["tenant_id", "session_id"], ["oauth_sessions.tenant_id", "oauth_sessions.id"], ondelete="CASCADE"
            ),
        )
        op.create_index(f"{table}_session", table, ["tenant_id", "session_id"])
        migrations.secure(table)
    op.create_table(
        "oauth_attempts",
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("end_time", TIME, nullable=False),
        comment="failed attempts to sign in; of no tenant, because they are counted before one is known",
    )
    op.create_index("oauth_attempts_end_time", "oauth_attempts", ["end_time"])
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON oauth_attempts TO {migrations.app_role()}")
    op.execute(f"GRANT SELECT, DELETE ON oauth_attempts TO {migrations.system_role()}")


def _create_signing_keys() -> None:
    op.create_table(
        "signing_keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("public_key", JSONB, nullable=False),
        sa.Column("private_key", sa.Text, nullable=False, comment="JWE"),
        sa.Column("activate_time", TIME, nullable=False),
        sa.Column("create_time", TIME, nullable=False, server_default=sa.text("now()")),
    )
    op.execute(f"GRANT SELECT ON signing_keys TO {migrations.app_role()}")
    op.execute(f"GRANT SELECT, INSERT, DELETE ON signing_keys TO {migrations.system_role()}")


def _create_look_ups() -> None:
    """Let who signs in be looked up before a tenant is known: an id for a name, and nothing else, crosses tenants."""
    for function, argument, query in (
        ("find_tenant", "text", "SELECT id FROM tenants WHERE slug = $1 AND delete_time IS NULL"),
        (
            "find_service_account",
            "uuid",
            "SELECT tenant_id FROM service_accounts WHERE id = $1 AND delete_time IS NULL",
        ),
    ):
        op.execute(
            f"CREATE FUNCTION {function}({argument}) RETURNS uuid LANGUAGE sql STABLE SECURITY DEFINER"
            f" SET search_path = public, pg_temp AS $$ {query} $$"
        )
        op.execute(f"REVOKE EXECUTE ON FUNCTION {function}({argument}) FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function}({argument}) TO {migrations.app_role()}")
    # Service accounts are found by their id alone.
    op.create_index("service_accounts_id", "service_accounts", ["id"])


def downgrade() -> None:
    """Drop everything."""
    for function in ("find_tenant", "find_service_account", "search_users"):
        op.execute(f"DROP FUNCTION {function}")
    op.execute("DROP VIEW all_tenants")
    for table in (
        *("signing_keys", "oauth_attempts", "oauth_refresh_tokens", "oauth_codes", "oauth_sessions", "secrets"),
        *("service_accounts", "roles", "teams", "passwords", "users", "tenants"),
        *("change_pending", "requests", "external_ids", "terms"),
    ):
        op.drop_table(table)
