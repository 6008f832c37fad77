"""The table of teams."""

from __future__ import annotations

import sqlalchemy as sa

from kontor_identity.tables import metadata
from kontor_kit.tables import KEY_TEXT, index, resource_table

teams = resource_table(
    "teams",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("description", sa.Text),
    index("teams", "display_name_key", unique=True),
    index("teams", "create_time"),
    index("teams", "update_time"),
    owned=False,
)
