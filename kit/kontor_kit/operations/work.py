"""What a function that works on an operation is given, and the ways in which it can end.

Whatever it writes goes through `Work.write`, which refuses it once the lease has passed on to another worker. It saves
a checkpoint with what it wrote, in one transaction, and is called again with the last checkpoint after a crash.
"""

from __future__ import annotations

import enum
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import orjson
import sqlalchemy as sa
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc import status_pb2
from grpc_status import rpc_status

from kontor_kit.db import Database, Statement, Transaction
from kontor_kit.errors import Unavailable
from kontor_kit.jobs import LeaseLost
from kontor_kit.operations.calling import Calls
from kontor_kit.statuses import as_business_error, explain
from kontor_kit.tracing import Trace

RUNNING, SUCCEEDED, FAILED, CANCELLED, STUCK = range(1, 6)
"""The states of an operation, with the numbers of `OperationMetadata.State`."""
ATTEMPTS: Final = 6
"""So often something fails for a reason that nobody foresaw, before it is given up."""

_CODES = grpc.StatusCode
_LATER: Final = {_CODES.UNAVAILABLE, _CODES.DEADLINE_EXCEEDED, _CODES.ABORTED, _CODES.RESOURCE_EXHAUSTED}
_REFUSED: Final = {
    _CODES.INVALID_ARGUMENT,
    _CODES.NOT_FOUND,
    _CODES.ALREADY_EXISTS,
    _CODES.FAILED_PRECONDITION,
    _CODES.PERMISSION_DENIED,
    _CODES.OUT_OF_RANGE,
    _CODES.UNIMPLEMENTED,
}

_FENCE: Final = Statement(
    sa.text(
        "UPDATE operations SET due_time = clock_timestamp() + make_interval(secs => :seconds)"
        " WHERE tenant_id = :tenant AND id = :id AND epoch = :epoch AND state = 1 RETURNING cancel_requested"
    )
)
_SAVE: Final = Statement(
    sa.text(
        "UPDATE operations SET checkpoint = CAST(:checkpoint AS jsonb), stage = :stage, done_units = :done,"
        " total_units = :total, retries = 0, faults = 0, error = NULL, update_time = clock_timestamp()"
        " WHERE tenant_id = :tenant AND id = :id"
    )
)

_NOTE: Final = Statement(
    sa.text(
        "UPDATE operations SET stage = :stage, update_time = clock_timestamp() WHERE tenant_id = :tenant AND id = :id"
    )
)


class Cancelled(Exception):
    """The operation ends because somebody wanted that."""


class Stopped(Exception):
    """The process ends; the operation goes on elsewhere, at once."""


class Failed(Exception):
    """The operation ends with `status`."""

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.status = status


class Stuck(Failed):
    """The operation cannot go on, because of `status`, and waits for an operator."""


class Again(Exception):
    """What failed is tried again after a pause; `counts` where that cannot go on for ever."""

    def __init__(self, cause: Exception, *, counts: bool) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.counts = counts


class Verdict(enum.Enum):
    """What a failure says about the next try."""

    LATER = enum.auto()
    """Something is away or busy; it may have been done."""
    REFUSED = enum.auto()
    """It was not done, and will not be."""
    DOUBTFUL = enum.auto()
    """Nobody foresaw it; it may have been done."""


def judge(error: Exception) -> Verdict:
    """Tell what `error`, of this service or of one that was called, says about the next try."""
    business = as_business_error(error)
    code = business.code if business else error.code() if isinstance(error, grpc.Call) else None
    if code in _LATER:
        return Verdict.LATER
    return Verdict.REFUSED if code in _REFUSED else Verdict.DOUBTFUL


def status_of(error: Exception, domain: str, trace: Trace) -> status_pb2.Status:
    """Return the status of `error`; that of a call as the other service gave it."""
    if isinstance(error, grpc.Call) and judge(error) is Verdict.REFUSED:
        status: status_pb2.Status | None = rpc_status.from_call(error)
        return status or status_pb2.Status(code=error.code().value[0], message=error.details() or "")
    return explain(error, domain, trace.trace_id).status


@dataclass(kw_only=True, eq=False)
class Work:
    """One operation in the hands of one worker."""

    id: uuid.UUID
    tenant_id: uuid.UUID
    subject: str
    """Who started it."""
    request: Any
    checkpoint: dict[str, Any]
    """As it was last committed; empty at the beginning."""
    trace: Trace
    domain: str
    service: Any
    """What the service hands to its operations."""
    cancel_requested: bool
    retries: int
    """How often in a row it failed since the checkpoint was saved."""
    faults: int
    """How many of these are counted against ATTEMPTS."""
    epoch: int
    lease_seconds: float
    database: Database = field(repr=False)
    calls: Calls | None = field(repr=False)
    stopping: threading.Event = field(repr=False)
    _saved: list[dict[str, Any]] = field(default_factory=list, repr=False)

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Yield a transaction in the operation's tenant, as the app role, that prolongs the lease. Raises LeaseLost."""
        self._saved.clear()
        with self.database.write(self.tenant_id) as tx:
            rows = tx.run(_FENCE, {**self._key, "epoch": self.epoch, "seconds": self.lease_seconds})
            if not rows:
                raise LeaseLost(str(self.id))
            self.cancel_requested = rows[0][0]
            yield tx
        if self._saved:
            self.checkpoint, self.retries, self.faults = self._saved.pop(), 0, 0

    def save(
        self, tx: Transaction, checkpoint: dict[str, Any], *, stage: str = "", done: int = 0, total: int = 0
    ) -> None:
        """Keep, with the transaction of `write`, from where to go on after a crash, and what to show of it.

        `checkpoint` is JSON; `done` and `total` are in whatever units the operation counts.
        """
        sent = {"checkpoint": orjson.dumps(checkpoint).decode(), "stage": stage, "done": done, "total": total}
        tx.defer(_SAVE, {**self._key, **sent})
        self._saved.append(checkpoint)

    def call(self, method: MethodDescriptor, request: Message, *, request_id: str) -> Any:
        """Call a method of another service on behalf of who started the operation, and return the answer.

        The other service does what bears the same `request_id` once, so it must be the same after a crash. Raises
        LeaseLost, grpc.RpcError, PermissionDenied and Unavailable; all but the first are fit to be raised on.
        """
        if self.calls is None:
            raise Unavailable("KONTOR_CLIENT_ID is not set: no other service can be called", reason="NO_CREDENTIALS")
        self.renew()
        return self.calls(method, request, tenant_id=self.tenant_id, subject=self.subject, request_id=request_id)

    def note(self, stage: str) -> None:
        """Show what it is at, and prolong the lease; where to go on after a crash stays as it is. Raises LeaseLost."""
        with self.write() as tx:
            tx.defer(_NOTE, {**self._key, "stage": stage})

    def renew(self) -> None:
        """Prolong the lease; for long stretches without a write. Raises LeaseLost."""
        with self.write():
            pass

    def check(self) -> None:
        """Prolong the lease, and see whether to go on. Raises LeaseLost, Cancelled and Stopped."""
        self.renew()
        if self.cancel_requested:
            raise Cancelled
        if self.stopping.is_set():
            raise Stopped

    def gives_up(self, error: Exception) -> bool:
        """Tell whether `error` ends the tries: it was refused, or failed ATTEMPTS times for an unknown reason."""
        verdict = judge(error)
        return verdict is Verdict.REFUSED or (verdict is Verdict.DOUBTFUL and self.faults + 1 >= ATTEMPTS)

    @property
    def _key(self) -> dict[str, Any]:
        return {"tenant": self.tenant_id, "id": self.id}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of operation, as it is declared."""

    name: str
    """In snake_case, stable: operations under way bear it."""
    request: type[Message]
    run: Callable[[Work], Message | None]
    """Does the work, or goes on with it; returns the result (None for Empty). It may run more than once."""
