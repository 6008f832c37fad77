"""The resource and the table of score rules, and those that count."""

from typing import Any

import sqlalchemy as sa

from kontor.sales.v1 import lead_score_rule_pb2
from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.resource import Resource
from kontor_kit.scopes import TenantScope
from kontor_kit.tables import KEY_TEXT, index, json_column, resource_table
from kontor_sales.tables import metadata

STATE_ACTIVE = 1
"""As LeadScoreRule.State."""

lead_score_rules = resource_table(
    "lead_score_rules",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("event_type", KEY_TEXT),
    json_column("conditions"),
    sa.Column("points", sa.Integer, nullable=False),
    sa.Column("repeatable", sa.Boolean, nullable=False),
    sa.Column("group", KEY_TEXT),
    sa.Column("half_life_days", sa.Integer, nullable=False),
    sa.Column("start_time", sa.DateTime(timezone=True)),
    sa.Column("end_time", sa.DateTime(timezone=True)),
    index("lead_score_rules", "display_name_key"),
    index("lead_score_rules", "state"),
    index("lead_score_rules", "event_type"),
    index("lead_score_rules", "group"),
    index("lead_score_rules", "create_time"),
    index("lead_score_rules", "update_time"),
    owned=False,
)

LEAD_SCORE_RULE = Resource(lead_score_rule_pb2.LeadScoreRule, lead_score_rules, scope=TenantScope())

_ACTIVE = Statement(
    sa.select(*LEAD_SCORE_RULE.codec.columns())
    .where(
        lead_score_rules.c.tenant_id == TENANT,
        lead_score_rules.c.state == STATE_ACTIVE,
        lead_score_rules.c.delete_time.is_(None),
    )
    .order_by(lead_score_rules.c.id)
)


def active_rules(tx: Transaction) -> list[Any]:
    """Return the rules of the tenant that give points, as messages."""
    load = LEAD_SCORE_RULE.codec.loader()
    return [load(row) for row in tx.run(_ACTIVE, {"tenant": tx.tenant_id})]
