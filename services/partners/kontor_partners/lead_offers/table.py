"""The resource and the tables of lead offers: how partners were chosen, and what is known of leads and products."""

from typing import Final

import sqlalchemy as sa

from kontor.partners.v1 import lead_offer_pb2
from kontor_kit.resource import Resource
from kontor_kit.tables import index, json_column, resource_table
from kontor_partners.lead_offers.rules import OFFERED, RECALLED
from kontor_partners.partners.table import PartnersOwn
from kontor_partners.tables import metadata

lead_offers = resource_table(
    "lead_offers",
    metadata,
    sa.Column("lead", sa.Uuid, nullable=False),
    sa.Column("partner", sa.Uuid, nullable=False),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
    sa.Column("message", sa.Text),
    sa.Column("company", sa.Text),
    sa.Column("region_code", sa.Text),
    sa.Column("industry", sa.Text),
    json_column("interests"),
    json_column("person"),
    sa.Column("next_step", sa.Text),
    sa.Column("expected_amount_amount", sa.Numeric),
    sa.Column("expected_amount_currency", sa.String(3)),
    sa.Column("reason", sa.Text),
    sa.Column("answer_time", sa.DateTime(timezone=True)),
    sa.Column("answerer", sa.Uuid),
    sa.ForeignKeyConstraint(
        ["tenant_id", "partner"], ["partners.tenant_id", "partners.id"], name="lead_offers_partner_fkey"
    ),
    index("lead_offers", "lead"),
    index("lead_offers", "partner"),
    index("lead_offers", "state"),
    index("lead_offers", "expire_time"),
    index("lead_offers", "create_time"),
    index("lead_offers", "update_time"),
    sa.Index("lead_offers_held", "tenant_id", "lead", unique=True, postgresql_where=sa.text("state IN (1, 2)")),
    # What partners have to answer, for their capacity; and what they were offered of late, for their share.
    sa.Index("lead_offers_open", "tenant_id", "partner", "id", postgresql_where=sa.text("state = 1")),
    sa.Index("lead_offers_counted", "tenant_id", "partner", "create_time", postgresql_where=sa.text("state <> 5")),
    # Those that end: what the job looks for.
    sa.Index("lead_offers_due", "tenant_id", "expire_time", "id", postgresql_where=sa.text("state = 1")),
    owned=False,
)

# As the indexes have them: constants, so that they can be used.
IS_OPEN: Final = lead_offers.c.state == sa.literal_column(str(OFFERED))
IS_COUNTED: Final = lead_offers.c.state != sa.literal_column(str(RECALLED))

# How partners were chosen, kept apart from what they read: of each offer that somebody did not name the partner of.
lead_offer_choices = sa.Table(
    "lead_offer_choices",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("lead_offer", sa.Uuid, primary_key=True),
    json_column("choice"),
    json_column("next_choice"),
    sa.ForeignKeyConstraint(
        ["tenant_id", "lead_offer"],
        ["lead_offers.tenant_id", "lead_offers.id"],
        name="lead_offer_choices_lead_offer_fkey",
    ),
)

# The leads that wait for somebody to take them, as sales told them: an offer can go on to the next when nobody asks.
offered_leads = sa.Table(
    "offered_leads",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("lead", sa.Uuid, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    # A serialised offer with what partners may see of it; NULL where the lead is for nobody any more.
    sa.Column("content", sa.LargeBinary),
)

known_products = sa.Table(
    "known_products",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("product", sa.Uuid, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("family", sa.Text),
)

LEAD_OFFER = Resource(
    lead_offer_pb2.LeadOffer,
    lead_offers,
    scope=PartnersOwn(),
    events=("created", "updated", "accepted", "declined", "expired", "recalled"),
    conflicts={"lead_offers_held": "a partner has the lead, or an offer of it"},
)
