"""The gRPC service of timelines.

An entry is shown to who may read the record that it tells of, as it is now, by the rule of that record's service. Each
kind of record is looked for by itself, and as whose it is: a page costs what it shows, however much there is that its
reader must not see, and nothing about it can be told from a page.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from kontor.contacts.v1 import timeline_service_pb2
from kontor_contacts.accounts.table import ACCOUNT
from kontor_contacts.contacts.table import CONTACT
from kontor_contacts.timeline.sources import Source, sources
from kontor_contacts.timeline.table import timeline_entries as entries
from kontor_contacts.timeline.table import timeline_sources as records
from kontor_kit import filters, pages
from kontor_kit.calls import Behavior, Call
from kontor_kit.db import Row, Statement
from kontor_kit.errors import NotFound
from kontor_kit.filter_sql import TENANT, CompiledFilter, FilterFields
from kontor_kit.ids import parse_name
from kontor_kit.principals import Principal, Scope
from kontor_kit.records import principal_of
from kontor_kit.scopes import TEAMS, OwnerScope, parameters
from kontor_kit.shared import Shared
from kontor_kit.store import Reach, Store
from kontor_kit.tables import KEY_TEXT

_ENTRY: Final = timeline_service_pb2.TimelineEntry
_DESCRIPTOR: Final = timeline_service_pb2.DESCRIPTOR.message_types_by_name["TimelineEntry"]
_COLUMNS: Final = [
    entries.c[name] for name in ("id", "type", "resource_type", "resource_name", "version", "event_time", "subject")
]
_NAMES: Final = (*(column.name for column in _COLUMNS), "title")
_POSITION: Final = ("event_time", "id")
_AFTER: Final = ("after_time", "after_id")
_SHAPES: Final = 200
"""So many statements are kept, of filters of different shapes."""
_RULE: Final = OwnerScope()


class Timelines:
    """Serves the timelines of accounts and contacts."""

    SERVICE = timeline_service_pb2.DESCRIPTOR.services_by_name["TimelineService"]

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._filters = FilterFields(_DESCRIPTOR, entries)
        self._stores = {"ListAccountTimeline": Store(ACCOUNT), "ListContactTimeline": Store(CONTACT)}
        self._statements: dict[Any, tuple[Statement, CompiledFilter | None]] = {}

    def handler(self, method: str) -> Behavior | None:
        """Return what serves the RPC of this name; None where nothing does."""
        store = self._stores.get(method)
        return None if store is None else functools.partial(self._page, store)

    def _page(self, store: Store, request: Any, call: Call) -> Any:
        """Return a page of the timeline of the record `parent`, which the caller must see."""
        principal, parent = principal_of(call), parse_name(request.parent, store.resource.pattern, "parent")
        size, node = pages.page_size(request.page_size), filters.parse(request.filter)
        tokens = self._shared.page_tokens
        arguments = (call.method.full_name, str(principal.tenant_id), request.parent, request.filter)
        after = tokens.open(request.page_token, arguments) if request.page_token else []
        statement, compiled = self._statement(node, bool(after))
        given = {
            **parameters(principal),
            **_reached(principal, node),
            **(compiled.parameters(filters.values(node)) if compiled else {}),
            **dict(zip(_AFTER, after, strict=False)),
            "place": parent,
            "size": size + 1,
        }
        assert call.scope is not None, "the methods need a permission"
        with self._shared.database.read(principal.tenant_id) as tx:
            if store.get_one(tx, Reach(principal, call.scope), parent, ("name",)) is None:
                raise NotFound(f"there is no {request.parent}", metadata={"resource": request.parent})
            rows = tx.run(statement, given)
        response: Any = call.method.output(entries=map(_message, rows[:size]))
        if len(rows) > size:
            last = dict(zip(_NAMES, rows[size - 1], strict=False))
            response.next_page_token = tokens.seal(arguments, [last[name] for name in _POSITION])
        return response

    def _statement(self, node: filters.Node | None, is_continued: bool) -> tuple[Statement, CompiledFilter | None]:
        shape = filters.shape(node), is_continued
        if shape not in self._statements:
            compiled = self._filters.compile(node, {}) if node is not None else None
            if len(self._statements) >= _SHAPES:
                self._statements.clear()
            self._statements[shape] = _statement(compiled.clause if compiled else sa.true(), is_continued), compiled
        return self._statements[shape]


def _statement(wanted: sa.ColumnElement[bool], is_continued: bool) -> Statement:
    """Build the statement of a page: for each kind of record, and each team, the newest that the index has."""
    position = [entries.c[name] for name in _POSITION]
    if is_continued:
        last = sa.tuple_(
            *(sa.bindparam(name, type_=column.type) for name, column in zip(_AFTER, position, strict=True))
        )
        wanted = sa.and_(wanted, sa.tuple_(*position) < last)
    size = sa.bindparam("size", type_=sa.Integer)

    def newest(kinds: str, scope: Scope, *teams: sa.TableValuedAlias) -> sa.Select[Any]:
        given = sa.bindparam(kinds, type_=ARRAY(KEY_TEXT)), sa.bindparam(f"{kinds}_guarded", type_=ARRAY(sa.Boolean))
        columns = sa.column("kind", KEY_TEXT), sa.column("guarded", sa.Boolean)
        kind = sa.func.unnest(*given).table_valued(*columns, name=kinds).render_derived()
        conditions = [entries.c.team == team.c.team for team in teams]
        rule = _RULE.clause(scope, entries)
        conditions += [] if rule is None else [rule]
        found = (
            sa.select(*_COLUMNS, entries.c.source)
            .where(entries.c.tenant_id == TENANT, entries.c.place == sa.bindparam("place", type_=sa.Uuid))
            .where(entries.c.resource_type == kind.c.kind, entries.c.guarded == kind.c.guarded)
            .where(sa.not_(entries.c.hidden), *conditions, wanted)
            .order_by(*(column.desc() for column in position))
            .limit(size)
            .lateral(f"in_{kinds}")
        )
        begin: sa.FromClause = kind
        for team in teams:
            begin = begin.join(team, sa.true())
        return sa.select(*found.c).select_from(begin.join(found, sa.true()))

    team = sa.func.unnest(TEAMS).table_valued(sa.column("team", sa.Uuid), name="team").render_derived()
    # What is both of a team and the caller's own comes twice, and once out of the union.
    every = sa.union(
        newest("of_all", Scope.ALL), newest("of_own", Scope.OWN), newest("of_teams", Scope.TEAM, team)
    ).subquery("every")
    ordered = sa.select(every).order_by(*(every.c[name].desc() for name in _POSITION)).limit(size).subquery("page")
    title = sa.select(records.c.title).where(records.c.tenant_id == TENANT, records.c.id == ordered.c.source)
    shown = sa.select(*(ordered.c[column.name] for column in _COLUMNS), title.scalar_subquery().label("title"))
    return Statement(shown.order_by(*(ordered.c[name].desc() for name in _POSITION)))


def _reached(principal: Principal, node: filters.Node | None) -> dict[str, list[Any]]:
    """Return the kinds of records that the caller may read something of: all of them, its own, its teams'."""
    reached: dict[str, list[Any]] = {
        f"of_{whose}{what}": [] for whose in ("all", "own", "teams") for what in ("", "_guarded")
    }
    for source in sources().values():
        scope = principal.scope(source.permission)
        if scope is None or not _can_match(source, node):
            continue
        ways = [(scope, False)]
        if source.guard.field and (further := principal.scope(source.guard.permission)) is not None:
            ways.append((min(scope, further), True))
        for reach, is_guarded in ways:
            of_all = reach is Scope.ALL or not source.owned
            for of in ["of_all"] if of_all else ["of_own", "of_teams"] if reach is Scope.TEAM else ["of_own"]:
                reached[of].append(source.kind)
                reached[f"{of}_guarded"].append(is_guarded)
    return reached


def _can_match(source: Source, node: filters.Node | None) -> bool:
    """Tell whether a filter can find something of a kind: others need not be looked through."""
    parts = node.operands if isinstance(node, filters.And) else (node,)
    for part in parts:
        if not isinstance(part, filters.Comparison) or part.operator is not filters.Operator.EQ:
            continue
        text, events = part.value.text, f"{source.event_prefix}."
        if part.path == ("resource_type",) and not (
            source.kind.startswith(text) if part.value.prefix else source.kind == text
        ):
            return False
        if part.path == ("type",) and not (text.startswith(events) or (part.value.prefix and events.startswith(text))):
            return False
    return True


def _message(row: Row) -> Any:
    named = dict(zip(_NAMES, row, strict=True))
    return _ENTRY(**{**named, "id": str(named["id"])})
