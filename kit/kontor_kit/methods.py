"""The standard methods, once for all resources (AIP-131 to 135, 154, 155, 157 to 165, 231, 233), and the ground for others.

A slice derives from `ResourceServicer`, names its gRPC service and its resource, and overrides the hooks it needs. A
custom method is a method of the class that bears the RPC's name in snake_case and takes (request, call, tx).

Every method runs in one transaction, which is committed here and nowhere else; what changes records goes through
`new` and `save` of `Records`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import psycopg.errors

from kontor_kit import filters, masks, ordering, pages
from kontor_kit.calls import PUBLIC, Behavior, Call, MethodSpec
from kontor_kit.checks import at
from kontor_kit.db import Transaction
from kontor_kit.errors import AlreadyExists, InvalidArgument, KontorError, NotFound, PermissionDenied
from kontor_kit.folding import fold
from kontor_kit.ids import format_name, parse_name
from kontor_kit.records import Records, tenant_of
from kontor_kit.shared import Shared
from kontor_kit.statuses import explain
from kontor_kit.store import Locked, Names, Page, is_live

SHORTEST_FRAGMENT = 3
"""Trigrams cannot find less; shorter queries find names that begin with them."""

Method = Callable[[Any, Call, Transaction], Any]


class ResourceServicer(Records):
    """Serves one resource."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._orders = self.RESOURCE.order_columns
        kind, plural = self.RESOURCE.kind, self.RESOURCE.collection[0].upper() + self.RESOURCE.collection[1:]
        self._standard: dict[str, Method] = {
            f"Get{kind}": self.get,
            f"List{plural}": self.page,
            f"Search{plural}": self.search,
            f"Create{kind}": self.create,
            f"Update{kind}": self.update,
            f"Upsert{kind}": self.upsert,
            f"Delete{kind}": self.delete,
            f"Undelete{kind}": self.undelete,
            f"BatchGet{plural}": self.batch_get,
            f"BatchCreate{plural}": self.batch_create,
        }

    def handler(self, method: str) -> Behavior | None:
        """Return what serves the RPC of this name; None where nothing does."""
        own = getattr(self, re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", method).lower(), None)
        serve: Method | None = self._standard.get(method, own)
        if serve is None:
            return None
        spec = MethodSpec.of(self.SERVICE.methods_by_name[method])
        return self._reading(serve) if spec.is_read else self._writing(serve, spec)

    def _reading(self, serve: Method) -> Behavior:
        def run(request: Any, call: Call) -> Any:
            with self.shared.database.read(tenant_of(call)) as tx:
                return serve(request, call, tx)

        return run

    def _writing(self, serve: Method, spec: MethodSpec) -> Behavior:
        fields = spec.descriptor.input_type.fields_by_name
        repeatable, can_try = "request_id" in fields, "validate_only" in fields
        requests, database = self.shared.requests, self.shared.database

        def run(request: Any, call: Call) -> Any:
            only_try = can_try and request.validate_only
            if repeatable and request.request_id:
                call.request_id = request.request_id
            request_id = "" if only_try else call.request_id
            try:
                with (database.trial if only_try else database.write)(tenant_of(call)) as tx:
                    if not request_id or spec.permission == PUBLIC:
                        return serve(request, call, tx)
                    attempt = requests.begin(tx, call, request, request_id)
                    if attempt.answer is not None:
                        answer = spec.output.FromString(attempt.answer)
                        self.tell_etag(call, getattr(answer, self.RESOURCE.singular, answer))
                        return answer
                    response = serve(request, call, tx)
                    requests.keep(tx, attempt, response)
                    return response
            except psycopg.errors.UniqueViolation as error:
                raise self.conflict(error) from error

        return run

    # Reading.

    def get(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Return one record (AIP-131)."""
        id = parse_name(request.name, self.RESOURCE.pattern, "name")
        paths, names = self._read_mask(request)
        record = self.store.get_one(tx, self.reach(call), id, names)
        if record is None:
            raise self.not_found(request.name)
        return self.shown(tx, call, record, paths)

    def page(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Return a page of records (AIP-132, 158, 160)."""
        paths, names = self._read_mask(request)
        order, descending = self._order(request.order_by)
        node = filters.parse(request.filter)
        arguments = (call.method.full_name, str(tx.tenant_id), request.filter, request.order_by, request.show_deleted)
        page = Page(
            size=pages.page_size(request.page_size),
            node=node,
            definitions=self.definitions(tx) if node is not None and self.RESOURCE.has_custom_fields else None,
            order=order,
            descending=descending,
            after=self.shared.page_tokens.open(request.page_token, arguments) if request.page_token else None,
            show_deleted=request.show_deleted,
            names=names,
        )
        reach = self.reach(call)
        records, position = self.store.page(tx, reach, page)
        self.decorate(tx, records)
        for record in records:
            masks.prune(record, paths)
        response: Any = call.method.output(**{self.RESOURCE.plural: records})
        if position is not None:
            response.next_page_token = self.shared.page_tokens.seal(arguments, position)
        if request.include_total_size:
            response.total_size = self.store.count(tx, reach, page)
        return response

    def search(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Return the records that fit a query best."""
        paths, names = self._read_mask(request)
        size = pages.page_size(request.page_size, default=20, maximum=100)
        text = fold(request.query)
        if not any(map(str.isalnum, text)):
            raise InvalidArgument(("query", "must have a letter or a digit"))
        if len(text) < SHORTEST_FRAGMENT:
            begins = filters.Comparison(
                self._named_path, filters.Operator.EQ, filters.Value(text, quoted=True, prefix=True)
            )
            records, _ = self.store.page(tx, self.reach(call), Page(size=size, node=begins, names=names))
            found = [(record, 1.0) for record in records]
        else:
            found = self.store.search(tx, self.reach(call), text, size, names)
        self.decorate(tx, [record for record, _ in found])
        response: Any = call.method.output()
        for record, score in found:
            masks.prune(record, paths)
            response.results.add(**{self.RESOURCE.singular: record, "score": score})
        return response

    @property
    def _named_path(self) -> tuple[str, ...]:
        for name in self._orders:
            if f"{name}_key" in self.RESOURCE.table.c:
                return (name,)
        raise InvalidArgument(
            ("query", f"must have {SHORTEST_FRAGMENT} letters at least: {self.RESOURCE.plural} have no name")
        )

    def batch_get(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Return several records in the order asked for, all or none (AIP-231)."""
        ids = [parse_name(name, self.RESOURCE.pattern, f"names[{index}]") for index, name in enumerate(request.names)]
        paths, names = self._read_mask(request)
        found = self.store.get(tx, self.reach(call), ids, names)
        missing = [name for name, id in zip(request.names, ids, strict=True) if id not in found]
        if missing:
            raise self.not_found(*missing)
        self.decorate(tx, list(found.values()))
        for record in found.values():
            masks.prune(record, paths)
        return call.method.output(**{self.RESOURCE.plural: [found[id] for id in ids]})

    # Writing.

    def create(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Create a record (AIP-133)."""
        with at(self.RESOURCE.singular):
            record = self.new(tx, call, getattr(request, self.RESOURCE.singular), self._allows_duplicates(request))
        return self.shown(tx, call, record)

    def batch_create(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Create several records, all or none, or as many as can be (AIP-233)."""
        response: Any = call.method.output()
        created: list[Any] = []
        for index, row in enumerate(request.requests):
            try:
                with at(f"requests[{index}]"):
                    self._refuse_own_terms(row)
                    if request.return_partial_success:
                        with tx.savepoint():
                            record = self._create_row(tx, call, row)
                    else:
                        record = self._create_row(tx, call, row)
                    created.append(record)
            except (KontorError, psycopg.errors.UniqueViolation) as error:
                if not request.return_partial_success:
                    raise
                business = self.conflict(error) if isinstance(error, psycopg.errors.UniqueViolation) else error
                failure = explain(business, self.shared.domain, call.trace.trace_id)
                response.failed_requests[index].CopyFrom(failure.status)
        self.decorate(tx, created)
        getattr(response, self.RESOURCE.plural).extend(created)
        return response

    def _create_row(self, tx: Transaction, call: Call, row: Any) -> Any:
        self.shared.checks.record(row)
        with at(self.RESOURCE.singular):
            return self.new(tx, call, getattr(row, self.RESOURCE.singular), self._allows_duplicates(row))

    @staticmethod
    def _refuse_own_terms(row: Any) -> None:
        for name in ("request_id", "validate_only"):
            if getattr(row, name, None):
                raise InvalidArgument((name, "must stand on the whole batch, or nowhere"))

    def update(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Change the fields of a record that the mask names (AIP-134)."""
        given = getattr(request, self.RESOURCE.singular)
        paths = masks.update_paths(request.update_mask, given)
        locked = self.lock(tx, call, given.name, f"{self.RESOURCE.singular}.name")
        return self.change(tx, call, locked, given, paths)

    def change(self, tx: Transaction, call: Call, locked: Locked, given: Any, paths: tuple[str, ...]) -> Any:
        """Put the fields that `paths` name into a locked record; for custom methods too."""
        self.check_etag(call, locked, given.etag, given, paths)
        after = type(given)()
        after.CopyFrom(locked.message)
        masks.apply(paths, given, after)
        with at(self.RESOURCE.singular):
            record = self.save(tx, call, locked, after, "updated")
        return self.shown(tx, call, record)

    def upsert(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Create the record with an external id, or change it where it exists."""
        given, key = getattr(request, self.RESOURCE.singular), request.external_id
        paths = masks.update_paths(request.update_mask, given)
        # Whatever else the record is called, it is called by this key too.
        if not any(held.system == key.system and held.key == key.key for held in given.external_ids):
            given.external_ids.add(system=key.system, key=key.key)
        self.shared.requests.serialise(tx, f"{self.RESOURCE.collection}/{key.system}/{key.key}")
        id = self.store.find_by_external_id(tx, key.system, key.key)
        if id is None:
            scope = self.scope(call, self.create_permission)
            with at(self.RESOURCE.singular):
                self.shared.checks.record(given)
                record = self.shown(tx, call, self.new(tx, call, given, allow_duplicates=True, scope=scope))
        else:
            name = format_name(self.RESOURCE.collection, id)
            try:
                locked = self.lock(tx, call, name, "external_id")
            except NotFound as error:
                raise PermissionDenied(
                    "the record with this external id cannot be reached", reason="OUT_OF_SCOPE"
                ) from error
            record = self.change(tx, call, locked, given, paths)
        return call.method.output(**{self.RESOURCE.singular: record, "created": id is None})

    def delete(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Delete a record so that it can be undeleted (AIP-135, 164)."""
        locked = self.lock(tx, call, request.name, "name", live=False)
        if not is_live(locked.message):
            raise self.not_found(request.name)
        self.check_etag(call, locked, request.etag)
        return self.shown(tx, call, self._mark(tx, call, locked, deleted=True))

    def undelete(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Bring a deleted record back (AIP-164)."""
        locked = self.lock(tx, call, request.name, "name", live=False)
        if is_live(locked.message):
            raise AlreadyExists(f"{request.name} is not deleted", reason="NOT_DELETED")
        self.check_etag(call, locked, request.etag)
        return self.shown(tx, call, self._mark(tx, call, locked, deleted=False))

    @staticmethod
    def _allows_duplicates(request: Any) -> bool:
        return "allow_duplicates" not in request.DESCRIPTOR.fields_by_name or request.allow_duplicates

    def _read_mask(self, request: Any) -> tuple[tuple[str, ...], Names]:
        """Return the paths to show, and the fields to select for them; None for all."""
        paths = masks.read_paths(request.read_mask, self.RESOURCE.descriptor)
        if not paths:
            return (), None
        names = dict.fromkeys(["name", *(path.partition(".")[0] for path in paths)])
        for name in [name for name in names if name in self.RESOURCE.computed]:
            names |= dict.fromkeys(self.RESOURCE.computed[name])
        return paths, tuple(names)

    def _order(self, text: str) -> tuple[str, bool]:
        terms = ordering.parse(text)
        if not terms:
            return "", False
        if len(terms) > 1:
            raise InvalidArgument(("order_by", f"no index serves a second field, {terms[1].path}"))
        if terms[0].path not in self._orders:
            known = ", ".join(self._orders)
            raise InvalidArgument(
                ("order_by", f"{terms[0].path} is not a field that can be sorted by; there are {known}")
            )
        return terms[0].path, terms[0].descending
