"""The metadata that the tables of all slices are declared in."""

import sqlalchemy as sa

from kontor_kit import definition_copies
from kontor_kit.changes.schema import change_log_tables
from kontor_kit.inbox.schema import inbox_tables
from kontor_kit.operations.schema import operations_tables
from kontor_kit.tables import kit_tables

metadata = sa.MetaData()
kit_tables(metadata)
change_log_tables(metadata)
inbox_tables(metadata)
operations_tables(metadata)
definition_copies.table(metadata)
