"""The tables of roles."""

from __future__ import annotations

import sqlalchemy as sa

from kontor_identity.tables import metadata
from kontor_kit.tables import KEY_TEXT, index, json_column, resource_table

roles = resource_table(
    "roles",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("description", sa.Text),
    json_column("grants"),
    index("roles", "display_name_key", unique=True),
    index("roles", "create_time"),
    index("roles", "update_time"),
    owned=False,
)

standard = sa.Table(
    "standard_roles",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("role", sa.Uuid),
)
"""Which standard roles a tenant was given, and which of its roles they are; no role where somebody changed it since."""
