"""What OAuth 2.0 reads and writes: sessions, codes, refresh tokens, and the secrets of service accounts."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA

from kontor_identity.oauth import rules
from kontor_identity.oauth.table import codes, refresh_tokens, sessions
from kontor_identity.secrets.table import secrets
from kontor_identity.users.table import passwords, users
from kontor_kit.db import Database, Row, Statement, Transaction
from kontor_kit.ids import uuid7

_TENANT: Final = sa.bindparam("tenant", type_=sa.Uuid)
_NOW: Final = sa.bindparam("now", type_=sa.DateTime(timezone=True))
_DIGEST: Final = sa.bindparam("digest", type_=BYTEA)
# How exact the last use of a secret is told: more would be a write for every token.
_USE_GRAIN: Final = dt.timedelta(minutes=1)


class Session(NamedTuple):
    """Somebody who signed in with a client."""

    id: uuid.UUID
    user_id: uuid.UUID
    client_id: str
    is_open: bool
    """Whether it has neither ended nor been revoked."""


class Code(NamedTuple):
    """An authorization code that was redeemed."""

    session: Session
    redirect_uri: str
    code_challenge: str
    is_first_use: bool
    is_expired: bool


class RefreshToken(NamedTuple):
    """A refresh token that was used."""

    session: Session
    is_first_use: bool
    is_expired: bool


class HeldSecret(NamedTuple):
    """A secret of a service account, as it is stored."""

    id: uuid.UUID
    prefix: str
    digest: str
    expire_time: dt.datetime | None
    last_use_time: dt.datetime | None


class SignIn(NamedTuple):
    """What somebody who signs in is checked against."""

    user_id: uuid.UUID
    digest: str | None


def _values(table: sa.Table, *names: str) -> dict[str, sa.BindParameter[Any]]:
    return {name: sa.bindparam(name, type_=table.c[name].type) for name in names}


def _lock(table: sa.Table, *extra: str) -> Statement:
    """Lock a code or token and return it with its session; of two at a time, the second waits and finds it used."""
    is_open = sa.and_(sessions.c.revoke_time.is_(None), sessions.c.expire_time > _NOW)
    same = sa.and_(sessions.c.tenant_id == table.c.tenant_id, sessions.c.id == table.c.session_id)
    return Statement(
        sa.select(
            *(sessions.c.id, sessions.c.user_id, sessions.c.client_id, is_open),
            *(table.c[name] for name in extra),
            *(table.c.use_time.is_(None), table.c.expire_time <= _NOW),
        )
        .select_from(table.join(sessions, same))
        .where(table.c.tenant_id == _TENANT, table.c.digest == _DIGEST)
        .with_for_update(of=table)
    )


def _use(table: sa.Table) -> Statement:
    mine = sa.and_(table.c.tenant_id == _TENANT, table.c.digest == _DIGEST, table.c.use_time.is_(None))
    return Statement(table.update().where(mine).values(use_time=_NOW))


_FIND_TENANT: Final = Statement(sa.select(sa.func.find_tenant(sa.bindparam("slug", type_=sa.Text))))
_FIND_CLIENT: Final = Statement(sa.select(sa.func.find_service_account(sa.bindparam("id", type_=sa.Uuid))))
_FIND_SIGN_IN: Final = Statement(
    sa.select(users.c.id, passwords.c.digest)
    .select_from(
        users.outerjoin(
            passwords, sa.and_(passwords.c.tenant_id == users.c.tenant_id, passwords.c.user_id == users.c.id)
        )
    )
    .where(
        users.c.tenant_id == _TENANT,
        users.c.email == sa.bindparam("email", type_=sa.Text),
        users.c.delete_time.is_(None),
    )
)
_INSERT_SESSION: Final = Statement(
    sessions.insert().values(_values(sessions, "tenant_id", "id", "user_id", "client_id", "create_time", "expire_time"))
)
_INSERT_CODE: Final = Statement(
    codes.insert().values(
        _values(codes, "tenant_id", "digest", "session_id", "redirect_uri", "code_challenge", "expire_time")
    )
)
_INSERT_REFRESH_TOKEN: Final = Statement(
    refresh_tokens.insert().values(_values(refresh_tokens, "tenant_id", "digest", "session_id", "expire_time"))
)
_LOCK_CODE: Final = _lock(codes, "redirect_uri", "code_challenge")
_USE_CODE: Final = _use(codes)
_LOCK_REFRESH_TOKEN: Final = _lock(refresh_tokens)
_USE_REFRESH_TOKEN: Final = _use(refresh_tokens)
_FIND_REFRESH_TOKEN: Final = Statement(
    sa.select(sessions.c.id, sessions.c.user_id, sessions.c.client_id, sessions.c.revoke_time.is_(None))
    .select_from(
        refresh_tokens.join(
            sessions,
            sa.and_(sessions.c.tenant_id == refresh_tokens.c.tenant_id, sessions.c.id == refresh_tokens.c.session_id),
        )
    )
    .where(
        refresh_tokens.c.tenant_id == _TENANT,
        refresh_tokens.c.digest == _DIGEST,
    )
)
_REVOKE: Final = (
    sessions.update().where(sessions.c.tenant_id == _TENANT, sessions.c.revoke_time.is_(None)).values(revoke_time=_NOW)
)
_REVOKE_SESSION: Final = Statement(_REVOKE.where(sessions.c.id == sa.bindparam("id", type_=sa.Uuid)))
_LIST_SECRETS: Final = Statement(
    sa.select(secrets.c.id, secrets.c.prefix, secrets.c.digest, secrets.c.expire_time, secrets.c.last_use_time).where(
        secrets.c.tenant_id == _TENANT, secrets.c.service_account == sa.bindparam("service_account", type_=sa.Uuid)
    )
)
_USE_SECRET: Final = Statement(
    secrets.update()
    .where(secrets.c.tenant_id == _TENANT, secrets.c.id == sa.bindparam("key_id", type_=sa.Uuid))
    .values(last_use_time=_NOW)
)


def find_tenant(database: Database, slug: str) -> uuid.UUID | None:
    """Return the live tenant with this short name, whatever its state; None where there is none."""
    with database.read(None) as tx:
        found: uuid.UUID | None = tx.run(_FIND_TENANT, {"slug": slug})[0][0]
        return found


def find_tenant_of_client(database: Database, service_account: uuid.UUID) -> uuid.UUID | None:
    """Return the tenant of a live service account; None where there is none."""
    with database.read(None) as tx:
        found: uuid.UUID | None = tx.run(_FIND_CLIENT, {"id": service_account})[0][0]
        return found


def find_sign_in(database: Database, tenant_id: uuid.UUID, email: str) -> SignIn | None:
    """Return what the user with this e-mail address signs in with; None where there is no such user."""
    with database.read(tenant_id) as tx:
        rows = tx.run(_FIND_SIGN_IN, {"tenant": tenant_id, "email": email})
    return SignIn(*rows[0]) if rows else None


class OAuthStore:
    """The rows of one tenant, in one transaction, at one time."""

    def __init__(self, tx: Transaction, tenant_id: uuid.UUID, now: dt.datetime) -> None:
        self.tx = tx
        self.tenant_id = tenant_id
        self.now = now

    def open_session(self, user_id: uuid.UUID, client_id: str) -> Session:
        """Queue a new session."""
        session = Session(uuid7(), user_id, client_id, is_open=True)
        self.tx.defer(
            _INSERT_SESSION,
            {
                "tenant_id": self.tenant_id,
                "id": session.id,
                "user_id": user_id,
                "client_id": client_id,
                "create_time": self.now,
                "expire_time": self.now + rules.SESSION,
            },
        )
        return session

    def add_code(self, session: Session, code: str, redirect_uri: str, code_challenge: str) -> None:
        """Queue an authorization code of a session."""
        self.tx.defer(
            _INSERT_CODE,
            {
                "tenant_id": self.tenant_id,
                "digest": rules.digest(code),
                "session_id": session.id,
                "redirect_uri": redirect_uri,
                "code_challenge": code_challenge,
                "expire_time": self.now + rules.CODE,
            },
        )

    def redeem_code(self, code: str) -> Code | None:
        """Use a code up and return it; None where there is none."""
        rows = self._redeem(code, _LOCK_CODE, _USE_CODE)
        return Code(Session(*rows[0][:4]), *rows[0][4:]) if rows else None

    def add_refresh_token(self, session: Session, token: str) -> None:
        """Queue a refresh token of a session."""
        self.tx.defer(
            _INSERT_REFRESH_TOKEN,
            {
                "tenant_id": self.tenant_id,
                "digest": rules.digest(token),
                "session_id": session.id,
                "expire_time": self.now + rules.REFRESH_TOKEN,
            },
        )

    def redeem_refresh_token(self, token: str) -> RefreshToken | None:
        """Use a refresh token up and return it; None where there is none."""
        rows = self._redeem(token, _LOCK_REFRESH_TOKEN, _USE_REFRESH_TOKEN)
        return RefreshToken(Session(*rows[0][:4]), *rows[0][4:]) if rows else None

    def find_session_of(self, token: str) -> Session | None:
        """Return the session of a refresh token, used or not; None where there is none."""
        rows = self.tx.run(_FIND_REFRESH_TOKEN, {"tenant": self.tenant_id, "digest": rules.digest(token)})
        return Session(*rows[0]) if rows else None

    def revoke(self, session: Session) -> None:
        """Queue the end of a session and of all that came of it."""
        self.tx.defer(_REVOKE_SESSION, {"tenant": self.tenant_id, "id": session.id, "now": self.now})

    def list_secrets(self, service_account: uuid.UUID) -> list[HeldSecret]:
        """Return the secrets of a service account, those that ended too."""
        rows = self.tx.run(_LIST_SECRETS, {"tenant": self.tenant_id, "service_account": service_account})
        return [HeldSecret(*row) for row in rows]

    def note_use(self, secret: HeldSecret) -> None:
        """Queue the time of a secret's last use, unless that is less than a minute ago."""
        if secret.last_use_time is None or self.now - secret.last_use_time >= _USE_GRAIN:
            self.tx.defer(_USE_SECRET, {"tenant": self.tenant_id, "key_id": secret.id, "now": self.now})

    def _redeem(self, opaque: str, lock: Statement, use: Statement) -> list[Row]:
        key = {"tenant": self.tenant_id, "digest": rules.digest(opaque), "now": self.now}
        rows = self.tx.run(lock, key)
        self.tx.defer(use, key)
        return rows
