"""Create topics, parties and what they are made of, consent, who is not to be contacted, and segments."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from kontor_kit import migrations

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEY = sa.Text(collation="C")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables."""
    _create_topics()
    _create_parties()
    _create_known()
    _create_subscriptions()
    _create_suppressions()
    _create_segments()


def _create_topics() -> None:
    migrations.create_resource(
        "topics",
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
        sa.Column("key", KEY, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("legal_basis", sa.SmallInteger, nullable=False),
        sa.Column("double_opt_in", sa.Boolean, nullable=False),
        sa.Column("search_text", sa.Text, nullable=False),
        owned=False,
    )
    migrations.create_unique("topics", "key")
    migrations.create_indexes(
        "topics", "display_name_key", "legal_basis", "double_opt_in", "create_time", "update_time"
    )
    migrations.create_search("topics", owned=False)


def _create_parties() -> None:
    migrations.create_resource(
        "parties",
        sa.Column("contact", sa.Uuid, nullable=False),
        sa.Column("contact_version", sa.BigInteger, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
        sa.Column("salutation", sa.Text),
        sa.Column("honorific", sa.Text),
        sa.Column("given_name", sa.Text),
        sa.Column("family_name", sa.Text),
        sa.Column("emails", JSONB),
        sa.Column("language_code", KEY),
        sa.Column("country", KEY),
        sa.Column("lifecycle_stage", sa.SmallInteger, nullable=False),
        sa.Column("account", sa.Uuid),
        sa.Column("account_display_name", sa.Text),
        sa.Column("industry", KEY),
        sa.Column("account_country", KEY),
        sa.Column("tier", sa.SmallInteger, nullable=False),
        sa.Column("roles", ARRAY(sa.SmallInteger)),
        sa.Column("tags", ARRAY(sa.Text)),
        sa.Column("open_complaints", sa.Integer, nullable=False),
        sa.Column("search_text", sa.Text, nullable=False),
    )
    migrations.create_indexes("parties", "display_name_key", "language_code", "country", "lifecycle_stage", "account")
    migrations.create_indexes("parties", "industry", "account_country", "tier", "open_complaints")
    migrations.create_indexes("parties", "create_time", "update_time")
    migrations.create_search("parties")
    op.create_table(
        "party_addresses",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("address", KEY, primary_key=True),
        sa.Column("party", sa.Uuid, primary_key=True),
    )
    op.create_index("party_addresses_party", "party_addresses", ["tenant_id", "party"])
    migrations.secure("party_addresses")


def _create_known() -> None:
    _create_record(
        "known_accounts",
        "account",
        sa.Column("display_name", sa.Text),
        sa.Column("industry", sa.Text),
        sa.Column("tier", sa.SmallInteger, nullable=False),
        sa.Column("roles", ARRAY(sa.SmallInteger)),
        sa.Column("country", sa.Text),
    )
    _create_record(
        "known_affiliations",
        "affiliation",
        sa.Column("contact", sa.Uuid, nullable=False),
        sa.Column("account", sa.Uuid, nullable=False),
        sa.Column("primary", sa.Boolean, nullable=False),
        sa.Column("valid_to", sa.Date),
    )
    op.create_index("known_affiliations_contact", "known_affiliations", ["tenant_id", "contact", "affiliation"])
    op.create_index("known_affiliations_account", "known_affiliations", ["tenant_id", "account", "contact"])
    ending = sa.text("live AND valid_to IS NOT NULL")
    op.create_index(
        "known_affiliations_ending", "known_affiliations", ["tenant_id", "affiliation"], postgresql_where=ending
    )
    migrations.let_system_look("known_affiliations")
    _create_record(
        "known_statuses",
        "status",
        sa.Column("address", KEY, nullable=False),
        sa.Column("invalid", sa.Boolean, nullable=False),
        sa.Column("opted_out", sa.Boolean, nullable=False),
    )
    live = sa.text("live")
    op.create_index("known_statuses_address", "known_statuses", ["tenant_id", "address"], postgresql_where=live)
    op.create_table(
        "known_tickets",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("ticket", sa.Uuid, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("complains", sa.Boolean, nullable=False),
        sa.Column("contact", sa.Uuid),
        sa.Column("account", sa.Uuid),
    )
    migrations.secure("known_tickets")
    for column in ("contact", "account"):
        name, complains = f"known_tickets_{column}", sa.text("complains")
        op.create_index(name, "known_tickets", ["tenant_id", column], postgresql_where=complains)


def _create_record(table: str, key: str, *columns: sa.Column[object]) -> None:
    """Create a table of what is known of records of others."""
    op.create_table(
        table,
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column(key, sa.Uuid, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("live", sa.Boolean, nullable=False),
        *columns,
    )
    migrations.secure(table)


def _create_subscriptions() -> None:
    migrations.create_resource(
        "subscriptions",
        sa.Column("party", sa.Uuid, nullable=False),
        sa.Column("topic", sa.Uuid, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("legal_basis", sa.SmallInteger, nullable=False),
        sa.Column("source", KEY),
        sa.Column("evidence", JSONB),
        sa.Column("state_time", TIME, nullable=False),
        _refers("subscriptions", "party", "parties"),
        _refers("subscriptions", "topic", "topics"),
        owned=False,
    )
    migrations.create_unique("subscriptions", "party", "topic")
    op.create_index("subscriptions_topic_state", "subscriptions", ["tenant_id", "topic", "state", "id"])
    migrations.create_indexes("subscriptions", "state", "legal_basis", "source", "state_time")
    migrations.create_indexes("subscriptions", "create_time", "update_time")


def _create_suppressions() -> None:
    migrations.create_resource(
        "suppressions",
        sa.Column("party", sa.Uuid),
        sa.Column("address", KEY),
        sa.Column("channel", sa.SmallInteger, nullable=False),
        sa.Column("reason", sa.SmallInteger, nullable=False),
        sa.Column("note", sa.Text),
        sa.Column("start_time", TIME, nullable=False),
        sa.Column("end_time", TIME),
        sa.Column("lift_reason", sa.Text),
        _refers("suppressions", "party", "parties"),
        owned=False,
    )
    op.create_index(
        "suppressions_open",
        "suppressions",
        ["tenant_id", "party", "address", "channel", "reason"],
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("end_time IS NULL"),
    )
    migrations.create_indexes("suppressions", "party", "address", "channel", "reason", "end_time")
    migrations.create_indexes("suppressions", "create_time", "update_time")


def _create_segments() -> None:
    migrations.create_resource(
        "segments",
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("kind", sa.SmallInteger, nullable=False),
        sa.Column("filter", sa.Text),
        sa.Column("include_segments", ARRAY(sa.Uuid)),
        sa.Column("exclude_segments", ARRAY(sa.Uuid)),
        sa.Column("evaluation", KEY),
        sa.Column("evaluate_time", TIME),
        sa.Column("search_text", sa.Text, nullable=False),
        owned=False,
    )
    migrations.create_indexes("segments", "display_name_key", "kind", "create_time", "update_time")
    under_way = sa.text("evaluation IS NOT NULL")
    op.create_index("segments_evaluation", "segments", ["tenant_id", "evaluation"], postgresql_where=under_way)
    migrations.create_search("segments", owned=False)
    op.create_table(
        "segment_picks",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("segment", sa.Uuid, primary_key=True),
        sa.Column("party", sa.Uuid, primary_key=True),
        sa.Column("pick_time", TIME, nullable=False, server_default=sa.text("now()")),
    )
    op.create_index("segment_picks_party", "segment_picks", ["tenant_id", "party"])
    migrations.secure("segment_picks")
    migrations.create_resource(
        "segment_memberships",
        sa.Column("segment", sa.Uuid, nullable=False),
        sa.Column("party", sa.Uuid, nullable=False),
        sa.Column("enter_time", TIME, nullable=False),
        sa.Column("leave_time", TIME),
        owned=False,
    )
    op.create_index(
        "segment_memberships_now",
        "segment_memberships",
        ["tenant_id", "segment", "party"],
        unique=True,
        postgresql_where=sa.text("leave_time IS NULL"),
    )
    migrations.create_indexes("segment_memberships", "segment", "party", "enter_time", "leave_time")
    op.create_index("segment_memberships_segment_party", "segment_memberships", ["tenant_id", "segment", "party", "id"])


def _refers(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    columns = ["tenant_id", column], [f"{other}.tenant_id", f"{other}.id"]
    return sa.ForeignKeyConstraint(*columns, name=f"{table}_{column}_fkey")


def downgrade() -> None:
    """Drop them."""
    for table in ("segment_memberships", "segment_picks", "suppressions", "subscriptions"):
        op.drop_table(table)
    for table in ("known_tickets", "known_statuses", "known_affiliations", "known_accounts", "party_addresses"):
        op.drop_table(table)
    for table in ("segments", "parties", "topics"):
        op.execute(f"DROP FUNCTION search_{table}")
        op.drop_table(table)
