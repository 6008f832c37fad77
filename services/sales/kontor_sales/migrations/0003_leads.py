"""Create leads, and how they are captured, scored and assigned."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from kontor_kit import migrations

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KEY = sa.Text(collation="C")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _create_rules()
    _create_leads()
    _create_helpers()
    # The key of a form says whose it is, before there is a tenant to be held to. The function works as the tables'
    # owner, and gives nothing for a digest that is not there.
    op.execute(_FIND_FORM)
    op.execute("REVOKE EXECUTE ON FUNCTION find_lead_form(bytea) FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION find_lead_form(bytea) TO {migrations.app_role()}")


def _create_rules() -> None:
    migrations.create_resource(
        "territories",
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
        sa.Column("parent", sa.Uuid),
        sa.Column("areas", JSONB),
        sa.Column("industries", ARRAY(sa.Text)),
        sa.Column("min_employee_count", sa.Integer, nullable=False),
        sa.Column("max_employee_count", sa.Integer, nullable=False),
        sa.Column("members", ARRAY(sa.Uuid)),
        sa.Column("description", sa.Text),
        sa.ForeignKeyConstraint(
            ["tenant_id", "parent"], ["territories.tenant_id", "territories.id"], name="territories_parent_fkey"
        ),
        owned=False,
    )
    migrations.create_indexes("territories", "create_time", "update_time", "display_name_key", "parent")
    migrations.create_resource(
        "absences",
        sa.Column("user", sa.Uuid, nullable=False),
        sa.Column("start_time", TIME, nullable=False),
        sa.Column("end_time", TIME),
        sa.Column("reason", sa.Text),
        owned=False,
    )
    migrations.create_indexes("absences", "create_time", "update_time", "user", "start_time", "end_time")
    migrations.create_resource(
        "lead_forms",
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("inputs", JSONB),
        sa.Column("allowed_origins", ARRAY(sa.Text)),
        sa.Column("honeypot", sa.Text),
        sa.Column("daily_limit", sa.Integer, nullable=False),
        sa.Column("consent_text", sa.Text),
        sa.Column("source", sa.Text),
        sa.Column("campaign", sa.Text),
        sa.Column("tags", ARRAY(sa.Text)),
        sa.Column("lead_owner", sa.Uuid),
        sa.Column("lead_team", sa.Uuid),
        sa.Column("language_code", sa.Text),
        owned=False,
    )
    migrations.create_indexes("lead_forms", "create_time", "update_time", "display_name_key", "state")
    migrations.create_resource(
        "lead_score_rules",
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("event_type", KEY),
        sa.Column("conditions", JSONB),
        sa.Column("points", sa.Integer, nullable=False),
        sa.Column("repeatable", sa.Boolean, nullable=False),
        sa.Column("group", KEY),
        sa.Column("half_life_days", sa.Integer, nullable=False),
        sa.Column("start_time", TIME),
        sa.Column("end_time", TIME),
        owned=False,
    )
    migrations.create_indexes(
        "lead_score_rules", "create_time", "update_time", "display_name_key", "state", "event_type", "group"
    )
    migrations.create_resource(
        "lead_assignment_rules",
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("conditions", JSONB),
        sa.Column("method", sa.SmallInteger, nullable=False),
        sa.Column("members", JSONB),
        sa.Column("team", sa.Uuid),
        sa.Column("time_zone", sa.Text),
        owned=False,
    )
    migrations.create_indexes(
        "lead_assignment_rules", "create_time", "update_time", "display_name_key", "state", "priority"
    )


def _create_leads() -> None:
    migrations.create_resource(
        "leads",
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
        sa.Column("salutation", sa.Text),
        sa.Column("given_name", sa.Text),
        sa.Column("family_name", KEY),
        sa.Column("job_title", sa.Text),
        sa.Column("email", KEY),
        sa.Column("phone", KEY),
        sa.Column("company", KEY),
        sa.Column("website", sa.Text),
        sa.Column("industry", KEY),
        sa.Column("employee_count", sa.Integer, nullable=False),
        sa.Column("street", sa.Text),
        sa.Column("postal_code", KEY),
        sa.Column("locality", sa.Text),
        sa.Column("region_code", KEY),
        sa.Column("language_code", KEY),
        sa.Column("description", sa.Text),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("unqualified_reason", sa.Text),
        sa.Column("source", KEY),
        sa.Column("campaign", KEY),
        sa.Column("touches", JSONB),
        sa.Column("consent", JSONB),
        sa.Column("email_opted_out", sa.Boolean, nullable=False),
        sa.Column("phone_opted_out", sa.Boolean, nullable=False),
        sa.Column("interests", ARRAY(sa.Uuid)),
        sa.Column("score", sa.Integer, nullable=False),
        sa.Column("group_scores", JSONB),
        sa.Column("score_time", TIME),
        sa.Column("contact", sa.Uuid),
        sa.Column("account", sa.Uuid),
        sa.Column("opportunity", sa.Uuid),
        sa.Column("lead_form", sa.Uuid),
        sa.Column("assignment", JSONB),
        sa.Column("territories", ARRAY(sa.Uuid)),
        sa.Column("conversion", sa.Text),
        sa.Column("convert_time", TIME),
        sa.Column("tags", ARRAY(sa.Text)),
        sa.Column("external_ids", JSONB),
        sa.Column("custom_fields", JSONB),
        sa.Column("search_text", sa.Text, nullable=False),
    )
    op.create_index("leads_owner_state", "leads", ["tenant_id", "owner", "state"])
    migrations.create_search("leads")
    migrations.create_indexes(
        "leads",
        "create_time",
        "update_time",
        "display_name_key",
        "family_name",
        "email",
        "phone",
        "company",
        "industry",
        "employee_count",
        "postal_code",
        "region_code",
        "language_code",
        "state",
        "source",
        "campaign",
        "email_opted_out",
        "phone_opted_out",
        "score",
        "contact",
        "account",
        "opportunity",
        "lead_form",
    )


def _create_helpers() -> None:
    op.create_table(
        "lead_events",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("lead", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("event_type", KEY, nullable=False),
        sa.Column("event_time", TIME, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id", "lead"], ["leads.tenant_id", "leads.id"], name="lead_events_lead_fkey"),
    )
    op.create_index("lead_events_event_time", "lead_events", ["tenant_id", "lead", "event_time"])
    migrations.secure("lead_events")
    op.create_table(
        "lead_score_refreshes",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("lead", sa.Uuid, primary_key=True),
        sa.Column("due_time", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "lead"], ["leads.tenant_id", "leads.id"], name="lead_score_refreshes_lead_fkey"
        ),
    )
    op.create_index("lead_score_refreshes_due_time", "lead_score_refreshes", ["due_time"])
    migrations.secure("lead_score_refreshes", system="SELECT, UPDATE")
    op.create_table(
        "known_contacts",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("contact", sa.Uuid, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    migrations.secure("known_contacts")
    op.create_table(
        "known_emails",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("email", KEY, primary_key=True),
        sa.Column("contact", sa.Uuid, primary_key=True),
    )
    op.create_index("known_emails_contact", "known_emails", ["tenant_id", "contact"])
    migrations.secure("known_emails")
    op.create_table(
        "lead_form_keys",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("lead_form", sa.Uuid, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("expire_time", TIME),
        sa.ForeignKeyConstraint(
            ["tenant_id", "lead_form"], ["lead_forms.tenant_id", "lead_forms.id"], name="lead_form_keys_lead_form_fkey"
        ),
    )
    op.create_index("lead_form_keys_lead_form", "lead_form_keys", ["tenant_id", "lead_form", "id"])
    op.create_index("lead_form_keys_digest", "lead_form_keys", ["digest"])
    migrations.secure("lead_form_keys")
    op.create_table(
        "lead_form_days",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("lead_form", sa.Uuid, primary_key=True),
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("captured", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "lead_form"], ["lead_forms.tenant_id", "lead_forms.id"], name="lead_form_days_lead_form_fkey"
        ),
    )
    migrations.secure("lead_form_days")
    op.create_table(
        "lead_assignment_turns",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("rule", sa.Uuid, primary_key=True),
        sa.Column("member", sa.Uuid, primary_key=True),
        sa.Column("turn", sa.BigInteger, nullable=False),
        sa.Column("credit", sa.BigInteger, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("assigned", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "rule"],
            ["lead_assignment_rules.tenant_id", "lead_assignment_rules.id"],
            name="lead_assignment_turns_rule_fkey",
        ),
    )
    migrations.secure("lead_assignment_turns")


def downgrade() -> None:
    op.execute("DROP FUNCTION find_lead_form")
    op.execute("DROP FUNCTION search_leads")
    for table in (
        "lead_assignment_turns",
        "lead_form_days",
        "lead_form_keys",
        "known_emails",
        "known_contacts",
        "lead_score_refreshes",
        "lead_events",
        "leads",
        "lead_assignment_rules",
        "lead_score_rules",
        "lead_forms",
        "absences",
        "territories",
    ):
        op.drop_table(table)


_FIND_FORM = """
CREATE FUNCTION find_lead_form(key_digest bytea) RETURNS TABLE (tenant_id uuid, lead_form uuid)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp
AS $body$
    SELECT k.tenant_id, k.lead_form FROM lead_form_keys k
    WHERE k.digest = key_digest AND (k.expire_time IS NULL OR k.expire_time > now())
$body$
"""
