"""The tables of OAuth 2.0: who is signed in, with which codes and refresh tokens, and who guesses passwords."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA

from kontor_identity.tables import metadata

sessions = sa.Table(
    "oauth_sessions",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("user_id", sa.Uuid, nullable=False),
    sa.Column("client_id", sa.Text, nullable=False),
    sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
    sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
    sa.Column("revoke_time", sa.DateTime(timezone=True)),
    sa.Index("oauth_sessions_user", "tenant_id", "user_id"),
    sa.Index("oauth_sessions_expire_time", "expire_time"),
    comment="one row a signing in; everything that came of it ends with it",
)

codes = sa.Table(
    "oauth_codes",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("digest", BYTEA, primary_key=True),
    sa.Column("session_id", sa.Uuid, nullable=False),
    sa.Column("redirect_uri", sa.Text, nullable=False),
    sa.Column("code_challenge", sa.Text, nullable=False),
    sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
    sa.Column("use_time", sa.DateTime(timezone=True)),
    sa.ForeignKeyConstraint(["tenant_id", "session_id"], [sessions.c.tenant_id, sessions.c.id], ondelete="CASCADE"),
    sa.Index("oauth_codes_session", "tenant_id", "session_id"),
)

refresh_tokens = sa.Table(
    "oauth_refresh_tokens",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("digest", BYTEA, primary_key=True),
    sa.Column("session_id", sa.Uuid, nullable=False),
    sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
    sa.Column("use_time", sa.DateTime(timezone=True)),
    sa.ForeignKeyConstraint(["tenant_id", "session_id"], [sessions.c.tenant_id, sessions.c.id], ondelete="CASCADE"),
    sa.Index("oauth_refresh_tokens_session", "tenant_id", "session_id"),
)

attempts = sa.Table(
    "oauth_attempts",
    metadata,
    sa.Column("key", BYTEA, primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("end_time", sa.DateTime(timezone=True), nullable=False),
    sa.Index("oauth_attempts_end_time", "end_time"),
    comment="failed attempts to sign in; of no tenant, because they are counted before one is known",
)
