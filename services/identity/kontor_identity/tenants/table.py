"""The table of tenants. A tenant belongs to itself: its `tenant_id` is its own id."""

from __future__ import annotations

import sqlalchemy as sa

from kontor_identity.tables import metadata
from kontor_kit.tables import KEY_TEXT, resource_table


def _columns() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("slug", KEY_TEXT, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY_TEXT, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("suspend_reason", sa.Text),
        sa.Column("language_code", sa.Text),
        sa.Column("time_zone", sa.Text),
    ]


tenants = resource_table(
    "tenants",
    metadata,
    *_columns(),
    sa.CheckConstraint("tenant_id = id", name="tenants_own_tenant"),
    # The one index that does not begin with the tenant: a slug is unique on the whole platform.
    sa.Index("tenants_slug", "slug", unique=True, postgresql_where=sa.text("delete_time IS NULL")),
    owned=False,
)

all_tenants = resource_table("all_tenants", sa.MetaData(), *_columns(), owned=False)
"""A view for operators: all tenants, as if they belonged to the operators' tenant. It is empty for everybody else."""
