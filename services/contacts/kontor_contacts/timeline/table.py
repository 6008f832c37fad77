"""The tables of the timeline, both of them filled by what services tell, their own included.

timeline_sources  one row a record: what it is called, whose it is, and where it appears, by its newest version
timeline_entries  one row for each thing that happened to a record and each place where it appears

A place is the id of an account or contact; and each record has a place of its own, from where its entries, and those of
records that appear with it, are copied to whom it names later. Owner, team, whether it is guarded and whether it is hidden
are those of the record, or of its parent, as it is now: a read must not have to look at what its caller cannot see.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from kontor_contacts.tables import metadata
from kontor_kit.tables import KEY_TEXT

timeline_sources = sa.Table(
    "timeline_sources",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("guarded", sa.Boolean, nullable=False),
    sa.Column("holder", sa.Uuid, nullable=False),
    sa.Column("owner", sa.Uuid),
    sa.Column("team", sa.Uuid),
    sa.Column("deleted", sa.Boolean, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("subjects", ARRAY(sa.Uuid), nullable=False),
)

_shown = sa.text("NOT hidden")
timeline_entries = sa.Table(
    "timeline_entries",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("place", sa.Uuid, primary_key=True),
    sa.Column("source", sa.Uuid, primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True),
    sa.Column("id", sa.Uuid, nullable=False),
    sa.Column("event_time", sa.DateTime(timezone=True), nullable=False),
    sa.Column("type", KEY_TEXT, nullable=False),
    sa.Column("resource_type", KEY_TEXT, nullable=False),
    sa.Column("resource_name", KEY_TEXT, nullable=False),
    sa.Column("subject", KEY_TEXT, nullable=False),
    sa.Column("guarded", sa.Boolean, nullable=False),
    sa.Column("holder", sa.Uuid, nullable=False),
    sa.Column("owner", sa.Uuid),
    sa.Column("team", sa.Uuid),
    sa.Column("hidden", sa.Boolean, nullable=False),
    sa.Index("timeline_entries_holder", "tenant_id", "holder", "source"),
    sa.Index(
        "timeline_entries_time",
        "tenant_id",
        "place",
        "resource_type",
        "guarded",
        "event_time",
        "id",
        postgresql_where=_shown,
    ),
    sa.Index(
        "timeline_entries_owner",
        *("tenant_id", "place", "resource_type", "guarded", "owner", "event_time", "id"),
        postgresql_where=_shown,
    ),
    sa.Index(
        "timeline_entries_team",
        *("tenant_id", "place", "resource_type", "guarded", "team", "event_time", "id"),
        postgresql_where=_shown,
    ),
)
