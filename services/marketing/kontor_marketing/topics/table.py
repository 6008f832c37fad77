"""The resource and the table of topics."""

import sqlalchemy as sa

from kontor.marketing.v1 import topic_pb2
from kontor_kit.resource import Resource
from kontor_kit.scopes import TenantScope
from kontor_kit.tables import KEY_TEXT, index, resource_table, search_index
from kontor_marketing.tables import metadata

topics = resource_table(
    "topics",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("key", KEY_TEXT, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("legal_basis", sa.SmallInteger, nullable=False),
    sa.Column("double_opt_in", sa.Boolean, nullable=False),
    sa.Column("search_text", sa.Text, nullable=False),
    index("topics", "key", unique=True),
    index("topics", "display_name_key"),
    index("topics", "legal_basis"),
    index("topics", "double_opt_in"),
    index("topics", "create_time"),
    index("topics", "update_time"),
    search_index("topics"),
    owned=False,
)

TOPIC = Resource(topic_pb2.Topic, topics, scope=TenantScope(), conflicts={"topics_key": "another topic has this key"})
