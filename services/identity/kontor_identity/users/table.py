"""The tables of users, and of what they sign in with."""

from __future__ import annotations

import sqlalchemy as sa

from kontor_identity.tables import metadata
from kontor_kit.tables import KEY_TEXT, array_column, index, resource_table, search_index

users = resource_table(
    "users",
    metadata,
    sa.Column("email", KEY_TEXT, nullable=False),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("given_name", sa.Text),
    sa.Column("family_name", sa.Text),
    sa.Column("language_code", sa.Text),
    sa.Column("time_zone", sa.Text),
    array_column("roles", sa.Uuid),
    array_column("teams", sa.Uuid),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("search_text", sa.Text, nullable=False),
    index("users", "email", unique=True),
    index("users", "display_name_key"),
    index("users", "create_time"),
    index("users", "update_time"),
    index("users", "state"),
    search_index("users"),
    owned=False,
)

passwords = sa.Table(
    "passwords",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("user_id", sa.Uuid, primary_key=True),
    sa.Column("digest", sa.Text, nullable=False, comment="argon2"),
    sa.Column("update_time", sa.DateTime(timezone=True), nullable=False),
)
"""Apart from the users, so that nothing that reads or tells of a user comes near a password."""
