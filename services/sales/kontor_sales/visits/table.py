"""The resources and tables of care: cadences, what is known of accounts, when they were last heard of, visit plans."""

from __future__ import annotations

import uuid
from typing import Final

import sqlalchemy as sa

from kontor.sales.v1 import care_cadence_pb2, visit_plan_pb2
from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.resource import Resource
from kontor_kit.scopes import TenantScope
from kontor_kit.tables import KEY_TEXT, index, json_column, resource_table
from kontor_sales.activities.rules import HELD, TASK
from kontor_sales.activities.table import activities
from kontor_sales.tables import metadata
from kontor_sales.visits.rules import ANY

CHANNELS: Final = (ANY, *range(TASK + 1, 9))
"""What has a clock: any interaction, and each type of activity but tasks."""
_LIVE: Final = sa.text("live")

care_cadences = resource_table(
    "care_cadences",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("tier", sa.SmallInteger, nullable=False),
    sa.Column("role", sa.SmallInteger, nullable=False),
    json_column("channels"),
    index("care_cadences", "display_name_key"),
    index("care_cadences", "tier"),
    index("care_cadences", "role"),
    index("care_cadences", "create_time"),
    index("care_cadences", "update_time"),
    owned=False,
)

account_facts = sa.Table(
    "account_facts",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("account", sa.Uuid, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("tier", sa.SmallInteger, nullable=False),
    sa.Column("role", sa.SmallInteger, nullable=False),
    sa.Column("industry", KEY_TEXT),
    sa.Column("employee_count", sa.Integer, nullable=False),
    sa.Column("region_code", KEY_TEXT),
    sa.Column("postal_code", KEY_TEXT),
    sa.Column("owner", sa.Uuid),
    sa.Column("team", sa.Uuid),
    sa.Column("known_since", sa.DateTime(timezone=True), nullable=False),
    sa.Column("live", sa.Boolean, nullable=False),
    sa.Index("account_facts_owner", "tenant_id", "owner", "account", postgresql_where=_LIVE),
    sa.Index("account_facts_industry", "tenant_id", "industry", "account", postgresql_where=_LIVE),
    sa.Index("account_facts_place", "tenant_id", "region_code", "postal_code", "account", postgresql_where=_LIVE),
)

_KIND: Final = ("channel", "tier", "role", "last_time", "account")

care_clocks = sa.Table(
    "care_clocks",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("account", sa.Uuid, primary_key=True),
    sa.Column("channel", sa.SmallInteger, primary_key=True),
    sa.Column("tier", sa.SmallInteger, nullable=False),
    sa.Column("role", sa.SmallInteger, nullable=False),
    sa.Column("owner", sa.Uuid),
    sa.Column("team", sa.Uuid),
    sa.Column("last_time", sa.DateTime(timezone=True), nullable=False),
    sa.Index("care_clocks_last_time", "tenant_id", *_KIND),
    sa.Index("care_clocks_owner", "tenant_id", "owner", *_KIND),
    sa.Index("care_clocks_team", "tenant_id", "team", *_KIND),
)

visit_plans = resource_table(
    "visit_plans",
    metadata,
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("start_date", sa.Date, nullable=False),
    sa.Column("end_date", sa.Date, nullable=False),
    sa.Column("visits_per_day", sa.Integer, nullable=False),
    sa.Column("time_zone", sa.Text),
    json_column("visits"),
    sa.Column("left_out", sa.Integer, nullable=False),
    index("visit_plans", "state"),
    index("visit_plans", "start_date"),
    index("visit_plans", "create_time"),
    index("visit_plans", "update_time"),
)

CARE_CADENCE = Resource(care_cadence_pb2.CareCadence, care_cadences, scope=TenantScope())
VISIT_PLAN = Resource(visit_plan_pb2.VisitPlan, visit_plans, events=("created", "deleted", "confirmed"))

_ACCOUNT: Final = sa.bindparam("account", type_=sa.Uuid)


def _recount() -> Statement:
    """Each clock shows the last activity of its channel; where there is none, since when the account is known."""
    held = (
        activities.c.tenant_id == TENANT,
        activities.c.account == _ACCOUNT,
        activities.c.state == sa.literal_column(str(HELD)),
        activities.c.delete_time.is_(None),
    )
    # One look into the index for each type.
    types = sa.func.unnest(sa.literal_column(f"ARRAY[{', '.join(map(str, CHANNELS[1:]))}]"))
    kinds = types.table_valued(sa.column("type", sa.SmallInteger)).render_derived(name="kinds")
    latest = (
        sa.select(activities.c.held_time)
        .where(*held, activities.c.type == kinds.c.type)
        .order_by(activities.c.held_time.desc())
        .limit(1)
        .lateral("latest")
    )
    fits = sa.or_(care_clocks.c.channel == ANY, care_clocks.c.channel == kinds.c.type)
    last = (
        sa.select(sa.func.max(latest.c.held_time))
        .select_from(kinds.join(latest, sa.true()))
        .where(fits)
        .scalar_subquery()
    )
    return Statement(
        care_clocks.update()
        .where(
            care_clocks.c.tenant_id == TENANT,
            care_clocks.c.account == _ACCOUNT,
            account_facts.c.tenant_id == TENANT,
            account_facts.c.account == _ACCOUNT,
        )
        .values(last_time=sa.func.coalesce(last, account_facts.c.known_since))
    )


_RECOUNT: Final = _recount()
_SERIALISE: Final = Statement(
    sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(sa.bindparam("name", type_=sa.Text), 0)))
)


def take_turns(tx: Transaction, account: uuid.UUID) -> None:
    """Queue a lock for who changes the clocks of an account: before it locks them, so that nobody waits in a circle."""
    tx.defer(_SERIALISE, {"name": f"{tx.tenant_id}/care/{account}"})


def recount(tx: Transaction, account: uuid.UUID) -> None:
    """Queue the clocks of an account to be set by the activities that were held."""
    # Whoever begins to know the account at this moment would not see what is held here.
    take_turns(tx, account)
    tx.defer(_RECOUNT, {"tenant": tx.tenant_id, "account": account})
