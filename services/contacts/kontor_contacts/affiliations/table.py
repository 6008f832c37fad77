"""The resource and the table of affiliations."""

import sqlalchemy as sa

from kontor.contacts.v1 import affiliation_pb2
from kontor_contacts.contacts.table import contacts
from kontor_contacts.tables import metadata
from kontor_kit.resource import Resource
from kontor_kit.scopes import ParentScope
from kontor_kit.tables import KEY_TEXT, index, json_column, resource_table

affiliations = resource_table(
    "affiliations",
    metadata,
    sa.Column("contact", sa.Uuid, nullable=False),
    sa.Column("account", sa.Uuid, nullable=False),
    sa.Column("role", KEY_TEXT),
    sa.Column("title", sa.Text),
    sa.Column("primary", sa.Boolean, nullable=False),
    sa.Column("valid_from", sa.Date),
    sa.Column("valid_to", sa.Date),
    json_column("custom_fields"),
    sa.ForeignKeyConstraint(
        ["tenant_id", "contact"], ["contacts.tenant_id", "contacts.id"], name="affiliations_contact_fkey"
    ),
    sa.ForeignKeyConstraint(
        ["tenant_id", "account"], ["accounts.tenant_id", "accounts.id"], name="affiliations_account_fkey"
    ),
    index("affiliations", "contact"),
    index("affiliations", "account"),
    index("affiliations", "role"),
    index("affiliations", "primary"),
    index("affiliations", "valid_to"),
    index("affiliations", "create_time"),
    index("affiliations", "update_time"),
    owned=False,
)

AFFILIATION = Resource(affiliation_pb2.Affiliation, affiliations, scope=ParentScope("contact", contacts))
