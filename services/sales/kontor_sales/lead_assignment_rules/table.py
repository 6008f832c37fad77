"""The resource and the tables of assignment rules: themselves, and how far each has come with its members."""

import sqlalchemy as sa

from kontor.sales.v1 import lead_assignment_rule_pb2
from kontor_kit.resource import Resource
from kontor_kit.scopes import TenantScope
from kontor_kit.tables import KEY_TEXT, index, json_column, resource_table
from kontor_sales.tables import metadata

STATE_ACTIVE = 1
"""As LeadAssignmentRule.State."""

lead_assignment_rules = resource_table(
    "lead_assignment_rules",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    json_column("conditions"),
    sa.Column("method", sa.SmallInteger, nullable=False),
    json_column("members"),
    sa.Column("team", sa.Uuid),
    sa.Column("time_zone", sa.Text),
    index("lead_assignment_rules", "display_name_key"),
    index("lead_assignment_rules", "state"),
    index("lead_assignment_rules", "priority"),
    index("lead_assignment_rules", "create_time"),
    index("lead_assignment_rules", "update_time"),
    owned=False,
)

assignment_turns = sa.Table(
    "lead_assignment_turns",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("rule", sa.Uuid, primary_key=True),
    sa.Column("member", sa.Uuid, primary_key=True),
    sa.Column("turn", sa.BigInteger, nullable=False),
    sa.Column("credit", sa.BigInteger, nullable=False),
    sa.Column("day", sa.Date, nullable=False),
    sa.Column("assigned", sa.Integer, nullable=False),
    sa.ForeignKeyConstraint(
        ["tenant_id", "rule"],
        ["lead_assignment_rules.tenant_id", "lead_assignment_rules.id"],
        name="lead_assignment_turns_rule_fkey",
    ),
)

LEAD_ASSIGNMENT_RULE = Resource(lead_assignment_rule_pb2.LeadAssignmentRule, lead_assignment_rules, scope=TenantScope())
