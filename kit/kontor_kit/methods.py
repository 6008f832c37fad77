"""The standard methods, once for all resources (AIP-131 to 135, 154, 155, 157 to 165, 231, 233), and the ground for others.

A slice derives from `ResourceServicer`, names its gRPC service and its resource, and overrides the hooks it needs. A
custom method is a method of the class that bears the RPC's name in snake_case and takes (request, call, tx).

Every method runs in one transaction, which is committed here and nowhere else; what changes records goes through
`insert` and `save`, which write row, terms and change together.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import psycopg.errors
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from kontor_kit import filters, masks, ordering, pages
from kontor_kit.calls import PUBLIC, Behavior, Call, MethodSpec
from kontor_kit.checks import at
from kontor_kit.conflicts import edit_conflict, suspects
from kontor_kit.custom_fields import Definition
from kontor_kit.db import Transaction
from kontor_kit.errors import (
    Aborted,
    AlreadyExists,
    EtagMismatch,
    FailedPrecondition,
    InvalidArgument,
    KontorError,
    NotFound,
    PermissionDenied,
)
from kontor_kit.folding import fold
from kontor_kit.ids import format_name, parse_name, uuid7
from kontor_kit.principals import Principal, Scope
from kontor_kit.resource import Resource
from kontor_kit.shared import Shared
from kontor_kit.statuses import explain
from kontor_kit.store import Locked, Names, Page, Reach, Store, etag_of, is_live
from kontor_kit.terms import Term, encode

SHORTEST_FRAGMENT = 3
"""Trigrams cannot find less; shorter queries find names that begin with them."""
SUSPECTS = 10

Method = Callable[[Any, Call, Transaction], Any]


class ResourceServicer:
    """Serves one resource."""

    SERVICE: ClassVar[ServiceDescriptor]
    RESOURCE: ClassVar[Resource]

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.store = Store(self.RESOURCE)
        methods = {method.name: MethodSpec.of(method) for method in self.SERVICE.methods}
        self._permissions = {name: spec.permission for name, spec in methods.items()}
        kind, plural = self.RESOURCE.kind, self.RESOURCE.collection[0].upper() + self.RESOURCE.collection[1:]
        self._read_permission = self._permissions.get(f"Get{kind}", "")
        self._create_permission = self._permissions.get(f"Create{kind}", "")
        self._standard: dict[str, Method] = {
            f"Get{kind}": self.get,
            f"List{plural}": self.list,
            f"Search{plural}": self.search,
            f"Create{kind}": self.create,
            f"Update{kind}": self.update,
            f"Upsert{kind}": self.upsert,
            f"Delete{kind}": self.delete,
            f"Undelete{kind}": self.undelete,
            f"BatchGet{plural}": self.batch_get,
            f"BatchCreate{plural}": self.batch_create,
        }

    # What a slice may override.

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Normalise a record that is to be stored, in place, and check it; paths in violations begin in the record."""

    def match_terms(self, record: Any) -> set[Term]:
        """Return the terms by which a record is suspected to be another one; see `term`."""
        return set()

    def decorate(self, tx: Transaction, records: Sequence[Any]) -> None:
        """Fill output-only fields that are not stored with the record."""

    # For slices.

    def term(self, field: str, value: str) -> Term:
        """Return the term of a field; a name that is no field of the contract makes one for look-ups only."""
        return Term(self.RESOURCE.filter_fields.term_field(field), encode(value))

    def handler(self, method: str) -> Behavior | None:
        """Return what serves the RPC of this name; None where nothing does."""
        own = getattr(self, re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", method).lower(), None)
        serve: Method | None = own if method not in self._standard else self._standard[method]
        if serve is None:
            return None
        spec = MethodSpec.of(self.SERVICE.methods_by_name[method])
        return self._reading(serve) if spec.is_read else self._writing(serve, spec)

    def _reading(self, serve: Method) -> Behavior:
        def run(request: Any, call: Call) -> Any:
            with self.shared.database.read(_tenant(call)) as tx:
                return serve(request, call, tx)

        return run

    def _writing(self, serve: Method, spec: MethodSpec) -> Behavior:
        fields = spec.descriptor.input_type.fields_by_name
        repeatable, can_try = "request_id" in fields, "validate_only" in fields
        requests, database = self.shared.requests, self.shared.database

        def run(request: Any, call: Call) -> Any:
            only_try = can_try and request.validate_only
            request_id = "" if only_try else (repeatable and request.request_id) or call.request_id
            try:
                with (database.trial if only_try else database.write)(_tenant(call)) as tx:
                    if not request_id or spec.permission == PUBLIC:
                        return serve(request, call, tx)
                    attempt = requests.begin(tx, call, request, request_id)
                    if attempt.answer is not None:
                        return spec.output.FromString(attempt.answer)
                    response = serve(request, call, tx)
                    requests.keep(tx, attempt, response)
                    return response
            except psycopg.errors.UniqueViolation as error:
                raise self._conflict(error) from error

        return run

    def _conflict(self, error: psycopg.errors.UniqueViolation) -> KontorError:
        index = error.diag.constraint_name or ""
        if index.startswith("external_ids"):
            return AlreadyExists("one of the external ids belongs to another record", reason="EXTERNAL_ID_TAKEN")
        if index in self.RESOURCE.conflicts:
            return AlreadyExists(self.RESOURCE.conflicts[index])
        raise error

    # Reading.

    def get(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Return one record (AIP-131)."""
        id = parse_name(request.name, self.RESOURCE.pattern, "name")
        paths, names = self._read_mask(request)
        record = self.store.get_one(tx, self.reach(call), id, names)
        if record is None:
            raise self.not_found(request.name)
        return self._shown(tx, call, record, paths)

    def list(self, request: Any, call: Call, tx: Transaction) -> Any:
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
        records, position = self.store.list(tx, reach, page)
        self.decorate(tx, records)
        for record in records:
            masks.prune(record, paths)
        response = call.method.output(**{self.RESOURCE.plural: records})
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
        if not text:
            raise InvalidArgument(("query", "must have a letter or a digit"))
        if len(text) < SHORTEST_FRAGMENT:
            begins = filters.Comparison(self._named_path, filters.Operator.EQ, filters.Value(text, quoted=True, prefix=True))
            records, _ = self.store.list(tx, self.reach(call), Page(size=size, node=begins, names=names))
            found = [(record, 1.0) for record in records]
        else:
            found = self.store.search(tx, self.reach(call), text, size, names)
        self.decorate(tx, [record for record, _ in found])
        response = call.method.output()
        for record, score in found:
            masks.prune(record, paths)
            response.results.add(**{self.RESOURCE.singular: record, "score": score})
        return response

    @property
    def _named_path(self) -> tuple[str, ...]:
        return (next(name for name in self.RESOURCE.order_columns if f"{name}_key" in self.RESOURCE.table.c),)

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
        return self._shown(tx, call, record)

    def batch_create(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Create several records, all or none, or as many as can be (AIP-233)."""
        response = call.method.output()
        created = []
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
                business = self._conflict(error) if isinstance(error, psycopg.errors.UniqueViolation) else error
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
            if getattr(row, name):
                raise InvalidArgument((name, "must stand on the whole batch, or nowhere"))

    def update(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Change the fields of a record that the mask names (AIP-134)."""
        given = getattr(request, self.RESOURCE.singular)
        paths = masks.update_paths(request.update_mask, given)
        locked = self.lock(tx, call, given.name, f"{self.RESOURCE.singular}.name")
        return self._change(tx, call, locked, given, paths)

    def _change(self, tx: Transaction, call: Call, locked: Locked, given: Any, paths: tuple[str, ...]) -> Any:
        self._check_etag(call, locked, given.etag, given, paths)
        after = type(given)()
        after.CopyFrom(locked.message)
        masks.apply(paths, given, after)
        with at(self.RESOURCE.singular):
            record = self.save(tx, call, locked, after, "updated")
        return self._shown(tx, call, record)

    def upsert(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Create the record with an external id, or change it where it exists."""
        given, key = getattr(request, self.RESOURCE.singular), request.external_id
        self.shared.requests.serialise(tx, f"{self.RESOURCE.collection}/{key.system}/{key.key}")
        id = self.store.find_by_external_id(tx, key.system, key.key)
        if id is None:
            scope = self.scope(call, self._create_permission)
            if not any(held.system == key.system and held.key == key.key for held in given.external_ids):
                given.external_ids.add(system=key.system, key=key.key)
            with at(self.RESOURCE.singular):
                self.shared.checks.record(given)
                record = self._shown(tx, call, self.new(tx, call, given, allow_duplicates=True, scope=scope))
        else:
            paths = masks.update_paths(request.update_mask, given)
            name = format_name(self.RESOURCE.collection, id)
            try:
                locked = self.lock(tx, call, name, "external_id")
            except NotFound as error:
                raise PermissionDenied("the record with this external id cannot be reached", reason="OUT_OF_SCOPE") from error
            record = self._change(tx, call, locked, given, tuple(path for path in paths if path != "external_ids"))
        return call.method.output(**{self.RESOURCE.singular: record, "created": id is None})

    def delete(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Delete a record so that it can be undeleted (AIP-135, 164)."""
        locked = self.lock(tx, call, request.name, "name", live=False)
        if not is_live(locked.message):
            raise self.not_found(request.name)
        self._check_etag(call, locked, request.etag)
        return self._shown(tx, call, self._mark(tx, call, locked, deleted=True))

    def undelete(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Bring a deleted record back (AIP-164)."""
        locked = self.lock(tx, call, request.name, "name", live=False)
        if is_live(locked.message):
            raise AlreadyExists(f"{request.name} is not deleted", reason="NOT_DELETED")
        self._check_etag(call, locked, request.etag)
        return self._shown(tx, call, self._mark(tx, call, locked, deleted=False))

    # What writing is made of; for custom methods too.

    def new(
        self, tx: Transaction, call: Call, record: Any, allow_duplicates: bool = True, scope: Scope | None = None
    ) -> Any:
        """Check a new record, store it and return it; `record` is changed. Paths in violations begin in it."""
        principal = _principal(call)
        record.ClearField("name")
        if self.RESOURCE.has_owner and not record.owner and principal.subject.startswith("users/"):
            record.owner = principal.subject
        self._prepare(tx, call, None, record)
        self.RESOURCE.scope.check(principal, scope or self.scope(call), record)
        terms = self._all_terms(tx, record)
        if not allow_duplicates:
            self._refuse_suspects(tx, call, record)
        now, id = dt.datetime.now(dt.UTC), uuid7()
        values = {**self.RESOURCE.codec.dump(record, ""), **self.RESOURCE.derived(record)}
        record.name = format_name(self.RESOURCE.collection, id)
        record.etag = etag_of(1)
        record.create_time = record.update_time = now
        self.store.insert(tx, id, values, now)
        if terms:
            self.store.add_terms(tx, id, terms)
        if self.RESOURCE.has_external_ids and record.external_ids:
            self.store.replace_external_ids(tx, id, _keys(record), new=True)
        self.record(tx, call, "created", None, record, 1)
        return record

    def save(self, tx: Transaction, call: Call, locked: Locked, after: Any, event: str) -> Any:
        """Check a changed record, store it and return it; nothing is written where nothing changed.

        `event` is the past participle that the event's type ends with, for example `updated`.
        """
        before = locked.message
        self.shared.checks.record(after)
        self._prepare(tx, call, before, after)
        self.shared.checks.immutable(before, after)
        if after == before:
            return before
        principal = _principal(call)
        if self.RESOURCE.has_owner and (after.owner != before.owner or after.team != before.team):
            self.RESOURCE.scope.check(principal, self.scope(call), after)
        codec = self.RESOURCE.codec
        stored = {**codec.dump(before, ""), **self.RESOURCE.derived(before)}
        values = {**codec.dump(after, ""), **self.RESOURCE.derived(after)}
        changed = {name: value for name, value in values.items() if stored[name] != value}
        old, new = self._all_terms(tx, before), self._all_terms(tx, after)
        self._write(tx, locked, after, changed)
        self.store.remove_terms(tx, locked.id, old - new)
        self.store.add_terms(tx, locked.id, new - old)
        if self.RESOURCE.has_external_ids and _keys(before) != _keys(after):
            self.store.replace_external_ids(tx, locked.id, _keys(after), new=False)
        self.record(tx, call, event, before, after, locked.version + 1)
        return after

    def _mark(self, tx: Transaction, call: Call, locked: Locked, *, deleted: bool) -> Any:
        after = type(locked.message)()
        after.CopyFrom(locked.message)
        if deleted:
            after.delete_time = dt.datetime.now(dt.UTC)
        else:
            after.ClearField("delete_time")
            self._prepare(tx, call, locked.message, after)
        moment = after.delete_time.ToDatetime(dt.UTC) if deleted else None
        self._write(tx, locked, after, {"delete_time": moment})
        if self.RESOURCE.has_external_ids:
            # Unique among live records only: the record itself remembers them until it comes back.
            self.store.replace_external_ids(tx, locked.id, [] if deleted else _keys(after), new=False)
        self.record(tx, call, "deleted" if deleted else "undeleted", locked.message, after, locked.version + 1)
        return after

    def _write(self, tx: Transaction, locked: Locked, after: Any, changed: dict[str, Any]) -> None:
        now = dt.datetime.now(dt.UTC)
        after.etag = etag_of(locked.version + 1)
        after.update_time = now
        self.store.update(tx, locked.id, {**changed, "version": locked.version + 1, "update_time": now})

    def record(
        self, tx: Transaction, call: Call, event: str, before: Message | None, after: Message, version: int
    ) -> None:
        """Write down a change of a record of this resource."""
        event_type = f"{self.RESOURCE.event_prefix}.{event}"
        self.shared.changes.record(tx, call, event_type, before=before, after=after, version=version)

    def lock(self, tx: Transaction, call: Call, name: str, field: str = "name", *, live: bool = True) -> Locked:
        """Lock the record `name` for a change; `field` is where the name stands in the request.

        Raises NotFound where the caller may not see it, PermissionDenied where the caller may see and not change it,
        FailedPrecondition where it is deleted (unless `live` is False).
        """
        id = parse_name(name, self.RESOURCE.pattern, field)
        scope = self.scope(call)
        locked = self.store.lock(tx, self.reach(call), scope, [id]).get(id)
        if locked is None:
            raise self.not_found(name)
        if not locked.writable:
            raise PermissionDenied(
                f"your permission {call.method.permission} does not reach {name}",
                reason="OUT_OF_SCOPE",
                metadata={"permission": call.method.permission},
            )
        if live and not is_live(locked.message):
            raise FailedPrecondition(f"{name} is deleted; undelete it first", reason="DELETED")
        return locked

    def reach(self, call: Call) -> Reach:
        """Return what the caller may see: what the permission to read reaches, or without it the method's own."""
        principal = _principal(call)
        scope = principal.scope(self._read_permission) if self._read_permission else None
        return Reach(principal, scope or self.scope(call))

    def scope(self, call: Call, permission: str = "") -> Scope:
        """Return how far the method's permission reaches, or another one; raises PermissionDenied without it."""
        scope = _principal(call).scope(permission) if permission else call.scope
        if scope is None:
            raise PermissionDenied(f"the permission {permission} is needed", metadata={"permission": permission})
        return scope

    def definitions(self, tx: Transaction) -> dict[str, Definition]:
        """Return the tenant's own fields of this resource, by key."""
        return self.shared.definitions.load(tx, self.RESOURCE.collection)

    def not_found(self, *names: str) -> NotFound:
        """Return the error for records that are not there, or not for the caller to know of."""
        return NotFound(f"there is no {', '.join(names[:10])}", metadata={"resource": names[0]})

    def _prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        if self.RESOURCE.has_custom_fields and (before is None or before.custom_fields != after.custom_fields):
            self.shared.definitions.check(tx, self.RESOURCE.collection, before, after)
        self.prepare(tx, call, before, after)

    def _all_terms(self, tx: Transaction, record: Any) -> set[Term]:
        terms = self.RESOURCE.terms(record) | self.match_terms(record)
        if self.RESOURCE.has_custom_fields and record.HasField("custom_fields"):
            prefix = self.RESOURCE.filter_fields.term_field("custom_fields")
            terms |= self.shared.definitions.terms(tx, self.RESOURCE.collection, record, prefix)
        return terms

    def _refuse_suspects(self, tx: Transaction, call: Call, record: Any) -> None:
        wanted = self.match_terms(record)
        if not wanted:
            return
        matches: dict[uuid.UUID, set[str]] = {}
        for id, field, _ in self.store.find_by_terms(tx, wanted, SUSPECTS * 5):
            matches.setdefault(id, set()).add(field.partition(".")[2])
        if not matches:
            return
        # What the caller may not see is not told, not even by refusing.
        visible = self.store.get(tx, self.reach(call), list(matches)[: SUSPECTS * 2])
        if visible:
            details = suspects([(visible[id], matches[id]) for id in visible][:SUSPECTS])
            raise AlreadyExists(
                f"{len(visible)} {'record looks' if len(visible) == 1 else 'records look'} like this one;"
                " allow_duplicates creates it all the same",
                reason="SUSPECTED_DUPLICATE",
                details=[details],
            )

    @staticmethod
    def _allows_duplicates(request: Any) -> bool:
        return "allow_duplicates" not in request.DESCRIPTOR.fields_by_name or request.allow_duplicates

    def _check_etag(
        self, call: Call, locked: Locked, etag: str, given: Message | None = None, paths: tuple[str, ...] = ()
    ) -> None:
        current = etag_of(locked.version)
        if call.if_match and call.if_match != "*":
            if current not in [part.strip().removeprefix("W/").strip('"') for part in call.if_match.split(",")]:
                raise EtagMismatch(f"the record changed; its etag is {current} now", metadata={"etag": current})
        if etag and etag.strip('"') != current:
            raise Aborted(
                f"the record changed; its etag is {current} now",
                reason="STALE_ETAG",
                metadata={"etag": current},
                details=[edit_conflict(locked.message, given, paths, current)],
            )

    def _read_mask(self, request: Any) -> tuple[tuple[str, ...], Names]:
        """Return the paths to show, and the fields to select for them; None for all."""
        paths = masks.read_paths(request.read_mask, self.RESOURCE.descriptor)
        if not paths:
            return (), None
        return paths, tuple(dict.fromkeys(["name", *(path.partition(".")[0] for path in paths)]))

    def _order(self, text: str) -> tuple[str, bool]:
        terms = ordering.parse(text)
        if not terms:
            return "", False
        if len(terms) > 1:
            raise InvalidArgument(("order_by", f"no index serves a second field, {terms[1].path}"))
        if terms[0].path not in self.RESOURCE.order_columns:
            known = ", ".join(self.RESOURCE.order_columns)
            raise InvalidArgument(("order_by", f"{terms[0].path} is not a field that can be sorted by; there are {known}"))
        return terms[0].path, terms[0].descending

    def _shown(self, tx: Transaction, call: Call, record: Any, paths: tuple[str, ...] = ()) -> Any:
        self.decorate(tx, [record])
        if record.etag:
            call.set_header("etag", f'"{record.etag}"')
        masks.prune(record, paths)
        return record


def _principal(call: Call) -> Principal:
    assert call.principal is not None, "a method that is not public has a principal"
    return call.principal


def _tenant(call: Call) -> uuid.UUID | None:
    return call.principal.tenant_id if call.principal else None


def _keys(record: Any) -> list[tuple[str, str]]:
    return [(held.system, held.key) for held in record.external_ids]
