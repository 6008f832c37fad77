"""The rows of one resource: every statement that reads or writes them, each compiled once.

This is the one path to records. `Reach` says what the caller may see; each statement that reads takes it, and there is
none that does not.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa
from google.protobuf.message import Message
from sqlalchemy.dialects.postgresql import ARRAY, insert

from kontor_kit import filters, scopes
from kontor_kit.custom_fields import Definition
from kontor_kit.db import Row, Statement, Transaction
from kontor_kit.filter_sql import TENANT, CompiledFilter
from kontor_kit.principals import Principal, Scope
from kontor_kit.resource import Resource
from kontor_kit.tables import KEY_TEXT
from kontor_kit.terms import Term, field_of

CACHED_STATEMENTS = 1000
COUNTED = 10_000
"""Up to this many records are counted; above it the planner's estimate is told."""

Names = tuple[str, ...] | None
Load = Callable[[Row], Any]


@dataclass(frozen=True, slots=True)
class Reach:
    """What a caller may see of a resource: its tenant's records, as far as a permission goes."""

    principal: Principal
    scope: Scope

    def parameters(self) -> dict[str, Any]:
        """Return the parameters that every statement takes."""
        return scopes.parameters(self.principal)


class Locked(NamedTuple):
    """A record that is locked until the transaction ends."""

    message: Any
    id: uuid.UUID
    version: int
    writable: bool
    """Whether the permission to write reaches it."""


@dataclass(frozen=True, slots=True)
class Page:
    """Which records to list."""

    size: int
    node: filters.Node | None = None
    definitions: Mapping[str, Definition] | None = None
    order: str = ""
    """The field to sort by; empty for the order of creation."""
    descending: bool = False
    after: Sequence[Any] | None = None
    """The position of the last record of the page before."""
    show_deleted: bool = False
    names: Names = None


class Store:
    """The rows of one resource."""

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self._table = resource.table
        tables = resource.table.metadata.tables
        self._external_ids = tables.get("external_ids") if resource.has_external_ids else None
        self._terms = tables.get("terms")
        self._statements: dict[Any, Any] = {}

    def get(self, tx: Transaction, reach: Reach, ids: Sequence[uuid.UUID], names: Names = None) -> dict[uuid.UUID, Any]:
        """Return the records with these ids that the caller may see; deleted ones too."""

        def build() -> tuple[Statement, Load]:
            codec = self.resource.codec
            statement = self._select([*codec.columns(names), self._table.c.id], reach.scope)
            return Statement(
                statement.where(self._table.c.id == sa.any_(_parameter("ids", ARRAY(sa.Uuid))))
            ), codec.loader(names)

        statement, load = self._cached(("get", names, reach.scope), build)
        rows = tx.run(statement, {**reach.parameters(), "ids": list(ids)})
        return {row[-1]: load(row) for row in rows}

    def get_one(self, tx: Transaction, reach: Reach, id: uuid.UUID, names: Names = None) -> Any | None:
        """Return one record, None where there is none that the caller may see."""

        def build() -> tuple[Statement, Load]:
            codec = self.resource.codec
            statement = self._select(codec.columns(names), reach.scope)
            return Statement(statement.where(self._table.c.id == _parameter("id", sa.Uuid))), codec.loader(names)

        statement, load = self._cached(("get_one", names, reach.scope), build)
        rows = tx.run(statement, {**reach.parameters(), "id": id})
        return load(rows[0]) if rows else None

    def lock(
        self, tx: Transaction, reach: Reach, write_scope: Scope, ids: Sequence[uuid.UUID]
    ) -> dict[uuid.UUID, Locked]:
        """Lock records that the caller may see, in the order of their ids, and return them."""

        def build() -> tuple[Statement, Load]:
            codec, table = self.resource.codec, self._table
            condition = self.resource.scope.clause(write_scope, table)
            writable = (
                sa.literal_column("true", sa.Boolean) if condition is None else sa.func.coalesce(condition, sa.false())
            )
            statement = self._select([*codec.columns(), table.c.id, table.c.version, writable], reach.scope)
            statement = statement.where(table.c.id == sa.any_(_parameter("ids", ARRAY(sa.Uuid)))).order_by(table.c.id)
            # Not to be changed by others, while they may refer to it: the key stays.
            return Statement(statement.with_for_update(of=table, key_share=True)), codec.loader()

        statement, load = self._cached(("lock", reach.scope, write_scope), build)
        rows = tx.run(statement, {**reach.parameters(), "ids": list(ids)})
        return {row[-3]: Locked(load(row), row[-3], row[-2], row[-1]) for row in rows}

    def page(self, tx: Transaction, reach: Reach, page: Page) -> tuple[list[Any], list[Any] | None]:
        """Return a page of records, and the position of its last one; None where the list ends with it."""
        statement, load, compiled = self._page_statement(reach, page)
        parameters = {**reach.parameters(), **_filter_parameters(compiled, page), "size": page.size + 1}
        if page.after is not None:
            parameters |= {f"after{number}": value for number, value in enumerate(page.after)}
        rows = tx.run(statement, parameters)
        messages = [load(row) for row in rows[: page.size]]
        if len(rows) <= page.size:
            return messages, None
        last = rows[page.size - 1]
        return messages, list(last[-2:] if page.order else last[-1:])

    def _page_statement(self, reach: Reach, page: Page) -> tuple[Statement, Load, CompiledFilter | None]:
        def build() -> tuple[Statement, Load, CompiledFilter | None]:
            table, codec = self._table, self.resource.codec
            position = [self.resource.order_columns[page.order]] if page.order else []
            position.append(table.c.id)
            statement = self._select([*codec.columns(page.names), *position], reach.scope)
            statement, compiled = self._restricted(statement, page)
            if page.after is not None:
                after = sa.tuple_(
                    *(_parameter(f"after{number}", column.type) for number, column in enumerate(position))
                )
                here = sa.tuple_(*position)
                statement = statement.where(here < after if page.descending else here > after)
            ordered = (column.desc() if page.descending else column.asc() for column in position)
            statement = statement.order_by(*ordered).limit(_parameter("size", sa.Integer))
            return Statement(statement), codec.loader(page.names), compiled

        kind = ("list", page.names, reach.scope, page.order, page.descending, page.after is not None)
        return self._cached((*kind, *_filter_shape(page)), build)  # type: ignore[no-any-return]

    def count(self, tx: Transaction, reach: Reach, page: Page) -> int:
        """Return how many records all pages have together; the planner's estimate where they are many."""

        def build() -> tuple[Statement, CompiledFilter | None]:
            statement, compiled = self._restricted(self._select([sa.literal_column("1")], reach.scope), page)
            limited = statement.limit(COUNTED + 1).subquery()
            return Statement(sa.select(sa.func.count()).select_from(limited)), compiled

        def build_estimate() -> Statement:
            statement, _ = self._restricted(self._select([sa.literal_column("1")], reach.scope), page)
            return Statement(statement)

        shape = _filter_shape(page)
        statement, compiled = self._cached(("count", reach.scope, *shape), build)
        parameters = {**reach.parameters(), **_filter_parameters(compiled, page)}
        number = int(tx.run(statement, parameters)[0][0])
        if number <= COUNTED:
            return number
        estimate: Statement = self._cached(("estimate", reach.scope, *shape), build_estimate)
        return max(number, tx.estimate(estimate, parameters))

    def _restricted(self, statement: sa.Select[Any], page: Page) -> tuple[sa.Select[Any], CompiledFilter | None]:
        if not page.show_deleted:
            statement = statement.where(self._table.c.delete_time.is_(None))
        if page.node is None:
            return statement, None
        compiled = self.resource.filter_fields.compile(page.node, page.definitions or {})
        return statement.where(compiled.clause), compiled

    def search(
        self, tx: Transaction, reach: Reach, text: str, size: int, names: Names = None
    ) -> list[tuple[Any, float]]:
        """Return the records that fit `text` (folded) best, with a score from 0 to 1."""

        def build() -> tuple[Statement, Load]:
            codec, table = self.resource.codec, self._table
            # The function looks through the index as the tables' owner, which row security does not keep from it, and
            # compares the tenant itself. What it finds goes through the conditions of every other read.
            arguments = (
                _parameter("text", sa.Text),
                sa.cast(sa.null() if reach.scope is Scope.ALL else scopes.SUBJECT, sa.Uuid),
                sa.cast(scopes.TEAMS if reach.scope is Scope.TEAM else sa.null(), ARRAY(sa.Uuid)),
                _parameter("size", sa.Integer),
            )
            function = getattr(sa.func, f"search_{table.name}")(*arguments)
            found = function.table_valued(sa.column("id", sa.Uuid), sa.column("score", sa.Float), name="found")
            statement = self._select([*codec.columns(names), found.c.score], reach.scope)
            statement = statement.join(found, found.c.id == table.c.id).where(table.c.delete_time.is_(None))
            statement = statement.order_by(found.c.score.desc(), table.c.id)
            return Statement(statement), codec.loader(names)

        statement, load = self._cached(("search", names, reach.scope), build)
        rows = tx.run(statement, {**reach.parameters(), "text": text, "size": size})
        return [(load(row), row[-1]) for row in rows]

    def find_by_external_id(self, tx: Transaction, system: str, key: str) -> uuid.UUID | None:
        """Return the id of the record with a key in another system, whoever may see it."""
        table = self._external_ids
        assert table is not None

        def build() -> Statement:
            return Statement(
                sa.select(table.c.id).where(
                    table.c.tenant_id == TENANT,
                    table.c.collection == self.resource.collection,
                    table.c.system == _parameter("system", KEY_TEXT),
                    table.c.key == _parameter("key", KEY_TEXT),
                )
            )

        rows = tx.run(self._cached("external", build), {"tenant": tx.tenant_id, "system": system, "key": key})
        return rows[0][0] if rows else None

    def find_by_terms(self, tx: Transaction, wanted: Iterable[Term], limit: int) -> list[tuple[uuid.UUID, str]]:
        """Return (id, field) of live records that have one of the terms, whoever may see them."""
        terms, table = self._terms, self._table
        assert terms is not None

        def build() -> Statement:
            given = _given_terms()
            return Statement(
                sa.select(terms.c.id, terms.c.term)
                .select_from(given)
                .join(terms, terms.c.term == given.c.term)
                .join(table, sa.and_(table.c.tenant_id == terms.c.tenant_id, table.c.id == terms.c.id))
                .where(terms.c.tenant_id == TENANT, table.c.delete_time.is_(None))
                .limit(_parameter("size", sa.Integer))
            )

        statement = self._cached("by_terms", build)
        rows = tx.run(statement, {"tenant": tx.tenant_id, "terms": _texts(wanted), "size": limit})
        return [(id, field_of(text)) for id, text in rows]

    def insert(self, tx: Transaction, id: uuid.UUID, values: Mapping[str, Any], now: dt.datetime) -> None:
        """Queue a new row, with version 1; columns that a slice keeps beside the message get their default."""
        fixed = {"tenant_id": tx.tenant_id, "id": id, "version": 1, "create_time": now, "update_time": now}
        given = {**values, **fixed}

        def build() -> Statement:
            values = {name: _parameter(name, self._table.c[name].type) for name in given}
            return Statement(self._table.insert().values(values))

        tx.defer(self._cached(("insert", *given), build), given)

    def update(self, tx: Transaction, id: uuid.UUID, values: Mapping[str, Any]) -> None:
        """Queue the change of a row that is locked."""
        names = tuple(sorted(values))

        def build() -> Statement:
            table = self._table
            return Statement(
                table.update()
                .where(table.c.tenant_id == TENANT, table.c.id == _parameter("key_id", sa.Uuid))
                .values({name: _parameter(name, table.c[name].type) for name in names})
            )

        tx.defer(self._cached(("update", names), build), {**values, "tenant": tx.tenant_id, "key_id": id})

    def add_terms(self, tx: Transaction, id: uuid.UUID, added: Iterable[Term]) -> None:
        """Queue terms of a record."""
        terms = self._terms
        assert terms is not None

        def build() -> Statement:
            given = _given_terms()
            rows = sa.select(TENANT, given.c.term, _parameter("key_id", sa.Uuid))
            return Statement(insert(terms).from_select(["tenant_id", "term", "id"], rows).on_conflict_do_nothing())

        self._defer_terms(tx, "add_terms", build, id, added)

    def remove_terms(self, tx: Transaction, id: uuid.UUID, removed: Iterable[Term]) -> None:
        """Queue the end of terms of a record."""
        terms = self._terms
        assert terms is not None

        def build() -> Statement:
            given = _given_terms()
            its = (terms.c.tenant_id == TENANT, terms.c.id == _parameter("key_id", sa.Uuid))
            return Statement(terms.delete().where(*its, terms.c.term == given.c.term))

        self._defer_terms(tx, "remove_terms", build, id, removed)

    def _defer_terms(
        self, tx: Transaction, kind: str, build: Callable[[], Statement], id: uuid.UUID, terms: Iterable[Term]
    ) -> None:
        if texts := _texts(terms):
            tx.defer(self._cached(kind, build), {"tenant": tx.tenant_id, "key_id": id, "terms": texts})

    def replace_external_ids(
        self, tx: Transaction, id: uuid.UUID, keys: Sequence[tuple[str, str]], *, new: bool
    ) -> None:
        """Queue the keys of a record in other systems, in place of those it had."""
        table = self._external_ids
        assert table is not None

        def build_delete() -> Statement:
            return Statement(
                table.delete().where(table.c.tenant_id == TENANT, table.c.id == _parameter("key_id", sa.Uuid))
            )

        def build_insert() -> Statement:
            given = (
                sa.func.unnest(_parameter("systems", ARRAY(KEY_TEXT)), _parameter("keys", ARRAY(KEY_TEXT)))
                .table_valued(sa.column("system", KEY_TEXT), sa.column("key", KEY_TEXT))
                .render_derived(name="given")
            )
            collection = sa.literal(self.resource.collection, KEY_TEXT)
            rows = sa.select(TENANT, collection, given.c.system, given.c.key, _parameter("key_id", sa.Uuid))
            return Statement(table.insert().from_select(["tenant_id", "collection", "system", "key", "id"], rows))

        parameters = {"tenant": tx.tenant_id, "key_id": id}
        if not new:
            tx.defer(self._cached("delete_external", build_delete), parameters)
        if keys:
            systems, values = zip(*keys, strict=True)
            statement = self._cached("insert_external", build_insert)
            tx.defer(statement, {**parameters, "systems": list(systems), "keys": list(values)})

    def _select(self, columns: Sequence[Any], scope: Scope) -> sa.Select[Any]:
        """Begin a statement that reads: the tenant, and what the scope reaches."""
        statement = sa.select(*columns).select_from(self._table).where(self._table.c.tenant_id == TENANT)
        condition = self.resource.scope.clause(scope, self._table)
        return statement if condition is None else statement.where(condition)

    def _cached(self, key: Any, build: Callable[[], Any]) -> Any:
        found = self._statements.get(key)
        if found is None:
            if len(self._statements) >= CACHED_STATEMENTS:
                # Filters of ever new shapes must not fill the memory; what is in use comes back at once.
                self._statements.clear()
            found = self._statements[key] = build()
        return found


def _parameter(name: str, kind: Any) -> sa.BindParameter[Any]:
    return sa.bindparam(name, type_=kind)


def _given_terms() -> sa.TableValuedAlias:
    given = sa.func.unnest(_parameter("terms", ARRAY(KEY_TEXT))).table_valued(sa.column("term", KEY_TEXT))
    return given.render_derived(name="given")


def _texts(terms: Iterable[Term]) -> list[str]:
    # In the order of the index: transactions that write the same terms wait for each other, and do not deadlock.
    return sorted(term.text for term in terms)


def _filter_shape(page: Page) -> tuple[Any, ...]:
    if page.node is None:
        return page.show_deleted, None
    definitions = page.definitions or {}
    custom = tuple(sorted((key, definitions[key].type) for key in _custom_keys(page.node) if key in definitions))
    return page.show_deleted, filters.shape(page.node), custom


def _custom_keys(node: filters.Node) -> set[str]:
    if isinstance(node, filters.Comparison):
        return {node.path[1]} if len(node.path) == 2 and node.path[0] == "custom_fields" else set()
    if isinstance(node, filters.Not):
        return _custom_keys(node.operand)
    return set().union(*map(_custom_keys, node.operands))


def _filter_parameters(compiled: CompiledFilter | None, page: Page) -> dict[str, Any]:
    return {} if compiled is None else compiled.parameters(filters.values(page.node))


def etag_of(version: int) -> str:
    """Return the etag of a version of a record."""
    return f"v{version}"


def is_live(message: Message) -> bool:
    """Tell whether a record is not deleted."""
    return not message.HasField("delete_time")
