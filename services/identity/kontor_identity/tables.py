"""The metadata that the tables of all slices are declared in."""

import sqlalchemy as sa

from kontor_kit.tables import kit_tables

metadata = sa.MetaData()
kit_tables(metadata)
