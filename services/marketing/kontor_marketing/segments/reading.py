"""Who is in a segment, who was, and whom a rule would have: each as far as the caller may see the parties."""

from __future__ import annotations

import datetime as dt
import functools
import uuid
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from kontor.marketing.v1 import segment_service_pb2
from kontor_kit import filters, pages
from kontor_kit.calls import Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.pages import PageTokens
from kontor_kit.principals import Scope
from kontor_kit.store import COUNTED, Reach, Store
from kontor_marketing.parties.table import PARTY, mark_addresses, parties
from kontor_marketing.segments.table import FIRST, SEGMENT_MEMBERSHIP, segment_memberships, segments

SAMPLES: Final = 10
_AT: Final = sa.bindparam("at", type_=sa.DateTime(timezone=True))
_EVALUATED_BY: Final = Statement(
    sa.select(segments.c.id).where(
        segments.c.tenant_id == TENANT, segments.c.evaluation == sa.bindparam("evaluation", type_=sa.Text)
    )
)

_MEMBERSHIPS: Final = Statement(
    sa.select(segment_memberships.c.id)
    .where(
        segment_memberships.c.tenant_id == TENANT,
        segment_memberships.c.segment == sa.bindparam("segment", type_=sa.Uuid),
        segment_memberships.c.party == sa.any_(sa.bindparam("parties", type_=ARRAY(sa.Uuid))),
        segment_memberships.c.leave_time.is_(None),
    )
    .order_by(segment_memberships.c.party)
)


class Reading:
    """Reads members; `store` has the parties."""

    def __init__(self, page_tokens: PageTokens, store: Store) -> None:
        self._page_tokens = page_tokens
        self._store = store
        self._held = Store(SEGMENT_MEMBERSHIP)

    @staticmethod
    def evaluated_by(tx: Transaction, operation: str) -> list[uuid.UUID]:
        """Return the segments that an operation is to bring up to date."""
        return [row[0] for row in tx.run(_EVALUATED_BY, {"tenant": tx.tenant_id, "evaluation": operation})]

    def memberships(self, tx: Transaction, segment: uuid.UUID, ids: Sequence[uuid.UUID], reach: Reach) -> list[Any]:
        """Return the memberships of parties in a segment that have not ended."""
        given = {"tenant": tx.tenant_id, "segment": segment, "parties": list(ids)}
        found = [row[0] for row in tx.run(_MEMBERSHIPS, given)]
        held = self._held.get(tx, reach, found)
        return [held[id] for id in found]

    def members(self, tx: Transaction, call: Call, request: Any, segment: uuid.UUID, reach: Reach) -> Any:
        """Return the page of the members of a segment that `request` asks for."""
        size = pages.page_size(request.page_size)
        at = request.at_time.ToDatetime(dt.UTC) if request.HasField("at_time") else None
        arguments = (call.method.full_name, str(tx.tenant_id), request.name, at.isoformat() if at else "")
        after = self._page_tokens.open(request.page_token, arguments)[0] if request.page_token else FIRST
        given = {**reach.parameters(), "segment": segment, "at": at, "after": after, "size": size + 1}
        listed, counted = _members(reach.scope, at is not None)
        rows = tx.run(listed, given)
        found = self._store.get(tx, reach, [row[0] for row in rows[:size]])
        mark_addresses(tx, list(found.values()))
        response = segment_service_pb2.ListSegmentMembersResponse()
        for party, enter, leave in rows[:size]:
            response.members.add(party=found.get(party), enter_time=enter, leave_time=leave)
        if len(rows) > size:
            response.next_page_token = self._page_tokens.seal(arguments, [rows[size - 1][0]])
        if request.include_total_size:
            response.total_size = tx.run(counted, given)[0][0]
        return response

    def preview(
        self,
        tx: Transaction,
        reach: Reach,
        node: filters.Node | None,
        include: Sequence[uuid.UUID],
        exclude: Sequence[uuid.UUID],
    ) -> Any:
        """Return how many parties a rule describes, and some of them."""
        given = {**reach.parameters(), "include": list(include), "exclude": list(exclude)}
        described = _parties(reach.scope).where(parties.c.delete_time.is_(None))
        if node is not None:
            compiled = PARTY.filter_fields.compile(node, {})
            described = described.where(compiled.clause)
            given |= compiled.parameters(filters.values(node))
        if include:
            described = described.where(parties.c.id.in_(_inside_one("include")))
        if exclude:
            described = described.where(parties.c.id.not_in(_inside_one("exclude")))
        size = int(tx.run(_counted(described), given)[0][0])
        if size > COUNTED:
            size = max(size, tx.estimate(Statement(described), given))
        rows = tx.run(Statement(described.order_by(parties.c.id).limit(SAMPLES)), given)
        found = self._store.get(tx, reach, [row[0] for row in rows], ("name", "display_name"))
        return segment_service_pb2.PreviewSegmentResponse(size=size, parties=[found[row[0]] for row in rows])


def _parties(scope: Scope) -> sa.Select[Any]:
    """Begin a statement over the parties that the caller may see."""
    statement = sa.select(parties.c.id).where(parties.c.tenant_id == TENANT)
    condition = PARTY.scope.clause(scope, parties)
    return statement if condition is None else statement.where(condition)


def _inside_one(name: str) -> sa.Select[Any]:
    now = segment_memberships.c
    return sa.select(now.party).where(
        now.tenant_id == TENANT,
        now.segment == sa.any_(sa.bindparam(name, type_=ARRAY(sa.Uuid))),
        now.leave_time.is_(None),
    )


@functools.cache
def _members(scope: Scope, past: bool) -> tuple[Statement, Statement]:
    """Return what lists the members of a segment, now or at a time, and what counts them."""
    its = segment_memberships.c
    same = sa.and_(its.tenant_id == parties.c.tenant_id, its.party == parties.c.id)
    inside = _parties(scope).join(segment_memberships, same)
    inside = inside.where(its.tenant_id == TENANT, its.segment == sa.bindparam("segment", type_=sa.Uuid))
    if past:
        inside = inside.where(its.enter_time <= _AT, sa.or_(its.leave_time.is_(None), its.leave_time > _AT))
    else:
        inside = inside.where(its.leave_time.is_(None))
    listed = inside.with_only_columns(its.party, its.enter_time, its.leave_time)
    listed = listed.where(its.party > sa.bindparam("after", type_=sa.Uuid)).order_by(its.party)
    return Statement(listed.limit(sa.bindparam("size", type_=sa.Integer))), _counted(inside)


def _counted(statement: sa.Select[Any]) -> Statement:
    return Statement(sa.select(sa.func.count()).select_from(statement.limit(COUNTED + 1).subquery()))
