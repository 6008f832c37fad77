"""The ledger's tables."""

import sqlalchemy as sa

from kontor_kit.changes.schema import change_log_tables
from kontor_kit.inbox.schema import inbox_tables
from kontor_kit.operations.schema import operations_tables
from kontor_kit.tables import kit_tables

metadata = sa.MetaData()
kit_tables(metadata)
change_log_tables(metadata)
inbox_tables(metadata)
operations_tables(metadata)
effects = sa.Table(
    "effects",
    metadata,
    sa.Column("tenant_id", sa.Uuid, nullable=False),
    sa.Column("sequence", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("event_id", sa.Uuid, nullable=False),
    sa.Column("resource_name", sa.Text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
)
