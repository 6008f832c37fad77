"""The resource and the tables of lead forms: themselves, their keys, and how many leads each captured in a day."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA

from kontor.sales.v1 import lead_form_pb2
from kontor_kit.resource import STANDARD_EVENTS, Resource
from kontor_kit.scopes import TenantScope
from kontor_kit.tables import KEY_TEXT, array_column, index, json_column, resource_table
from kontor_sales.tables import metadata

lead_forms = resource_table(
    "lead_forms",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("state", sa.SmallInteger, nullable=False),
    json_column("inputs"),
    array_column("allowed_origins", sa.Text),
    sa.Column("honeypot", sa.Text),
    sa.Column("daily_limit", sa.Integer, nullable=False),
    sa.Column("consent_text", sa.Text),
    sa.Column("source", sa.Text),
    sa.Column("campaign", sa.Text),
    array_column("tags", sa.Text),
    sa.Column("lead_owner", sa.Uuid),
    sa.Column("lead_team", sa.Uuid),
    sa.Column("language_code", sa.Text),
    index("lead_forms", "display_name_key"),
    index("lead_forms", "state"),
    index("lead_forms", "create_time"),
    index("lead_forms", "update_time"),
    owned=False,
)

lead_form_keys = sa.Table(
    "lead_form_keys",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("lead_form", sa.Uuid, nullable=False),
    sa.Column("digest", BYTEA, nullable=False),
    sa.Column("expire_time", sa.DateTime(timezone=True)),
    sa.ForeignKeyConstraint(
        ["tenant_id", "lead_form"], ["lead_forms.tenant_id", "lead_forms.id"], name="lead_form_keys_lead_form_fkey"
    ),
    sa.Index("lead_form_keys_lead_form", "tenant_id", "lead_form", "id"),
    # The key alone says which tenant it is of. It is random: no other one is the same.
    sa.Index("lead_form_keys_digest", "digest"),
)

lead_form_days = sa.Table(
    "lead_form_days",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("lead_form", sa.Uuid, primary_key=True),
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("captured", sa.Integer, nullable=False),
    sa.ForeignKeyConstraint(
        ["tenant_id", "lead_form"], ["lead_forms.tenant_id", "lead_forms.id"], name="lead_form_days_lead_form_fkey"
    ),
)

LEAD_FORM = Resource(lead_form_pb2.LeadForm, lead_forms, scope=TenantScope(), events=(*STANDARD_EVENTS, "key_rotated"))
