"""The keys that sign access tokens: stored encrypted, published, rotated."""

from __future__ import annotations

import datetime as dt
import json
import logging
import threading
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import psycopg
import sqlalchemy as sa
from joserfc import jwe, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OctKey
from psycopg_pool import PoolTimeout

from kontor_identity.hashing import derive_key
from kontor_identity.keys.rules import KeyTimes, Plan, plan_rotation, signing_key, spent_keys
from kontor_identity.keys.table import signing_keys
from kontor_kit.db import Database, Statement
from kontor_kit.errors import Unavailable

logger = logging.getLogger(__name__)

ALGORITHM: Final = "ES256"
_CURVE: Final = "P-256"
_SEALING: Final = {"alg": "dir", "enc": "A256GCM"}

_LIST = Statement(
    sa.select(signing_keys.c.id, signing_keys.c.activate_time, signing_keys.c.public_key, signing_keys.c.private_key)
)
_INSERT = Statement(
    signing_keys.insert().values(
        {
            name: sa.bindparam(name, type_=signing_keys.c[name].type)
            for name in ("id", "public_key", "private_key", "activate_time")
        }
    )
)
_DROP = Statement(signing_keys.delete().where(signing_keys.c.id == sa.bindparam("id", type_=sa.Text)))
# Replicas take turns: of two that want to make the next key at the same time, the second finds it made.
_LOCK = Statement(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext("kontor_identity.signing_keys"))))


class _StoredKey(NamedTuple):
    times: KeyTimes
    public: ECKey
    sealed: str


class KeyRing:
    """The signing keys in the database, read again when they are older than `max_age` seconds.

    The last ones known stay in use while the database is away.
    """

    def __init__(
        self,
        database: Database,
        encryption_key: str,
        *,
        clock: Callable[[], dt.datetime],
        max_age: float = 15.0,
    ) -> None:
        self._database = database
        self._sealing_key = OctKey.import_key(derive_key(encryption_key, "signing keys"))
        self._clock = clock
        self._max_age = dt.timedelta(seconds=max_age)
        self._lock = threading.Lock()
        self._read_time: dt.datetime | None = None
        self._stored: list[_StoredKey] = []
        self._opened: dict[str, ECKey] = {}

    def sign(self, claims: dict[str, Any], token_type: str) -> str:
        """Return `claims` as a signed token. Raises Unavailable where there is no key."""
        now = self._clock()
        current = signing_key([key.times for key in self._current()], now)
        if current is None:
            raise Unavailable("there is no key to sign tokens with; run bootstrap", reason="NO_SIGNING_KEY")
        header = {"alg": ALGORITHM, "kid": current.key_id, "typ": token_type}
        return jwt.encode(header, claims, self._private(current.key_id), algorithms=[ALGORITHM])

    def published(self) -> dict[str, Any]:
        """Return the public keys as a JWKS document (RFC 7517): the one that signs, the next one, and those before."""
        return {
            "keys": [{**key.public.as_dict(private=False), "use": "sig", "alg": ALGORITHM} for key in self._valid()]
        }

    def find(self, key_id: str) -> Key | None:
        """Return the public key with this id, None where there is none: this makes the ring a source of keys."""
        return next((key.public for key in self._valid() if key.times.key_id == key_id), None)

    def _valid(self) -> list[_StoredKey]:
        keys = self._current()
        spent = spent_keys([key.times for key in keys], self._clock())
        return [key for key in keys if key.times.key_id not in spent]

    def _current(self) -> list[_StoredKey]:
        now = self._clock()
        with self._lock:
            if self._read_time is None or not self._stored or now - self._read_time >= self._max_age:
                self._refresh(now)
            return self._stored

    def _refresh(self, now: dt.datetime) -> None:
        try:
            with self._database.read(None) as tx:
                rows = tx.run(_LIST)
        except (psycopg.Error, PoolTimeout):
            if not self._stored:
                raise
            logger.warning("signing keys could not be read again")
        else:
            self._stored = [
                _StoredKey(KeyTimes(key_id, activate_time), ECKey.import_key(public), sealed)
                for key_id, activate_time, public, sealed in rows
            ]
        self._read_time = now

    def _private(self, key_id: str) -> ECKey:
        with self._lock:
            if key_id not in self._opened:
                sealed = next(key.sealed for key in self._stored if key.times.key_id == key_id)
                self._opened[key_id] = self._open(sealed)
            return self._opened[key_id]

    def _open(self, sealed: str) -> ECKey:
        try:
            opened = jwe.decrypt_compact(sealed, self._sealing_key, algorithms=list(_SEALING.values()))
        except JoseError as error:
            text = "the signing keys were encrypted with another KONTOR_IDENTITY_KEY_ENCRYPTION_KEY"
            raise Unavailable(text, reason="WRONG_KEY_ENCRYPTION_KEY") from error
        return ECKey.import_key(json.loads(opened.plaintext or b""))

    def rotate(self, period: dt.timedelta, *, force: bool = False) -> Plan:
        """Make the next key where one is due or `force`d, drop those that are spent, and tell what was done.

        Needs the system role.
        """
        with self._database.write(None) as tx:
            tx.defer(_LOCK)
            keys = [KeyTimes(key_id, activate_time) for key_id, activate_time, _, _ in tx.run(_LIST)]
            plan = plan_rotation(keys, self._clock(), period, force=force)
            if plan.create:
                tx.defer(_INSERT, self._new_key(plan.activate_time))
            for key_id in plan.drop:
                tx.defer(_DROP, {"id": key_id})
        return plan

    def _new_key(self, activate_time: dt.datetime) -> dict[str, Any]:
        key = ECKey.generate_key(_CURVE, auto_kid=True)
        private = json.dumps(key.as_dict(private=True))
        return {
            "id": key.kid,
            "public_key": key.as_dict(private=False),
            "private_key": jwe.encrypt_compact(
                _SEALING, private, self._sealing_key, algorithms=list(_SEALING.values())
            ),
            "activate_time": activate_time,
        }
