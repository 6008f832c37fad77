"""The resource and the table of accounts."""

import sqlalchemy as sa

from kontor.contacts.v1 import account_pb2
from kontor_contacts.tables import metadata
from kontor_kit.resource import Resource
from kontor_kit.tables import KEY_TEXT, array_column, index, json_column, resource_table, search_index

accounts = resource_table(
    "accounts",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("legal_name", sa.Text),
    array_column("roles", sa.SmallInteger),
    sa.Column("industry", KEY_TEXT),
    sa.Column("employee_count", sa.Integer, nullable=False),
    sa.Column("annual_revenue_amount", sa.Numeric),
    sa.Column("annual_revenue_currency", sa.String(3)),
    sa.Column("website", sa.Text),
    sa.Column("parent", sa.Uuid),
    sa.Column("tier", sa.SmallInteger, nullable=False),
    json_column("emails"),
    json_column("phones"),
    json_column("addresses"),
    array_column("collaborators", sa.Uuid),
    array_column("tags", sa.Text),
    json_column("external_ids"),
    sa.Column("language_code", KEY_TEXT),
    json_column("custom_fields"),
    sa.Column("search_text", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(
        ["tenant_id", "parent"], ["accounts.tenant_id", "accounts.id"], name="accounts_parent_fkey"
    ),
    index("accounts", "display_name_key"),
    index("accounts", "industry"),
    index("accounts", "employee_count"),
    index("accounts", "parent"),
    index("accounts", "tier"),
    index("accounts", "language_code"),
    index("accounts", "create_time"),
    index("accounts", "update_time"),
    search_index("accounts"),
)

ACCOUNT = Resource(account_pb2.Account, accounts)
