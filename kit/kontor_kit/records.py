"""Records of one resource as a request treats them: seen as far as the caller may, checked, changed, written down.

`new` and `save` are the only ways to store a record. They write its row, its terms, its external ids and its change
together, in the transaction of the request.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any, ClassVar

import psycopg.errors
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from kontor_kit import masks
from kontor_kit.calls import Call, MethodSpec
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
from kontor_kit.ids import format_name, parse_name, uuid7
from kontor_kit.principals import Principal, Scope
from kontor_kit.resource import Resource
from kontor_kit.shared import Shared
from kontor_kit.store import Locked, Reach, Store, etag_of, is_live
from kontor_kit.terms import Term, encode
from kontor_kit.tracing import Trace

SUSPECTS = 10
"""So many records that look like a new one are told."""


class Records:
    """The records of one resource."""

    SERVICE: ClassVar[ServiceDescriptor]
    RESOURCE: ClassVar[Resource]

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.store = Store(self.RESOURCE)
        permissions = {method.name: MethodSpec.of(method).permission for method in self.SERVICE.methods}
        self._read_permission = permissions.get(f"Get{self.RESOURCE.kind}", "")
        self.create_permission = permissions.get(f"Create{self.RESOURCE.kind}", "")

    # What a slice may override.

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Normalise a record that is to be stored, in place, and check it; paths in violations begin in the record."""

    def predecessor(self, tx: Transaction, call: Call, record: Any) -> Any | None:
        """Return the record that a new one goes on for, whose custom fields it may have as they are; None for none."""
        return None

    def default_owner(self, call: Call, record: Any) -> str:
        """Return who owns a new record that does not say it: the user who calls, nobody where it is another program."""
        subject = principal_of(call).subject
        return subject if subject.startswith("users/") else ""

    def match_terms(self, record: Any) -> set[Term]:
        """Return the terms by which a record is suspected to be another one; see `term`."""
        return set()

    def decorate(self, tx: Transaction, records: Sequence[Any]) -> None:
        """Fill output-only fields that are not stored with the record."""

    def term(self, field: str, value: str) -> Term:
        """Return the term of a field; a name that is no field of the contract makes one for look-ups only."""
        return Term(self.RESOURCE.filter_fields.term_field(field), encode(value))

    # For standard and custom methods.

    def new(
        self,
        tx: Transaction,
        call: Call,
        record: Any,
        allow_duplicates: bool = True,
        scope: Scope | None = None,
        *,
        id: uuid.UUID | None = None,
    ) -> Any:
        """Check a new record, store it and return it; `record` is changed. Paths in violations begin in it.

        It gets a new `id`, unless something that belongs to it was stored under one before.
        """
        principal = principal_of(call)
        record.ClearField("name")
        if self.RESOURCE.has_owner and not record.owner:
            record.owner = self.default_owner(call, record)
        self._prepare(tx, call, None, record)
        self.RESOURCE.scope.check(principal, scope or self.scope(call), record)
        match_terms = self.match_terms(record)
        if not allow_duplicates:
            self._refuse_suspects(tx, call, match_terms)
        terms = self._field_terms(tx, record) | match_terms
        now, id = dt.datetime.now(dt.UTC), id or uuid7()
        values = {**self.RESOURCE.codec.dump(record, ""), **self.RESOURCE.derived(record)}
        record.name = format_name(self.RESOURCE.collection, id)
        record.etag = etag_of(1)
        record.create_time = record.update_time = now
        self.store.insert(tx, id, values, now)
        if terms:
            self.store.add_terms(tx, id, terms)
        if self.RESOURCE.has_external_ids and record.external_ids:
            self.store.replace_external_ids(tx, id, _keys(record), new=True)
        self.record(tx, call, "created", before=None, after=record, version=1)
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
        if self.RESOURCE.has_owner and (after.owner != before.owner or after.team != before.team):
            self.RESOURCE.scope.check(principal_of(call), self.scope(call), after)
        return self.put(tx, call, locked, after, event)

    def put(self, tx: Transaction, call: Call, locked: Locked, after: Any, event: str) -> Any:
        """Store a changed record unchecked, and return it: where what changed is certain, as when it loses its owner.

        Records were stored under the rules of their day; what the service does with them must not fail by later ones.
        """
        before = locked.message
        self._write(tx, locked, after, self._changed(tx, locked, after))
        if self.RESOURCE.has_external_ids and _keys(before) != _keys(after):
            self.store.replace_external_ids(tx, locked.id, _keys(after), new=False)
        self.record(tx, call, event, before=before, after=after, version=locked.version + 1)
        return after

    def _changed(self, tx: Transaction, locked: Locked, after: Any) -> dict[str, Any]:
        """Return the values of the columns that change, and queue the terms that do."""
        before, codec = locked.message, self.RESOURCE.codec
        stored = {**codec.dump(before, ""), **self.RESOURCE.derived(before)}
        values = {**codec.dump(after, ""), **self.RESOURCE.derived(after)}
        old, new = (self._field_terms(tx, record) | self.match_terms(record) for record in (before, after))
        self.store.remove_terms(tx, locked.id, old - new)
        self.store.add_terms(tx, locked.id, new - old)
        return {name: value for name, value in values.items() if stored[name] != value}

    def note(self, tx: Transaction, call: Call, locked: Locked, event: str) -> Any:
        """Write down that something happened to a record which changed none of its fields; return it."""
        after = type(locked.message)()
        after.CopyFrom(locked.message)
        self._write(tx, locked, after, {})
        self.record(tx, call, event, before=locked.message, after=after, version=locked.version + 1)
        return after

    def _mark(self, tx: Transaction, call: Call, locked: Locked, *, deleted: bool) -> Any:
        after = type(locked.message)()
        after.CopyFrom(locked.message)
        changed: dict[str, Any] = {}
        if deleted:
            after.delete_time = dt.datetime.now(dt.UTC)
        else:
            after.ClearField("delete_time")
            self._prepare(tx, call, locked.message, after)
            # The rules of today may say more of it than those by which it was stored.
            changed = self._changed(tx, locked, after)
        moment = after.delete_time.ToDatetime(dt.UTC) if deleted else None
        self._write(tx, locked, after, {**changed, "delete_time": moment})
        if self.RESOURCE.has_external_ids:
            # Unique among live records only: the record itself remembers them until it comes back.
            self.store.replace_external_ids(tx, locked.id, [] if deleted else _keys(after), new=False)
        event = "deleted" if deleted else "undeleted"
        self.record(tx, call, event, before=locked.message, after=after, version=locked.version + 1)
        return after

    def _write(self, tx: Transaction, locked: Locked, after: Any, changed: dict[str, Any]) -> None:
        now = dt.datetime.now(dt.UTC)
        after.etag = etag_of(locked.version + 1)
        after.update_time = now
        self.store.update(tx, locked.id, {**changed, "version": locked.version + 1, "update_time": now})

    def record(
        self, tx: Transaction, call: Call, event: str, *, before: Message | None, after: Message, version: int
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
            raise out_of_scope(call, name)
        if live and not is_live(locked.message):
            raise FailedPrecondition(f"{name} is deleted; undelete it first", reason="DELETED")
        return locked

    def own_call(self, tx: Transaction, trace: Trace) -> Call:
        """Return a call of the service itself, which may change every record of the transaction's tenant."""
        assert tx.tenant_id is not None, "a record belongs to a tenant"
        principal = Principal.of_service(self.SERVICE.full_name.split(".")[1], tx.tenant_id)
        # It stands for any method of this service: records that nobody can update have others.
        method = self.SERVICE.methods_by_name.get(f"Update{self.RESOURCE.kind}") or self.SERVICE.methods[0]
        return Call(MethodSpec.of(method), trace, principal=principal, scope=Scope.ALL)

    def reach(self, call: Call) -> Reach:
        """Return what the caller may see: what the permission to read reaches, or without it the method's own."""
        principal = principal_of(call)
        return Reach(principal, self.read_scope(principal) or self.scope(call))

    def read_scope(self, principal: Principal) -> Scope | None:
        """Return how far the permission to read records of this resource reaches; None where there is none."""
        return principal.scope(self._read_permission) if self._read_permission else None

    def require_readable(self, tx: Transaction, call: Call, name: str, field: str) -> None:
        """Raise NotFound where the caller may not read the record `name`, or PermissionDenied where none at all."""
        id = parse_name(name, self.RESOURCE.pattern, field)
        scope = self.scope(call, self._read_permission)
        if self.store.get_one(tx, Reach(principal_of(call), scope), id, ("name",)) is None:
            raise self.not_found(name)

    def scope(self, call: Call, permission: str = "") -> Scope:
        """Return how far the method's permission reaches, or another one; raises PermissionDenied without it."""
        scope = principal_of(call).scope(permission) if permission else call.scope
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
        self.shared.references.check(call, after, before)
        if self.RESOURCE.has_custom_fields and (before is None or before.custom_fields != after.custom_fields):
            known = self.predecessor(tx, call, after) if before is None else before
            self.shared.definitions.check(tx, self.RESOURCE.collection, known, after)
        self.prepare(tx, call, before, after)

    def referred(self, tx: Transaction, call: Call, store: Store, name: str, field: str) -> Any:
        """Return the live record of this service that a field refers to.

        Raises InvalidArgument for `field` where there is none that the caller may see; NotFound where that is `name`,
        which says what the method is about.
        """
        other = store.resource
        id = parse_name(name, other.pattern, field)
        principal = principal_of(call)
        scope = principal.scope(f"{other.descriptor.file.package.split('.')[1]}.{other.collection}.read")
        record = store.get_one(tx, Reach(principal, scope), id) if scope is not None else None
        if record is None or not is_live(record):
            if field == "name":
                raise self.not_found(name)
            raise InvalidArgument((field, f"there is no {name}"))
        return record

    def _field_terms(self, tx: Transaction, record: Any) -> set[Term]:
        terms = self.RESOURCE.terms(record)
        if self.RESOURCE.has_custom_fields and record.HasField("custom_fields"):
            prefix = self.RESOURCE.filter_fields.term_field("custom_fields")
            terms |= self.shared.definitions.terms(tx, self.RESOURCE.collection, record, prefix)
        return terms

    def _refuse_suspects(self, tx: Transaction, call: Call, wanted: set[Term]) -> None:
        if not wanted:
            return
        matches: dict[uuid.UUID, set[str]] = {}
        for id, field in self.store.find_by_terms(tx, wanted, SUSPECTS * 5):
            matches.setdefault(id, set()).add(field.rpartition(".")[2])
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

    def check_etag(
        self, call: Call, locked: Locked, etag: str, given: Message | None = None, paths: tuple[str, ...] = ()
    ) -> None:
        """Raise EtagMismatch where `If-Match` names another version, Aborted where the etag in the request does."""
        current = etag_of(locked.version)
        wanted = [part.strip().removeprefix("W/").strip('"') for part in call.if_match.split(",")]
        if call.if_match and "*" not in wanted and current not in wanted:
            raise EtagMismatch(f"the record changed; its etag is {current} now", metadata={"etag": current})
        if etag and etag.strip('"') != current:
            raise Aborted(
                f"the record changed; its etag is {current} now",
                reason="STALE_ETAG",
                metadata={"etag": current},
                details=[edit_conflict(locked.message, given, paths, current)],
            )

    def shown(self, tx: Transaction, call: Call, record: Any, paths: tuple[str, ...] = ()) -> Any:
        """Return a record as the caller is to see it: decorated, with its etag in a header, pruned to `paths`."""
        self.decorate(tx, [record])
        self.tell_etag(call, record)
        masks.prune(record, paths)
        return record

    @staticmethod
    def tell_etag(call: Call, record: Any) -> None:
        """Send the etag of the record that is answered with in a header."""
        if etag := getattr(record, "etag", ""):
            call.set_header("etag", f'"{etag}"')

    def conflict(self, error: psycopg.errors.UniqueViolation) -> KontorError:
        """Return the error that callers see where a unique index was violated; raises it where nobody foresaw it."""
        index = error.diag.constraint_name or ""
        if index.startswith("external_ids"):
            return AlreadyExists("one of the external ids belongs to another record", reason="EXTERNAL_ID_TAKEN")
        if index in self.RESOURCE.conflicts:
            return AlreadyExists(self.RESOURCE.conflicts[index])
        raise error


def out_of_scope(call: Call, name: str) -> PermissionDenied:
    """Return the refusal to change a record that the caller may see."""
    permission = call.method.permission
    return PermissionDenied(
        f"your permission {permission} does not reach {name}",
        reason="OUT_OF_SCOPE",
        metadata={"permission": permission},
    )


def principal_of(call: Call) -> Principal:
    """Return the caller; only for methods that are not public."""
    assert call.principal is not None, "a method that is not public has a principal"
    return call.principal


def tenant_of(call: Call) -> uuid.UUID | None:
    """Return the tenant of the caller; None for a public method."""
    return call.principal.tenant_id if call.principal else None


def _keys(record: Any) -> list[tuple[str, str]]:
    return [(held.system, held.key) for held in record.external_ids]
