"""The resource and the tables of deal registrations: what they claim, and what was decided of them."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from kontor.partners.v1 import deal_registration_pb2
from kontor_kit.resource import STANDARD_EVENTS, Resource
from kontor_kit.tables import KEY_TEXT, array_column, index, json_column, resource_table
from kontor_partners.partners.table import PartnersOwn
from kontor_partners.tables import metadata

_MOMENT = sa.DateTime(timezone=True)

deal_registrations = resource_table(
    "deal_registrations",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("partner", sa.Uuid, nullable=False),
    json_column("end_customer"),
    sa.Column("account", sa.Uuid),
    array_column("products", sa.Uuid),
    array_column("region_codes", sa.Text),
    sa.Column("amount_amount", sa.Numeric),
    sa.Column("amount_currency", sa.String(3)),
    sa.Column("expected_close_date", sa.Date),
    sa.Column("description", sa.Text),
    sa.Column("evidence", sa.Text),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("state_reason", sa.Text),
    sa.Column("submit_time", _MOMENT),
    sa.Column("first_submit_time", _MOMENT),
    sa.Column("verdict", sa.SmallInteger, nullable=False),
    sa.Column("verdict_time", _MOMENT),
    json_column("rule_outcomes"),
    sa.Column("approve_time", _MOMENT),
    sa.Column("protection_end_time", _MOMENT),
    sa.Column("max_protection_end_time", _MOMENT),
    json_column("extensions"),
    sa.Column("opportunity", sa.Uuid),
    sa.Column("approval", sa.Text),
    sa.Column("registrant", KEY_TEXT),
    sa.ForeignKeyConstraint(
        ["tenant_id", "partner"], ["partners.tenant_id", "partners.id"], name="deal_registrations_partner_fkey"
    ),
    index("deal_registrations", "display_name_key"),
    index("deal_registrations", "partner"),
    index("deal_registrations", "account"),
    index("deal_registrations", "expected_close_date"),
    index("deal_registrations", "state"),
    index("deal_registrations", "submit_time"),
    index("deal_registrations", "verdict"),
    index("deal_registrations", "protection_end_time"),
    index("deal_registrations", "opportunity"),
    index("deal_registrations", "registrant"),
    index("deal_registrations", "create_time"),
    index("deal_registrations", "update_time"),
    # An opportunity is protected for one partner at a time.
    sa.Index(
        "deal_registrations_protected",
        "tenant_id",
        "opportunity",
        unique=True,
        postgresql_where=sa.text("state IN (4, 9) AND opportunity IS NOT NULL AND delete_time IS NULL"),
    ),
    # Those whose protection ends: what the job looks for.
    sa.Index(
        "deal_registrations_approved",
        "tenant_id",
        "protection_end_time",
        "id",
        postgresql_where=sa.text("state = 4 AND delete_time IS NULL"),
    ),
    owned=False,
)

deal_claims = sa.Table(
    "deal_claims",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    # A key by which the end customer is known, of a registration that claims a deal now.
    sa.Column("key", KEY_TEXT, primary_key=True),
    sa.Column("registration", sa.Uuid, primary_key=True),
    sa.Index("deal_claims_registration", "tenant_id", "registration"),
    sa.ForeignKeyConstraint(
        ["tenant_id", "registration"],
        ["deal_registrations.tenant_id", "deal_registrations.id"],
        name="deal_claims_registration_fkey",
    ),
)

deal_arbitrations = sa.Table(
    "deal_arbitrations",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("registration", sa.Uuid, nullable=False),
    sa.Column("arbitration", JSONB, nullable=False),
    sa.Index("deal_arbitrations_registration", "tenant_id", "registration", "id"),
    sa.ForeignKeyConstraint(
        ["tenant_id", "registration"],
        ["deal_registrations.tenant_id", "deal_registrations.id"],
        name="deal_arbitrations_registration_fkey",
    ),
)

DEAL_REGISTRATION = Resource(
    deal_registration_pb2.DealRegistration,
    deal_registrations,
    scope=PartnersOwn(),
    events=(
        *STANDARD_EVENTS,
        "submitted",
        "review_started",
        "arbitrated",
        "approval_started",
        "approval_failed",
        "approved",
        "returned",
        "rejected",
        "extended",
        "expired",
        "cancelled",
    ),
    conflicts={"deal_registrations_protected": "the opportunity is protected for another registration"},
)
