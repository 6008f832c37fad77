"""The gRPC service of users."""

import datetime as dt
import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from kontor.identity.v1 import user_pb2, user_service_pb2
from kontor_identity.hashing import Hasher
from kontor_identity.membership import check_membership, require_outranked
from kontor_identity.oauth.table import sessions
from kontor_identity.scopes import SubjectScope
from kontor_identity.users import rules
from kontor_identity.users.table import passwords, users
from kontor_kit.calls import Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import InvalidArgument, PermissionDenied
from kontor_kit.ids import parse_name
from kontor_kit.methods import ResourceServicer
from kontor_kit.principals import Scope
from kontor_kit.records import principal_of
from kontor_kit.resource import STANDARD_EVENTS, Resource
from kontor_kit.shared import Shared
from kontor_kit.store import Locked, is_live

_TENANT = sa.bindparam("tenant", type_=sa.Uuid)
_USER = sa.bindparam("user", type_=sa.Uuid)
_NOW = sa.bindparam("now", type_=sa.DateTime(timezone=True))
_FIND_PASSWORD = Statement(
    sa.select(passwords.c.digest).where(passwords.c.tenant_id == _TENANT, passwords.c.user_id == _USER)
)
_SET_PASSWORD = Statement(
    insert(passwords)
    .values(tenant_id=_TENANT, user_id=_USER, digest=sa.bindparam("digest", type_=sa.Text), update_time=_NOW)
    .on_conflict_do_update(
        index_elements=["tenant_id", "user_id"],
        set_={"digest": sa.bindparam("digest", type_=sa.Text), "update_time": _NOW},
    )
)
_END_SESSIONS = Statement(
    sessions.update()
    .where(sessions.c.tenant_id == _TENANT, sessions.c.user_id == _USER, sessions.c.revoke_time.is_(None))
    .values(revoke_time=_NOW)
)


class Users(ResourceServicer):
    """Serves users."""

    SERVICE = user_service_pb2.DESCRIPTOR.services_by_name["UserService"]
    RESOURCE = Resource(
        user_pb2.User,
        users,
        scope=SubjectScope(),
        conflicts={"users_email": "there is a user with this e-mail address already"},
        events=(*STANDARD_EVENTS, "deactivated", "reactivated", "password_set"),
    )

    def __init__(self, shared: Shared, hasher: Hasher) -> None:
        super().__init__(shared)
        self._hasher = hasher

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring e-mail address, language and time zone into form; check roles and teams."""
        after.email = rules.normal_email(after.email, "email")
        rules.normalise_locale(after)
        if before is None:
            after.state = rules.State.ACTIVE
        elif call.scope is not Scope.ALL and before.email != after.email:
            raise PermissionDenied("your permission does not reach the e-mail address", reason="OUT_OF_SCOPE")
        check_membership(tx, call, before, after)

    def lock(self, tx: Transaction, call: Call, name: str, field: str = "name", *, live: bool = True) -> Locked:
        """Lock a user whom the caller may change: oneself, or somebody who may do no more than the caller."""
        locked = super().lock(tx, call, name, field, live=live)
        if name != principal_of(call).subject:
            require_outranked(tx, call, locked.message)
        return locked

    def delete(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Delete a user, who is shut out first: whoever waits for that to hand over work need not know of deletions."""
        locked = self.lock(tx, call, request.name, live=False)
        if not is_live(locked.message):
            raise self.not_found(request.name)
        self.check_etag(call, locked, request.etag)
        if locked.message.state == rules.State.ACTIVE:
            after: Any = user_pb2.User()
            after.CopyFrom(locked.message)
            after.state = rules.State.DEACTIVATED
            self.put(tx, call, locked, after, "deactivated")
            locked = self.lock(tx, call, request.name)
        self._end_sessions(tx, locked.id)
        return self.shown(tx, call, self._mark(tx, call, locked, deleted=True))

    def deactivate_user(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Shut a user out, and end what the user is signed in with."""
        user = self._change_state(request, call, tx, rules.deactivate)
        self._end_sessions(tx, parse_name(user.name, self.RESOURCE.pattern, "name"))
        return user

    def reactivate_user(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Let a user in again."""
        return self._change_state(request, call, tx, rules.reactivate)

    def _change_state(self, request: Any, call: Call, tx: Transaction, rule: rules.Transition) -> Any:
        locked = self.lock(tx, call, request.name)
        self.check_etag(call, locked, request.etag)
        after: Any = user_pb2.User()
        after.CopyFrom(locked.message)
        after.state = rule(rules.State(after.state))
        event = "deactivated" if after.state == rules.State.DEACTIVATED else "reactivated"
        return self.shown(tx, call, self.save(tx, call, locked, after, event))

    def set_user_password(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Set a password and end all sessions. Who sets the own one proves the current one, where there is one."""
        locked = self.lock(tx, call, request.name)
        if request.name == principal_of(call).subject:
            stored = tx.run(_FIND_PASSWORD, {"tenant": tx.tenant_id, "user": locked.id})
            if stored and not self._hasher.matches(request.current_password, stored[0][0]):
                raise InvalidArgument(("current_password", "is not the current password"))
        self.give_password(tx, locked.message, request.password, "password")
        self._end_sessions(tx, locked.id)
        return self.shown(tx, call, self.note(tx, call, locked, "password_set"))

    def give_password(self, tx: Transaction, user: Any, password: str, field: str) -> None:
        """Queue a user's password. Raises InvalidArgument for `field` where it is too weak."""
        rules.check_password(password, email=user.email, display_name=user.display_name, field=field)
        identifier = parse_name(user.name, self.RESOURCE.pattern, "name")
        parameters = {"tenant": tx.tenant_id, "user": identifier, "now": dt.datetime.now(dt.UTC)}
        tx.defer(_SET_PASSWORD, {**parameters, "digest": self._hasher.hash(password)})

    def _end_sessions(self, tx: Transaction, user: uuid.UUID) -> None:
        tx.defer(_END_SESSIONS, {"tenant": tx.tenant_id, "user": user, "now": dt.datetime.now(dt.UTC)})
