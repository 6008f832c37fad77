"""The table of service accounts."""

from __future__ import annotations

import sqlalchemy as sa

from kontor_identity.tables import metadata
from kontor_kit.tables import KEY_TEXT, array_column, index, resource_table

service_accounts = resource_table(
    "service_accounts",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("description", sa.Text),
    array_column("roles", sa.Uuid),
    array_column("teams", sa.Uuid),
    sa.Column("state", sa.SmallInteger, nullable=False),
    index("service_accounts", "display_name_key", unique=True),
    index("service_accounts", "create_time"),
    index("service_accounts", "update_time"),
    index("service_accounts", "state"),
    # An OAuth client is found by its id alone, before its tenant is known.
    sa.Index("service_accounts_id", "id"),
    owned=False,
)
