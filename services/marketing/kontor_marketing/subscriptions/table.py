"""The resource and the table of subscriptions."""

import sqlalchemy as sa

from kontor.marketing.v1 import subscription_pb2
from kontor_kit.resource import Resource
from kontor_kit.scopes import ParentScope
from kontor_kit.tables import KEY_TEXT, index, json_column, resource_table
from kontor_marketing.parties.table import parties
from kontor_marketing.tables import metadata

subscriptions = resource_table(
    "subscriptions",
    metadata,
    sa.Column("party", sa.Uuid, nullable=False),
    sa.Column("topic", sa.Uuid, nullable=False),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("legal_basis", sa.SmallInteger, nullable=False),
    sa.Column("source", KEY_TEXT),
    json_column("evidence"),
    sa.Column("state_time", sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(
        ["tenant_id", "party"], ["parties.tenant_id", "parties.id"], name="subscriptions_party_fkey"
    ),
    sa.ForeignKeyConstraint(["tenant_id", "topic"], ["topics.tenant_id", "topics.id"], name="subscriptions_topic_fkey"),
    index("subscriptions", "party", "topic", unique=True),
    index("subscriptions", "topic", "state"),
    *(
        index("subscriptions", column)
        for column in ("state", "legal_basis", "source", "state_time", "create_time", "update_time")
    ),
    owned=False,
)

SUBSCRIPTION = Resource(
    subscription_pb2.Subscription,
    subscriptions,
    scope=ParentScope("party", parties),
    events=("created", "updated"),
    conflicts={"subscriptions_party_topic": "the party said something to this topic before; change that subscription"},
)
