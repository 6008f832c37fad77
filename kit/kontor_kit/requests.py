"""Repeatable requests (AIP-155): the first answer to a request id is kept, and given to whoever repeats the request."""

from __future__ import annotations

import hmac
import threading
from typing import Any, NamedTuple

import sqlalchemy as sa
from google.protobuf.message import Message

from kontor_kit.calls import Call
from kontor_kit.db import Database, Statement, Transaction
from kontor_kit.errors import IdempotencyKeyReused, InvalidArgument

MAX_LENGTH = 128
KEPT_HOURS = 24

_PURGE_SECONDS = 600.0
_PURGE = Statement(
    sa.text("DELETE FROM requests WHERE create_time < now() - make_interval(hours => :hours)").bindparams(
        hours=KEPT_HOURS
    )
)


class Attempt(NamedTuple):
    """One request with a request id, as it came in."""

    key: dict[str, Any]
    fingerprint: bytes
    answer: bytes | None
    """The serialised answer that was given before; None where the request comes for the first time."""


class Requests:
    """The answers that one service keeps."""

    def __init__(self, metadata: sa.MetaData, key: bytes) -> None:
        """`key` goes into the fingerprints: a request may hold a password, which a bare digest would give away."""
        self._key = key
        table = metadata.tables["requests"]
        own = {name: sa.bindparam(name, type_=table.c[name].type) for name in ("tenant_id", "subject", "request_id")}
        self._lock = Statement(
            sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(sa.bindparam("lock", type_=sa.Text), 0)))
        )
        self._find = Statement(
            sa.select(table.c.fingerprint, table.c.response).where(
                *(table.c[name] == value for name, value in own.items())
            )
        )
        self._insert = Statement(
            table.insert().values(
                **own,
                fingerprint=sa.bindparam("fingerprint", type_=table.c.fingerprint.type),
                response=sa.bindparam("response", type_=table.c.response.type),
            )
        )

    def begin(self, tx: Transaction, call: Call, request: Message, request_id: str) -> Attempt:
        """Return the attempt, with the answer where the request was answered before; waits for one under way.

        Raises IdempotencyKeyReused where the id came with another request.
        """
        if len(request_id) > MAX_LENGTH:
            raise InvalidArgument(("request_id", f"must not be longer than {MAX_LENGTH} characters"))
        subject = call.principal.subject if call.principal else ""
        key = {"tenant_id": tx.tenant_id, "subject": subject, "request_id": request_id}
        fingerprint = self._fingerprint(call, request)
        self.serialise(tx, f"{subject}/{request_id}")
        rows = tx.run(self._find, key)
        if not rows:
            return Attempt(key, fingerprint, None)
        kept_fingerprint, answer = rows[0]
        if kept_fingerprint != fingerprint:
            raise IdempotencyKeyReused(("request_id", "was used before, with another request"))
        return Attempt(key, fingerprint, bytes(answer))

    def keep(self, tx: Transaction, attempt: Attempt, response: Message) -> None:
        """Queue the answer to be kept."""
        answer = response.SerializeToString()
        tx.defer(self._insert, {**attempt.key, "fingerprint": attempt.fingerprint, "response": answer})

    def serialise(self, tx: Transaction, name: str) -> None:
        """Queue a lock that makes transactions of the tenant with the same `name` run one after the other."""
        tx.defer(self._lock, {"lock": f"{tx.tenant_id}/{name}"})

    def _fingerprint(self, call: Call, request: Message) -> bytes:
        content = call.method.full_name.encode() + b"\0" + request.SerializeToString(deterministic=True)
        return hmac.digest(self._key, content, "sha256")


def purge(database: Database, stopping: threading.Event) -> None:
    """Drop answers older than KEPT_HOURS, again and again until `stopping`; for the system role. Safe to run many times."""
    while not stopping.wait(_PURGE_SECONDS):
        with database.write(None) as tx:
            tx.defer(_PURGE)
