"""The table of the signing keys. They belong to the platform, not to a tenant."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from kontor_identity.tables import metadata

signing_keys = sa.Table(
    "signing_keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("public_key", JSONB, nullable=False),
    sa.Column("private_key", sa.Text, nullable=False, comment="JWE"),
    sa.Column("activate_time", sa.DateTime(timezone=True), nullable=False),
    sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
)
