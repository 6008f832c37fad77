"""The resource and the table of the tenants' own fields, which the kit reads too."""

import sqlalchemy as sa

from kontor.contacts.v1 import custom_field_definition_pb2
from kontor_contacts.tables import metadata
from kontor_kit.resource import Resource
from kontor_kit.scopes import TenantScope
from kontor_kit.tables import KEY_TEXT, index, json_column, resource_table

custom_field_definitions = resource_table(
    "custom_field_definitions",
    metadata,
    sa.Column("resource_type", KEY_TEXT, nullable=False),
    sa.Column("key", KEY_TEXT, nullable=False),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("type", sa.SmallInteger, nullable=False),
    json_column("options"),
    sa.Column("required", sa.Boolean, nullable=False),
    sa.Column("filterable", sa.Boolean, nullable=False),
    sa.Column("min_value", sa.Double),
    sa.Column("max_value", sa.Double),
    sa.Column("max_length", sa.Integer, nullable=False),
    index("custom_field_definitions", "resource_type", "key", unique=True),
    index("custom_field_definitions", "key"),
    index("custom_field_definitions", "create_time"),
    index("custom_field_definitions", "update_time"),
    owned=False,
)

CUSTOM_FIELD_DEFINITION = Resource(
    custom_field_definition_pb2.CustomFieldDefinition,
    custom_field_definitions,
    scope=TenantScope(),
    conflicts={"custom_field_definitions_resource_type_key": "there is a field with this key already"},
)
