"""The resource and the table of close reasons."""

import sqlalchemy as sa

from kontor.sales.v1 import close_reason_pb2
from kontor_kit.resource import Resource
from kontor_kit.scopes import TenantScope
from kontor_kit.tables import KEY_TEXT, index, resource_table
from kontor_sales.tables import metadata

close_reasons = resource_table(
    "close_reasons",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("outcome", sa.SmallInteger, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("note_required", sa.Boolean, nullable=False),
    index("close_reasons", "outcome", "display_name_key", unique=True),
    index("close_reasons", "outcome"),
    index("close_reasons", "display_name_key"),
    index("close_reasons", "create_time"),
    index("close_reasons", "update_time"),
    owned=False,
)

CLOSE_REASON = Resource(
    close_reason_pb2.CloseReason,
    close_reasons,
    scope=TenantScope(),
    conflicts={"close_reasons_outcome_display_name_key": "another reason for this outcome is called so"},
)
