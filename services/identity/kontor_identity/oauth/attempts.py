"""Limits on guessing: failures are counted by account and by address, in the database, for all replicas together."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, insert

from kontor_identity.oauth.rules import WINDOW
from kontor_identity.oauth.table import attempts
from kontor_kit.db import Database, Statement

_KEYS: Final = sa.bindparam("keys", type_=ARRAY(BYTEA))
_NOW: Final = sa.bindparam("now", type_=attempts.c.end_time.type)
_END: Final = sa.bindparam("end", type_=attempts.c.end_time.type)


def _count() -> Statement:
    """Add one failure to each key, from one where the key's window has ended."""
    key = sa.func.unnest(_KEYS).column_valued("key")
    rows = insert(attempts).from_select(["key", "failures", "end_time"], sa.select(key, sa.literal(1), _END))
    is_over = attempts.c.end_time <= _NOW
    return Statement(
        rows.on_conflict_do_update(
            index_elements=["key"],
            set_={
                "failures": sa.case((is_over, 1), else_=attempts.c.failures + 1),
                "end_time": sa.case((is_over, rows.excluded.end_time), else_=attempts.c.end_time),
            },
        ).returning(attempts.c.key, attempts.c.failures, attempts.c.end_time)
    )


_COUNT: Final = _count()
_FORGIVE: Final = Statement(
    attempts.update().where(attempts.c.key == sa.any_(_KEYS)).values(failures=attempts.c.failures - 1)
)


class Attempts:
    """Counts attempts to sign in.

    Each counts as a failure from its beginning, so that many at once do not slip through, until it turns out not to be
    one. Who and from where is stored as a keyed hash only.
    """

    def __init__(self, database: Database, key: bytes, clock: Callable[[], dt.datetime]) -> None:
        self._database = database
        self._key = key
        self._clock = clock

    def begin(self, limits: Mapping[str, int]) -> dt.timedelta | None:
        """Count an attempt; return how long to wait where there were too many, None where it may go on."""
        now = self._clock()
        hashed = {self._hash(name): limit for name, limit in limits.items()}
        # In one order everywhere, so that attempts do not deadlock.
        parameters = {"keys": sorted(hashed), "now": now, "end": now + WINDOW}
        with self._database.write(None) as tx:
            rows = tx.run(_COUNT, parameters)
        waits = [end - now for key, failures, end in rows if failures > hashed[bytes(key)]]
        return max(waits, default=None)

    def forgive(self, limits: Mapping[str, int]) -> None:
        """Take an attempt back that was no failure."""
        with self._database.write(None) as tx:
            tx.defer(_FORGIVE, {"keys": sorted(map(self._hash, limits))})

    def _hash(self, name: str) -> bytes:
        return hmac.digest(self._key, name.encode(), hashlib.sha256)
