"""The resources and tables of segments and of who is in them, and what campaigns ask of them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from kontor.marketing.v1 import segment_membership_pb2, segment_pb2
from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.resource import STANDARD_EVENTS, Resource
from kontor_kit.scopes import ParentScope, TenantScope
from kontor_kit.tables import KEY_TEXT, array_column, index, resource_table, search_index
from kontor_marketing.parties.table import parties
from kontor_marketing.tables import metadata

segments = resource_table(
    "segments",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("kind", sa.SmallInteger, nullable=False),
    sa.Column("filter", sa.Text),
    array_column("include_segments", sa.Uuid),
    array_column("exclude_segments", sa.Uuid),
    sa.Column("evaluation", KEY_TEXT),
    sa.Column("evaluate_time", sa.DateTime(timezone=True)),
    sa.Column("search_text", sa.Text, nullable=False),
    index("segments", "display_name_key"),
    index("segments", "kind"),
    index("segments", "create_time"),
    index("segments", "update_time"),
    sa.Index("segments_evaluation", "tenant_id", "evaluation", postgresql_where=sa.text("evaluation IS NOT NULL")),
    search_index("segments"),
    owned=False,
)

SEGMENT = Resource(
    segment_pb2.Segment,
    segments,
    scope=TenantScope(),
    events=(*STANDARD_EVENTS, "evaluated", "members_added", "members_removed"),
)

segment_picks = sa.Table(
    "segment_picks",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("segment", sa.Uuid, primary_key=True),
    sa.Column("party", sa.Uuid, primary_key=True),
    sa.Column("pick_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Index("segment_picks_party", "tenant_id", "party"),
)
"""Who is on the lists; the members among them are those who are live."""

segment_memberships = resource_table(
    "segment_memberships",
    metadata,
    sa.Column("segment", sa.Uuid, nullable=False),
    sa.Column("party", sa.Uuid, nullable=False),
    sa.Column("enter_time", sa.DateTime(timezone=True), nullable=False),
    sa.Column("leave_time", sa.DateTime(timezone=True)),
    sa.Index(
        "segment_memberships_now",
        "tenant_id",
        "segment",
        "party",
        unique=True,
        postgresql_where=sa.text("leave_time IS NULL"),
    ),
    index("segment_memberships", "segment"),
    index("segment_memberships", "segment", "party"),
    index("segment_memberships", "party"),
    index("segment_memberships", "enter_time"),
    index("segment_memberships", "leave_time"),
    owned=False,
)

SEGMENT_MEMBERSHIP = Resource(
    segment_membership_pb2.SegmentMembership, segment_memberships, scope=ParentScope("party", parties), events=()
)
"""Nothing is told of memberships, which are their own history."""

_now = segment_memberships.c
_MEMBERS: Final = Statement(
    sa.select(_now.party)
    .where(
        _now.tenant_id == TENANT,
        _now.segment == sa.bindparam("segment", type_=sa.Uuid),
        _now.leave_time.is_(None),
        _now.party > sa.bindparam("after", type_=sa.Uuid),
    )
    .order_by(_now.party)
    .limit(sa.bindparam("size", type_=sa.Integer))
)
_WITHIN: Final = Statement(
    sa.select(_now.segment, _now.party).where(
        _now.tenant_id == TENANT,
        _now.segment == sa.any_(sa.bindparam("segments", type_=ARRAY(sa.Uuid))),
        _now.party == sa.any_(sa.bindparam("parties", type_=ARRAY(sa.Uuid))),
        _now.leave_time.is_(None),
    )
)
_PENDING: Final = Statement(
    sa.select(segments.c.id).where(
        segments.c.tenant_id == TENANT,
        segments.c.id == sa.any_(sa.bindparam("segments", type_=ARRAY(sa.Uuid))),
        segments.c.evaluation.is_not(None),
    )
)
FIRST: Final = uuid.UUID(int=0)
"""Stands before every id."""
REFERRING: Final = "segments/rules"
"""What those take turns by who refer to segments, and who delete one."""


def members(tx: Transaction, segment: uuid.UUID, after: uuid.UUID = FIRST, size: int = 500) -> list[uuid.UUID]:
    """Return up to `size` parties that are in a segment now, in the order of their ids, those behind `after`."""
    rows = tx.run(_MEMBERS, {"tenant": tx.tenant_id, "segment": segment, "after": after, "size": size})
    return [row[0] for row in rows]


def within(tx: Transaction, among: Sequence[uuid.UUID], ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, set[uuid.UUID]]:
    """Return which of the parties `ids` are in one of the segments `among` now, each with the segments it is in."""
    found: dict[uuid.UUID, set[uuid.UUID]] = {}
    for segment, party in tx.run(_WITHIN, {"tenant": tx.tenant_id, "segments": list(among), "parties": list(ids)}):
        found.setdefault(party, set()).add(segment)
    return found


def pending(tx: Transaction, among: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Return which of the segments have members that are not yet what their rule says, as it has just changed."""
    return {row[0] for row in tx.run(_PENDING, {"tenant": tx.tenant_id, "segments": list(among)})}
