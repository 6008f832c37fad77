"""The resource and the tables of parties, and of what they are made of beside the contact itself."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from kontor.marketing.v1 import party_pb2
from kontor_kit.resource import Resource
from kontor_kit.tables import KEY_TEXT, array_column, index, json_column, resource_table, search_index
from kontor_marketing.tables import metadata

parties = resource_table(
    "parties",
    metadata,
    sa.Column("contact", sa.Uuid, nullable=False),
    sa.Column("contact_version", sa.BigInteger, nullable=False),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("salutation", sa.Text),
    sa.Column("honorific", sa.Text),
    sa.Column("given_name", sa.Text),
    sa.Column("family_name", sa.Text),
    json_column("emails"),
    sa.Column("language_code", KEY_TEXT),
    sa.Column("country", KEY_TEXT),
    sa.Column("lifecycle_stage", sa.SmallInteger, nullable=False),
    sa.Column("account", sa.Uuid),
    sa.Column("account_display_name", sa.Text),
    sa.Column("industry", KEY_TEXT),
    sa.Column("account_country", KEY_TEXT),
    sa.Column("tier", sa.SmallInteger, nullable=False),
    array_column("roles", sa.SmallInteger),
    array_column("tags", sa.Text),
    sa.Column("open_complaints", sa.Integer, nullable=False),
    sa.Column("search_text", sa.Text, nullable=False),
    *(
        index("parties", column)
        for column in (
            "display_name_key",
            "language_code",
            "country",
            "lifecycle_stage",
            "account",
            "industry",
            "account_country",
            "tier",
            "open_complaints",
            "create_time",
            "update_time",
        )
    ),
    search_index("parties"),
)

PARTY = Resource(party_pb2.Party, parties, events=())
"""Nothing is told of parties: what happens to contacts is told by contacts."""

party_addresses = sa.Table(
    "party_addresses",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("address", KEY_TEXT, primary_key=True),
    sa.Column("party", sa.Uuid, primary_key=True),
    sa.Index("party_addresses_party", "tenant_id", "party"),
)
"""The addresses of live parties, as they are compared."""

known_accounts = sa.Table(
    "known_accounts",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("account", sa.Uuid, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("live", sa.Boolean, nullable=False),
    sa.Column("display_name", sa.Text),
    sa.Column("industry", sa.Text),
    sa.Column("tier", sa.SmallInteger, nullable=False),
    sa.Column("roles", ARRAY(sa.SmallInteger)),
    sa.Column("country", sa.Text),
)

known_affiliations = sa.Table(
    "known_affiliations",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("affiliation", sa.Uuid, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("live", sa.Boolean, nullable=False),
    sa.Column("contact", sa.Uuid, nullable=False),
    sa.Column("account", sa.Uuid, nullable=False),
    sa.Column("primary", sa.Boolean, nullable=False),
    sa.Column("valid_to", sa.Date),
    sa.Index("known_affiliations_contact", "tenant_id", "contact", "affiliation"),
    sa.Index("known_affiliations_account", "tenant_id", "account", "contact"),
)

known_statuses = sa.Table(
    "known_statuses",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("status", sa.Uuid, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("live", sa.Boolean, nullable=False),
    sa.Column("address", KEY_TEXT, nullable=False),
    sa.Column("invalid", sa.Boolean, nullable=False),
    sa.Column("opted_out", sa.Boolean, nullable=False),
    sa.Index("known_statuses_address", "tenant_id", "address", postgresql_where=sa.text("live")),
)

known_complaints = sa.Table(
    "known_complaints",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("ticket", sa.Uuid, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("live", sa.Boolean, nullable=False),
    sa.Column("open", sa.Boolean, nullable=False),
    sa.Column("contact", sa.Uuid),
    sa.Column("account", sa.Uuid),
    sa.Index("known_complaints_contact", "tenant_id", "contact", postgresql_where=sa.text("open")),
    sa.Index("known_complaints_account", "tenant_id", "account", postgresql_where=sa.text("open")),
)
