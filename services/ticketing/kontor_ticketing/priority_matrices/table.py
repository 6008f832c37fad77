"""The resource and the table of priority matrices."""

import sqlalchemy as sa

from kontor.ticketing.v1 import priority_matrix_pb2
from kontor_kit.resource import Resource
from kontor_kit.scopes import TenantScope
from kontor_kit.tables import KEY_TEXT, index, json_column, resource_table
from kontor_ticketing.tables import metadata

priority_matrices = resource_table(
    "priority_matrices",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    json_column("cells"),
    sa.Column("standard", sa.Boolean, nullable=False),
    index("priority_matrices", "display_name_key"),
    index("priority_matrices", "standard"),
    index("priority_matrices", "create_time"),
    index("priority_matrices", "update_time"),
    sa.Index(
        "priority_matrices_marked",
        "tenant_id",
        unique=True,
        postgresql_where=sa.text("standard AND delete_time IS NULL"),
    ),
    owned=False,
)

PRIORITY_MATRIX = Resource(priority_matrix_pb2.PriorityMatrix, priority_matrices, scope=TenantScope())
