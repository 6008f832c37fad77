"""The resource and the table of programmes."""

import sqlalchemy as sa

from kontor.partners.v1 import programme_pb2
from kontor_kit.resource import Resource
from kontor_kit.scopes import TenantScope
from kontor_kit.tables import KEY_TEXT, index, json_column, resource_table
from kontor_partners.tables import metadata

programmes = resource_table(
    "programmes",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("description", sa.Text),
    json_column("levels"),
    sa.Column("currency_code", sa.String(3), nullable=False),
    sa.Column("grace_days", sa.Integer, nullable=False),
    sa.Column("max_protection_days", sa.Integer, nullable=False),
    index("programmes", "display_name_key"),
    index("programmes", "create_time"),
    index("programmes", "update_time"),
    owned=False,
)

PROGRAMME = Resource(programme_pb2.Programme, programmes, scope=TenantScope())
