"""Create contacts, affiliations, custom field definitions, address statuses and saved views."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from kontor_kit import migrations

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEY = sa.Text(collation="C")
TIMES = ("create_time", "update_time")


def upgrade() -> None:
    _contacts()
    _affiliations()
    migrations.create_resource(
        "custom_field_definitions",
        sa.Column("resource_type", KEY, nullable=False),
        sa.Column("key", KEY, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("type", sa.SmallInteger, nullable=False),
        sa.Column("options", JSONB),
        sa.Column("required", sa.Boolean, nullable=False),
        sa.Column("filterable", sa.Boolean, nullable=False),
        sa.Column("min_value", sa.Double),
        sa.Column("max_value", sa.Double),
        sa.Column("max_length", sa.Integer, nullable=False),
        owned=False,
    )
    migrations.create_unique("custom_field_definitions", "resource_type", "key")
    migrations.create_indexes("custom_field_definitions", "key", *TIMES)
    migrations.create_resource(
        "address_statuses",
        sa.Column("kind", sa.SmallInteger, nullable=False),
        sa.Column("address", KEY, nullable=False),
        sa.Column("invalid", sa.Boolean, nullable=False),
        sa.Column("opted_out", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("source", sa.Text),
        owned=False,
    )
    migrations.create_unique("address_statuses", "address")
    migrations.create_indexes("address_statuses", "kind", "invalid", "opted_out", *TIMES)
    migrations.create_resource(
        "saved_views",
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
        sa.Column("resource_type", KEY, nullable=False),
        sa.Column("filter", sa.Text),
        sa.Column("order_by", sa.Text),
        sa.Column("columns", ARRAY(sa.Text)),
        sa.Column("visibility", sa.SmallInteger, nullable=False),
    )
    migrations.create_indexes("saved_views", "display_name_key", "resource_type", "visibility", *TIMES)


def _contacts() -> None:
    migrations.create_resource(
        "contacts",
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
        sa.Column("salutation", sa.Text),
        sa.Column("honorific", sa.Text),
        sa.Column("given_name", KEY),
        sa.Column("middle_name", sa.Text),
        sa.Column("family_name", sa.Text),
        sa.Column("family_name_key", KEY, nullable=False),
        sa.Column("name_suffix", sa.Text),
        sa.Column("title", sa.Text),
        sa.Column("emails", JSONB),
        sa.Column("phones", JSONB),
        sa.Column("addresses", JSONB),
        sa.Column("language_code", KEY),
        sa.Column("time_zone", sa.Text),
        sa.Column("lifecycle_stage", sa.SmallInteger, nullable=False),
        sa.Column("collaborators", ARRAY(sa.Uuid)),
        sa.Column("tags", ARRAY(sa.Text)),
        sa.Column("external_ids", JSONB),
        sa.Column("custom_fields", JSONB),
        sa.Column("search_text", sa.Text, nullable=False),
    )
    migrations.create_indexes(
        "contacts", "display_name_key", "given_name", "family_name_key", "language_code", "lifecycle_stage", *TIMES
    )
    migrations.create_search("contacts")


def _affiliations() -> None:
    migrations.create_resource(
        "affiliations",
        sa.Column("contact", sa.Uuid, nullable=False),
        sa.Column("account", sa.Uuid, nullable=False),
        sa.Column("role", KEY),
        sa.Column("title", sa.Text),
        sa.Column("primary", sa.Boolean, nullable=False),
        sa.Column("valid_from", sa.Date),
        sa.Column("valid_to", sa.Date),
        sa.Column("custom_fields", JSONB),
        sa.ForeignKeyConstraint(
            ["tenant_id", "contact"], ["contacts.tenant_id", "contacts.id"], name="affiliations_contact_fkey"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account"], ["accounts.tenant_id", "accounts.id"], name="affiliations_account_fkey"
        ),
        owned=False,
    )
    migrations.create_indexes("affiliations", "contact", "account", "role", "primary", "valid_to", *TIMES)


def downgrade() -> None:
    op.execute("DROP FUNCTION search_contacts")
    for table in ("saved_views", "address_statuses", "custom_field_definitions", "affiliations", "contacts"):
        op.drop_table(table)
