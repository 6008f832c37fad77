"""The resource and the table of contacts."""

import sqlalchemy as sa

from kontor.contacts.v1 import contact_pb2
from kontor_contacts.tables import metadata
from kontor_kit.resource import Resource
from kontor_kit.tables import KEY_TEXT, array_column, index, json_column, resource_table, search_index

contacts = resource_table(
    "contacts",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("salutation", sa.Text),
    sa.Column("honorific", sa.Text),
    sa.Column("given_name", KEY_TEXT),
    sa.Column("middle_name", sa.Text),
    sa.Column("family_name", sa.Text),
    sa.Column("family_name_key", KEY_TEXT, nullable=False),
    sa.Column("name_suffix", sa.Text),
    sa.Column("title", sa.Text),
    json_column("emails"),
    json_column("phones"),
    json_column("addresses"),
    sa.Column("language_code", KEY_TEXT),
    sa.Column("time_zone", sa.Text),
    sa.Column("lifecycle_stage", sa.SmallInteger, nullable=False),
    array_column("collaborators", sa.Uuid),
    array_column("tags", sa.Text),
    json_column("external_ids"),
    json_column("custom_fields"),
    sa.Column("search_text", sa.Text, nullable=False),
    index("contacts", "display_name_key"),
    index("contacts", "given_name"),
    index("contacts", "family_name_key"),
    index("contacts", "language_code"),
    index("contacts", "lifecycle_stage"),
    index("contacts", "create_time"),
    index("contacts", "update_time"),
    search_index("contacts"),
)

CONTACT = Resource(contact_pb2.Contact, contacts)
