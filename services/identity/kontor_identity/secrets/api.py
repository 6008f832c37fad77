"""The gRPC service of the secrets of service accounts."""

import datetime as dt
import re
import uuid
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from google.protobuf import empty_pb2

from kontor.identity.v1 import secret_pb2, secret_service_pb2
from kontor_identity.hashing import Hasher
from kontor_identity.membership import require_outranked
from kontor_identity.scopes import SubjectScope
from kontor_identity.secrets import rules
from kontor_identity.secrets.table import secrets
from kontor_identity.service_accounts.table import service_accounts
from kontor_kit.calls import Behavior, Call, MethodSpec
from kontor_kit.db import Row, Statement, Transaction
from kontor_kit.errors import FailedPrecondition, NotFound, PermissionDenied
from kontor_kit.ids import parse_name, uuid7
from kontor_kit.principals import Scope
from kontor_kit.records import principal_of
from kontor_kit.scopes import parameters
from kontor_kit.shared import Shared

_PARENT = "serviceAccounts/{service_account}"
_READ = "identity.secrets.read"
_TENANT = sa.bindparam("tenant", type_=sa.Uuid)
_ACCOUNT = sa.bindparam("service_account", type_=sa.Uuid)
_SHOWN = ("id", "prefix", "expire_time", "create_time", "last_use_time")


class _Parent(NamedTuple):
    """A service account that the caller reaches, locked where something is written."""

    name: str
    id: uuid.UUID
    roles: Sequence[str]
    is_live: bool


def _find_parent(scope: Scope, *, lock: bool) -> Statement:
    table = service_accounts
    condition = SubjectScope().clause(scope, table)
    statement = sa.select(table.c.roles, table.c.delete_time.is_(None)).where(
        table.c.tenant_id == _TENANT, table.c.id == _ACCOUNT, sa.true() if condition is None else condition
    )
    return Statement(statement.with_for_update() if lock else statement)


_FIND_PARENT = {(scope, lock): _find_parent(scope, lock=lock) for scope in Scope for lock in (False, True)}
_LIST = Statement(
    sa.select(*(secrets.c[name] for name in _SHOWN))
    .where(secrets.c.tenant_id == _TENANT, secrets.c.service_account == _ACCOUNT)
    .order_by(secrets.c.id.desc())
)
_DIGESTS = Statement(
    sa.select(secrets.c.digest, secrets.c.expire_time).where(
        secrets.c.tenant_id == _TENANT, secrets.c.service_account == _ACCOUNT
    )
)
_COLUMNS = ("tenant_id", "id", "service_account", "prefix", "digest", "expire_time", "create_time")
_INSERT = Statement(
    secrets.insert().values({name: sa.bindparam(name, type_=secrets.c[name].type) for name in _COLUMNS})
)
_MINE = (secrets.c.tenant_id == _TENANT, secrets.c.id == sa.bindparam("key_id", type_=sa.Uuid))
_DELETE = Statement(secrets.delete().where(*_MINE))
_END = Statement(
    secrets.update().where(*_MINE).values(expire_time=sa.bindparam("end", type_=secrets.c.expire_time.type))
)


class Secrets:
    """Serves secrets.

    They are no resource like others: their values are shown once, so that answers are not kept for repeated requests,
    and they are deleted for good. Whoever may do less than the service account must not make one.
    """

    SERVICE = secret_service_pb2.DESCRIPTOR.services_by_name["SecretService"]

    def __init__(self, shared: Shared, hasher: Hasher, clock: Callable[[], dt.datetime]) -> None:
        self._shared = shared
        self._hasher = hasher
        self._clock = clock

    def handler(self, method: str) -> Behavior | None:
        """Return what serves the RPC of this name; None where nothing does."""
        serve = getattr(self, re.sub(r"(?<=[a-z])(?=[A-Z])", "_", method).lower(), None)
        if serve is None:
            return None
        database = self._shared.database
        begin = database.read if MethodSpec.of(self.SERVICE.methods_by_name[method]).is_read else database.write

        def run(request: Any, call: Call) -> Any:
            with begin(principal_of(call).tenant_id) as tx:
                return serve(request, call, tx)

        return run

    def get_secret(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Return a secret without its value."""
        return self._find(tx, call, request.name, lock=False)[1]

    def list_secrets(self, request: Any, call: Call, tx: Transaction) -> Any:
        """List the secrets of a service account."""
        parent = self._parent(tx, call, request.parent, "parent", lock=False)
        return secret_service_pb2.ListSecretsResponse(secrets=self._list(tx, parent))

    def create_secret(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Make one more secret."""
        now = self._clock()
        expire_time = request.secret.expire_time.ToDatetime(dt.UTC) if request.secret.HasField("expire_time") else None
        rules.check_expiry(expire_time, now)
        parent = self._parent(tx, call, request.parent, "parent", lock=True)
        self._make_room(tx, call, parent, now)
        return self._new(tx, call, parent, now, expire_time)

    def rotate_secrets(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Make a secret, and let the others end after the overlap."""
        now = self._clock()
        overlap = request.overlap.ToTimedelta() if request.HasField("overlap") else rules.DEFAULT_OVERLAP
        parent = self._parent(tx, call, request.parent, "parent", lock=True)
        self._end_others(tx, call, parent, now, overlap)
        self._make_room(tx, call, parent, now)
        return self._new(tx, call, parent, now, None)

    def settle(self, tx: Transaction, call: Call, parent: str, value: str) -> None:
        """Make `value` a secret of a service account, unless it is one; others end after the overlap."""
        rules.check_given(value)
        now = self._clock()
        found = self._parent(tx, call, parent, "parent", lock=True)
        stored = tx.run(_DIGESTS, {"tenant": tx.tenant_id, "service_account": found.id})
        if any(rules.is_valid(end, now) and self._hasher.matches(value, digest) for digest, end in stored):
            return
        self._end_others(tx, call, found, now, rules.DEFAULT_OVERLAP)
        self._new(tx, call, found, now, None, value=value)

    def delete_secret(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Make a secret invalid for good."""
        _, secret = self._find(tx, call, request.name, lock=True)
        self._delete(tx, call, secret)
        return empty_pb2.Empty()

    def _delete(self, tx: Transaction, call: Call, secret: Any) -> None:
        tx.defer(_DELETE, {"tenant": tx.tenant_id, "key_id": _id(secret)})
        self._record(tx, call, "deleted", secret)

    def _make_room(self, tx: Transaction, call: Call, parent: _Parent, now: dt.datetime) -> None:
        """Delete what ended first where there is no place for one more.

        Raises FailedPrecondition where all of them are valid.
        """
        held = self._list(tx, parent)
        rules.check_room(map(_expiry, held), now)
        ended = [secret for secret in held if not rules.is_valid(_expiry(secret), now)]
        ended.sort(key=lambda secret: secret.expire_time.ToNanoseconds())
        for secret in ended[: max(0, len(held) + 1 - rules.MAX_SECRETS)]:
            self._delete(tx, call, secret)

    def _end_others(
        self, tx: Transaction, call: Call, parent: _Parent, now: dt.datetime, overlap: dt.timedelta
    ) -> None:
        for secret in self._list(tx, parent):
            end = rules.ending(_expiry(secret), now, overlap)
            if end != _expiry(secret):
                tx.defer(_END, {"tenant": tx.tenant_id, "key_id": _id(secret), "end": end})
                self._record(tx, call, "expired", secret)

    def _new(
        self,
        tx: Transaction,
        call: Call,
        parent: _Parent,
        now: dt.datetime,
        expire_time: dt.datetime | None,
        *,
        value: str = "",
    ) -> Any:
        if not parent.is_live:
            raise FailedPrecondition(f"{parent.name} is deleted; undelete it first", reason="DELETED")
        value, identifier = value or rules.new_secret(), uuid7()
        tx.defer(
            _INSERT,
            {
                "tenant_id": tx.tenant_id,
                "id": identifier,
                "service_account": parent.id,
                "prefix": rules.prefix_of(value),
                "digest": self._hasher.hash(value),
                "expire_time": expire_time,
                "create_time": now,
            },
        )
        secret = _message(parent.name, (identifier, rules.prefix_of(value), expire_time, now, None))
        self._record(tx, call, "created", secret)
        secret.value = value
        return secret

    def _find(self, tx: Transaction, call: Call, name: str, *, lock: bool) -> tuple[_Parent, Any]:
        parent_name, _, own = name.partition("/secrets/")
        identifier = parse_name(f"secrets/{own}", "secrets/{secret}", "name")
        parent = self._parent(tx, call, parent_name, "name", lock=lock)
        for secret in self._list(tx, parent):
            if _id(secret) == identifier:
                return parent, secret
        raise _not_found(name)

    def _parent(self, tx: Transaction, call: Call, name: str, field: str, *, lock: bool) -> _Parent:
        """Return the service account that a secret belongs to.

        Raises NotFound where the caller may not see its secrets, PermissionDenied where the caller may only see them.
        """
        identifier = parse_name(name, _PARENT, field)
        principal = principal_of(call)
        assert call.scope is not None
        sees = principal.scope(_READ) or call.scope
        given = {**parameters(principal), "service_account": identifier}
        rows = tx.run(_FIND_PARENT[sees, lock], given)
        if not rows:
            raise _not_found(name)
        if call.scope < sees and not tx.run(_FIND_PARENT[call.scope, lock], given):
            raise PermissionDenied(
                f"your permission {call.method.permission} does not reach {name}",
                reason="OUT_OF_SCOPE",
                metadata={"permission": call.method.permission},
            )
        parent = _Parent(name, identifier, [f"roles/{role}" for role in rows[0][0] or ()], rows[0][1])
        if lock and name != principal_of(call).subject:
            require_outranked(tx, call, parent)
        return parent

    @staticmethod
    def _list(tx: Transaction, parent: _Parent) -> list[Any]:
        rows = tx.run(_LIST, {"tenant": tx.tenant_id, "service_account": parent.id})
        return [_message(parent.name, row) for row in rows]

    def _record(self, tx: Transaction, call: Call, event: str, secret: Any) -> None:
        self._shared.changes.record(
            tx, call, f"kontor.identity.v1.secret.{event}", before=None, after=secret, version=1
        )


def _message(parent: str, row: Row) -> Any:
    values = dict(zip(_SHOWN, row, strict=True))
    secret = secret_pb2.Secret(name=f"{parent}/secrets/{values.pop('id')}")
    for name, value in values.items():
        if isinstance(value, dt.datetime):
            getattr(secret, name).FromDatetime(value)
        elif value is not None:
            setattr(secret, name, value)
    return secret


def _id(secret: Any) -> uuid.UUID:
    return uuid.UUID(secret.name.rpartition("/")[2])


def _expiry(secret: Any) -> dt.datetime | None:
    moment: dt.datetime | None = secret.expire_time.ToDatetime(dt.UTC) if secret.HasField("expire_time") else None
    return moment


def _not_found(name: str) -> NotFound:
    return NotFound(f"there is no {name}", metadata={"resource": name})
