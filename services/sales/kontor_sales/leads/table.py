"""The resource and the tables of leads: themselves, what happened to them, and when their scores are looked at again.

Beside them stands a copy of the e-mail addresses of contacts, by which a lead is known to be one of them.
"""

import sqlalchemy as sa

from kontor.sales.v1 import lead_pb2
from kontor_kit.resource import STANDARD_EVENTS, Resource
from kontor_kit.tables import KEY_TEXT, array_column, index, json_column, resource_table, search_index
from kontor_sales.tables import metadata

leads = resource_table(
    "leads",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("salutation", sa.Text),
    sa.Column("given_name", sa.Text),
    sa.Column("family_name", KEY_TEXT),
    sa.Column("job_title", sa.Text),
    sa.Column("email", KEY_TEXT),
    sa.Column("phone", KEY_TEXT),
    sa.Column("company", KEY_TEXT),
    sa.Column("website", sa.Text),
    sa.Column("industry", KEY_TEXT),
    sa.Column("employee_count", sa.Integer, nullable=False),
    sa.Column("street", sa.Text),
    sa.Column("postal_code", KEY_TEXT),
    sa.Column("locality", sa.Text),
    sa.Column("region_code", KEY_TEXT),
    sa.Column("language_code", KEY_TEXT),
    sa.Column("description", sa.Text),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("unqualified_reason", sa.Text),
    sa.Column("source", KEY_TEXT),
    sa.Column("campaign", KEY_TEXT),
    json_column("touches"),
    json_column("consent"),
    sa.Column("email_opted_out", sa.Boolean, nullable=False),
    sa.Column("phone_opted_out", sa.Boolean, nullable=False),
    array_column("interests", sa.Uuid),
    sa.Column("score", sa.Integer, nullable=False),
    json_column("group_scores"),
    sa.Column("score_time", sa.DateTime(timezone=True)),
    sa.Column("contact", sa.Uuid),
    sa.Column("account", sa.Uuid),
    sa.Column("opportunity", sa.Uuid),
    sa.Column("lead_form", sa.Uuid),
    json_column("assignment"),
    array_column("territories", sa.Uuid),
    sa.Column("conversion", sa.Text),
    sa.Column("convert_time", sa.DateTime(timezone=True)),
    array_column("tags", sa.Text),
    json_column("external_ids"),
    json_column("custom_fields"),
    sa.Column("search_text", sa.Text, nullable=False),
    index("leads", "display_name_key"),
    index("leads", "family_name"),
    index("leads", "email"),
    index("leads", "phone"),
    index("leads", "company"),
    index("leads", "industry"),
    index("leads", "employee_count"),
    index("leads", "postal_code"),
    index("leads", "region_code"),
    index("leads", "language_code"),
    index("leads", "state"),
    index("leads", "source"),
    index("leads", "campaign"),
    index("leads", "email_opted_out"),
    index("leads", "phone_opted_out"),
    index("leads", "score"),
    index("leads", "contact"),
    index("leads", "account"),
    index("leads", "opportunity"),
    index("leads", "lead_form"),
    index("leads", "create_time"),
    index("leads", "update_time"),
    # For who counts the open leads of somebody.
    sa.Index("leads_owner_state", "tenant_id", "owner", "state"),
    search_index("leads"),
)

lead_events = sa.Table(
    "lead_events",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("lead", sa.Uuid, primary_key=True),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("event_type", KEY_TEXT, nullable=False),
    sa.Column("event_time", sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(["tenant_id", "lead"], ["leads.tenant_id", "leads.id"], name="lead_events_lead_fkey"),
    sa.Index("lead_events_event_time", "tenant_id", "lead", "event_time"),
)

score_refreshes = sa.Table(
    "lead_score_refreshes",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("lead", sa.Uuid, primary_key=True),
    sa.Column("due_time", sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(
        ["tenant_id", "lead"], ["leads.tenant_id", "leads.id"], name="lead_score_refreshes_lead_fkey"
    ),
    sa.Index("lead_score_refreshes_due_time", "due_time"),
)

known_contacts = sa.Table(
    "known_contacts",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("contact", sa.Uuid, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
)

known_emails = sa.Table(
    "known_emails",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("email", KEY_TEXT, primary_key=True),
    sa.Column("contact", sa.Uuid, primary_key=True),
    sa.Index("known_emails_contact", "tenant_id", "contact"),
)

LEAD = Resource(
    lead_pb2.Lead,
    leads,
    events=(*STANDARD_EVENTS, "assigned", "scored", "linked", "conversion_started", "conversion_failed", "converted"),
)
