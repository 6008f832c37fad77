"""The resource and the tables of pipelines and their stages."""

import sqlalchemy as sa

from kontor.sales.v1 import pipeline_pb2
from kontor_kit.resource import Resource
from kontor_kit.scopes import TenantScope
from kontor_kit.tables import KEY_TEXT, index, json_column, resource_table
from kontor_sales.tables import metadata

pipelines = resource_table(
    "pipelines",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("default", sa.Boolean, nullable=False),
    json_column("stages"),
    sa.Column("next_step_required", sa.Boolean, nullable=False),
    sa.Column("stalled_percentile", sa.Integer, nullable=False),
    sa.Column("economic_buyer_from", sa.Text),
    index("pipelines", "display_name_key"),
    index("pipelines", "default"),
    index("pipelines", "create_time"),
    index("pipelines", "update_time"),
    owned=False,
)

# The stages once more, one row each: what other tables refer to, so that none is removed under them, and join.
pipeline_stages = sa.Table(
    "pipeline_stages",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("pipeline", sa.Uuid, primary_key=True),
    sa.Column("stage", KEY_TEXT, primary_key=True),
    sa.Column("position", sa.SmallInteger, nullable=False),
    sa.Column("category", sa.SmallInteger, nullable=False),
    sa.Column("probability", sa.Numeric, nullable=False),
)

PIPELINE = Resource(pipeline_pb2.Pipeline, pipelines, scope=TenantScope())
