"""The resource and the tables of service level policies and their versions."""

import uuid
from typing import Any

import sqlalchemy as sa

from kontor.ticketing.v1 import sla_policy_pb2, working_calendar_pb2
from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.mapping import plain
from kontor_kit.resource import Resource
from kontor_kit.scopes import TenantScope
from kontor_kit.tables import KEY_TEXT, array_column, index, json_column, resource_table
from kontor_ticketing.sla_policies import rules
from kontor_ticketing.tables import metadata
from kontor_ticketing.working_calendars.rules import AROUND_THE_CLOCK
from kontor_ticketing.working_calendars.table import working_time

sla_policies = resource_table(
    "sla_policies",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("order", sa.Integer, nullable=False),
    array_column("ticket_types", sa.SmallInteger),
    array_column("priorities", sa.SmallInteger),
    array_column("queues", sa.Uuid),
    array_column("accounts", sa.Uuid),
    array_column("tags", sa.Text),
    sa.Column("standard", sa.Boolean, nullable=False),
    json_column("targets"),
    sa.Column("working_calendar", sa.Uuid),
    json_column("warning_lead"),
    sa.Column("counts_pending", sa.Boolean, nullable=False),
    sa.Column("policy_version", sa.Integer, nullable=False),
    sa.ForeignKeyConstraint(
        ["tenant_id", "working_calendar"],
        ["working_calendars.tenant_id", "working_calendars.id"],
        name="sla_policies_working_calendar_fkey",
    ),
    index("sla_policies", "display_name_key", unique=True),
    index("sla_policies", "order"),
    index("sla_policies", "standard"),
    index("sla_policies", "working_calendar"),
    index("sla_policies", "create_time"),
    index("sla_policies", "update_time"),
    sa.Index(
        "sla_policies_last", "tenant_id", unique=True, postgresql_where=sa.text("standard AND delete_time IS NULL")
    ),
    owned=False,
)

# What tickets were promised by, for ever: the policy and its calendar as they were.
sla_policy_versions = sa.Table(
    "sla_policy_versions",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("policy", sa.Uuid, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    json_column("terms"),
    json_column("calendar"),
)

SLA_POLICY = Resource(
    sla_policy_pb2.SlaPolicy,
    sla_policies,
    scope=TenantScope(),
    conflicts={
        "sla_policies_display_name_key": "another policy is called so",
        "sla_policies_last": "another policy has no conditions",
    },
)

_LIVE = Statement(
    sa.select(*SLA_POLICY.codec.columns())
    .where(sla_policies.c.tenant_id == TENANT, sla_policies.c.delete_time.is_(None))
    .order_by(sla_policies.c.order, sla_policies.c.id)
)
_KEEP = Statement(
    sla_policy_versions.insert().values(
        {column.name: sa.bindparam(column.name, type_=column.type) for column in sla_policy_versions.c}
    )
)
_VERSION = Statement(
    sa.select(sla_policy_versions.c.terms, sla_policy_versions.c.calendar).where(
        sla_policy_versions.c.tenant_id == TENANT,
        sla_policy_versions.c.policy == sa.bindparam("policy", type_=sa.Uuid),
        sla_policy_versions.c.number == sa.bindparam("number", type_=sa.Integer),
    )
)


def live_policies(tx: Transaction) -> list[Any]:
    """Return the policies of the tenant, as messages."""
    load = SLA_POLICY.codec.loader()
    return [load(row) for row in tx.run(_LIVE, {"tenant": tx.tenant_id})]


def keep_version(tx: Transaction, id: uuid.UUID, policy: Any, calendar: Any | None) -> None:
    """Keep a policy as it is now, with its calendar, for the tickets that are promised by it."""
    terms = sla_policy_pb2.SlaPolicy()
    terms.CopyFrom(policy)
    for field in ("name", "etag", "create_time", "update_time", "delete_time"):
        terms.ClearField(field)
    values = {"terms": plain(terms), "calendar": None if calendar is None else plain(calendar)}
    tx.defer(_KEEP, {"tenant_id": tx.tenant_id, "policy": id, "number": policy.policy_version, **values})


def load_version(tx: Transaction, id: uuid.UUID, number: int) -> rules.Version:
    """Return a version of a policy; there must be one."""
    ((terms, calendar),) = tx.run(_VERSION, {"tenant": tx.tenant_id, "policy": id, "number": number})
    policy = sla_policy_pb2.SlaPolicy(**terms)
    kept = working_calendar_pb2.WorkingCalendar(**calendar) if calendar else None
    return rules.Version(
        policy=f"{SLA_POLICY.collection}/{id}",
        number=number,
        display_name=policy.display_name,
        calendar=kept.display_name if kept else "",
        working=working_time(kept) if kept else AROUND_THE_CLOCK,
        targets={target.priority: rules.targets_of(target) for target in policy.targets},
        warning_lead=policy.warning_lead.ToTimedelta() if policy.HasField("warning_lead") else None,
        counts_pending=policy.counts_pending,
    )
