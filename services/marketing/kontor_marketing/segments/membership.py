"""Who is in which segment, kept up to date: for the parties that changed, or for all where a rule changed.

Whoever evaluates parties has locked them, and reads the rules afterwards. So of two who evaluate a party, because it
changed and because a rule changed, the later one sees what the other did, and leaves what is right by both.
"""

from __future__ import annotations

import datetime as dt
import functools
import uuid
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from kontor_kit import filters
from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT, CompiledFilter, FilterFields
from kontor_kit.ids import uuid7
from kontor_marketing.parties.table import PARTY, parties
from kontor_marketing.segments import rules
from kontor_marketing.segments.table import segment_memberships, segment_picks, segments

BATCH: Final = 500
_IDS: Final = sa.bindparam("ids", type_=ARRAY(sa.Uuid))
_SEGMENT: Final = sa.bindparam("segment", type_=sa.Uuid)
_TIME: Final = sa.DateTime(timezone=True)
_FIELDS: Final = FilterFields(PARTY.descriptor, parties, among=_IDS)

_RULES: Final = Statement(
    sa.select(*(segments.c[name] for name in ("id", "kind", "filter", "include_segments", "exclude_segments"))).where(
        segments.c.tenant_id == TENANT, segments.c.delete_time.is_(None)
    )
)
_LOCK: Final = Statement(
    sa.select(parties.c.id)
    .where(parties.c.tenant_id == TENANT, parties.c.id == sa.any_(_IDS))
    .order_by(parties.c.id)
    .with_for_update(key_share=True)
)
_NEXT: Final = Statement(
    sa.select(parties.c.id)
    .where(parties.c.tenant_id == TENANT, parties.c.id > sa.bindparam("after", type_=sa.Uuid))
    .order_by(parties.c.id)
    .limit(BATCH)
    .with_for_update(key_share=True)
)
_LIVE: Final = sa.select(parties.c.id).where(
    parties.c.tenant_id == TENANT, parties.c.id == sa.any_(_IDS), parties.c.delete_time.is_(None)
)
_ALIVE: Final = Statement(_LIVE)
_COUNT: Final = Statement(sa.select(sa.func.count()).select_from(parties).where(parties.c.tenant_id == TENANT))
_picked, _now = segment_picks.c, segment_memberships.c
_PICKS: Final = Statement(
    sa.select(_picked.segment, _picked.party).where(_picked.tenant_id == TENANT, _picked.party == sa.any_(_IDS))
)
_CURRENT: Final = Statement(
    sa.select(_now.segment, _now.party).where(
        _now.tenant_id == TENANT, _now.party == sa.any_(_IDS), _now.leave_time.is_(None)
    )
)
_pairs = (
    sa.func.unnest(
        sa.bindparam("new_ids", type_=ARRAY(sa.Uuid)),
        sa.bindparam("new_segments", type_=ARRAY(sa.Uuid)),
        sa.bindparam("new_parties", type_=ARRAY(sa.Uuid)),
    )
    .table_valued(sa.column("id", sa.Uuid), sa.column("segment", sa.Uuid), sa.column("party", sa.Uuid))
    .render_derived(name="given")
)
_AT: Final = sa.bindparam("at", type_=_TIME)
_ENTER: Final = Statement(
    insert(segment_memberships)
    .from_select(
        ["tenant_id", "id", "version", "create_time", "update_time", "segment", "party", "enter_time"],
        sa.select(TENANT, _pairs.c.id, sa.literal_column("1"), _AT, _AT, _pairs.c.segment, _pairs.c.party, _AT),
    )
    .on_conflict_do_nothing()
)
_LEAVE: Final = Statement(
    segment_memberships.update()
    .where(
        _now.tenant_id == TENANT,
        _now.segment == _pairs.c.segment,
        _now.party == _pairs.c.party,
        _now.leave_time.is_(None),
    )
    .values(version=_now.version + 1, update_time=_AT, leave_time=_AT)
)
_given = sa.func.unnest(_IDS).table_valued(sa.column("party", sa.Uuid)).render_derived(name="given")
_PICK: Final = Statement(
    insert(segment_picks)
    .from_select(["tenant_id", "segment", "party"], sa.select(TENANT, _SEGMENT, _given.c.party))
    .on_conflict_do_nothing()
    .returning(segment_picks.c.party)
)
_UNPICK: Final = Statement(
    segment_picks.delete()
    .where(_picked.tenant_id == TENANT, _picked.segment == _SEGMENT, _picked.party == sa.any_(_IDS))
    .returning(segment_picks.c.party)
)

parse: Final = functools.lru_cache(10_000)(filters.parse)
"""Read a filter, which many parties are held against."""


class Membership:
    """The members of all segments. Safe for threads."""

    def __init__(self) -> None:
        self._matching: dict[Any, tuple[Statement, CompiledFilter]] = {}

    @staticmethod
    def rules(tx: Transaction) -> dict[uuid.UUID, rules.Rule]:
        """Return the rules of the tenant's segments as they are now."""
        return {
            id: rules.Rule(kind, text or "", frozenset(include or ()), frozenset(exclude or ()))
            for id, kind, text, include, exclude in tx.run(_RULES, {"tenant": tx.tenant_id})
        }

    @staticmethod
    def lock(tx: Transaction, ids: Sequence[uuid.UUID]) -> None:
        """Lock parties, in the order in which everybody does."""
        tx.run(_LOCK, {"tenant": tx.tenant_id, "ids": list(ids)})

    @staticmethod
    def lock_next(tx: Transaction, after: uuid.UUID) -> list[uuid.UUID]:
        """Lock the next parties of the tenant, up to BATCH, and return their ids."""
        return [row[0] for row in tx.run(_NEXT, {"tenant": tx.tenant_id, "after": after})]

    @staticmethod
    def count(tx: Transaction) -> int:
        """Return how many parties the tenant has, deleted ones included."""
        return int(tx.run(_COUNT, {"tenant": tx.tenant_id})[0][0])

    @staticmethod
    def pick(tx: Transaction, segment: uuid.UUID, ids: Sequence[uuid.UUID], *, on: bool) -> list[uuid.UUID]:
        """Put parties on the list of a segment, or take them off; return those of which that is a change."""
        rows = tx.run(_PICK if on else _UNPICK, {"tenant": tx.tenant_id, "segment": segment, "ids": list(ids)})
        return [row[0] for row in rows]

    def evaluate(self, tx: Transaction, ids: Sequence[uuid.UUID], only: Collection[uuid.UUID] | None = None) -> None:
        """Queue that parties, which are locked, enter and leave segments as the rules say, or those of `only`."""
        known = self.rules(tx)
        targets = set(known) if only is None else set(only)
        needed = {id: known[id] for id in rules.referred(targets, known)}
        filtered = [id for id, rule in needed.items() if rule.kind == rules.RULE and rule.filter]
        given = {"tenant": tx.tenant_id, "ids": list(ids)}
        fixed = [(_ALIVE, given), (_PICKS, given), (_CURRENT, given)]
        live, picks, current, *matched = tx.run_all(fixed + [self._match(needed[id].filter, given) for id in filtered])
        own = {id: {row[0] for row in rows} for id, rows in zip(filtered, matched, strict=True)}
        for segment, party in picks:
            own.setdefault(segment, set()).add(party)
        wanted = rules.members(needed, own, {row[0] for row in live})
        before = {(segment, party) for segment, party in current if segment in targets}
        after = {(segment, party) for segment in targets for party in wanted.get(segment, ())}
        now = dt.datetime.now(dt.UTC)
        self._move(tx, _ENTER, after - before, now)
        self._move(tx, _LEAVE, before - after, now)

    @staticmethod
    def _move(tx: Transaction, statement: Statement, moved: Iterable[tuple[uuid.UUID, uuid.UUID]], now: Any) -> None:
        pairs = sorted(moved)
        if pairs:
            ids, in_segments, of_parties = (
                [uuid7() for _ in pairs],
                [pair[0] for pair in pairs],
                [pair[1] for pair in pairs],
            )
            given = {"new_ids": ids, "new_segments": in_segments, "new_parties": of_parties, "at": now}
            tx.defer(statement, {**given, "tenant": tx.tenant_id})

    def _match(self, text: str, given: dict[str, Any]) -> tuple[Statement, dict[str, Any]]:
        node = parse(text)
        assert node is not None, "a filter that is empty matches everybody"
        shape = filters.shape(node)
        found = self._matching.get(shape)
        if found is None:
            compiled = _FIELDS.compile(node, {})
            found = self._matching[shape] = Statement(_LIVE.where(compiled.clause)), compiled
        statement, compiled = found
        return statement, {**given, **compiled.parameters(filters.values(node))}
