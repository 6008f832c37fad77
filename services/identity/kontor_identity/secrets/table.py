"""The table of the secrets of service accounts."""

from __future__ import annotations

import sqlalchemy as sa

from kontor_identity.tables import metadata

secrets = sa.Table(
    "secrets",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("service_account", sa.Uuid, nullable=False),
    sa.Column("prefix", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False, comment="argon2"),
    sa.Column("expire_time", sa.DateTime(timezone=True)),
    sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
    sa.Column("last_use_time", sa.DateTime(timezone=True)),
    sa.Index("secrets_service_account", "tenant_id", "service_account", "id"),
)
