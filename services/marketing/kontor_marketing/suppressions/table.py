"""The resource and the table of suppressions."""

import sqlalchemy as sa

from kontor.marketing.v1 import suppression_pb2
from kontor_kit.resource import Resource
from kontor_kit.scopes import ParentScope
from kontor_kit.tables import KEY_TEXT, index, resource_table
from kontor_marketing.parties.table import parties
from kontor_marketing.tables import metadata

suppressions = resource_table(
    "suppressions",
    metadata,
    sa.Column("party", sa.Uuid),
    sa.Column("address", KEY_TEXT),
    sa.Column("channel", sa.SmallInteger, nullable=False),
    sa.Column("reason", sa.SmallInteger, nullable=False),
    sa.Column("note", sa.Text),
    sa.Column("start_time", sa.DateTime(timezone=True), nullable=False),
    sa.Column("end_time", sa.DateTime(timezone=True)),
    sa.Column("lift_reason", sa.Text),
    sa.ForeignKeyConstraint(
        ["tenant_id", "party"], ["parties.tenant_id", "parties.id"], name="suppressions_party_fkey"
    ),
    # One of a kind at a time; it can be lifted, and come again.
    sa.Index(
        "suppressions_open",
        "tenant_id",
        "party",
        "address",
        "channel",
        "reason",
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("end_time IS NULL"),
    ),
    *(
        index("suppressions", column)
        for column in ("party", "address", "channel", "reason", "end_time", "create_time", "update_time")
    ),
    owned=False,
)

SUPPRESSION = Resource(
    suppression_pb2.Suppression,
    suppressions,
    scope=ParentScope("party", parties),
    events=("created", "updated", "lifted"),
    conflicts={"suppressions_open": "there is such a suppression already, and it has no end"},
)
