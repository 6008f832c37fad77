"""The table of saved views."""

import sqlalchemy as sa

from kontor_contacts.tables import metadata
from kontor_kit.tables import KEY_TEXT, array_column, index, resource_table

saved_views = resource_table(
    "saved_views",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("resource_type", KEY_TEXT, nullable=False),
    sa.Column("filter", sa.Text),
    sa.Column("order_by", sa.Text),
    array_column("columns", sa.Text),
    sa.Column("visibility", sa.SmallInteger, nullable=False),
    index("saved_views", "display_name_key"),
    index("saved_views", "resource_type"),
    index("saved_views", "visibility"),
    index("saved_views", "create_time"),
    index("saved_views", "update_time"),
)
