"""Business errors: raised anywhere inside a service, turned into a gRPC status in one place (`calls`).

KontorError
+-- InvalidArgument      the request is wrong whatever the state is; names the fields
+-- NotFound             there is no such record, or the caller may not know that there is
+-- AlreadyExists        the record, or one that looks like it, is there
+-- FailedPrecondition   the state of the record does not allow it
|   +-- EtagMismatch     `If-Match` named another version (412 over REST)
+-- Aborted              somebody else was faster; read again and repeat
+-- PermissionDenied     the caller is known and may not
+-- Unauthenticated      the caller is not known
+-- OutOfRange           a position is outside of what is kept
+-- ResourceExhausted    a limit is reached
+-- Unavailable          a part that is needed cannot be reached; repeat later
+-- DeadlineExceeded     the caller's time is over
+-- Unimplemented        no such method here
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import grpc
from google.protobuf.message import Message


class Violation(NamedTuple):
    """What is wrong with one field of a request."""

    field: str
    """The path of the field in the request, proto names: `account.emails[0].address`."""
    description: str


class KontorError(Exception):
    """A business error.

    `reason` is a stable UPPER_SNAKE word that programs may compare; `message` is for people and says what is wrong;
    `metadata` goes into `google.rpc.ErrorInfo`, `details` are further messages for the status.
    """

    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN
    reason: str = "UNKNOWN"
    http_status: int | None = None
    """The HTTP status where the one that belongs to the gRPC code is not the right one."""

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        metadata: dict[str, str] | None = None,
        details: Iterable[Message] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or type(self).reason
        self.metadata = metadata or {}
        self.details = tuple(details)


class InvalidArgument(KontorError):
    """The request is wrong whatever the state is."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_ARGUMENT"

    def __init__(self, *violations: tuple[str, str], message: str | None = None, reason: str | None = None) -> None:
        self.violations = tuple(Violation(*violation) for violation in violations)
        text = message or "; ".join(
            f"{v.field}: {v.description}" if v.field else v.description for v in self.violations
        )
        super().__init__(text, reason=reason)


class IdempotencyKeyReused(InvalidArgument):
    """A request id came again with another request."""

    reason = "IDEMPOTENCY_KEY_REUSED"
    http_status = 422


class NotFound(KontorError):
    """There is no such record, or the caller may not know that there is."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "NOT_FOUND"


class AlreadyExists(KontorError):
    """The record, or one that looks like it, is there."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "ALREADY_EXISTS"


class FailedPrecondition(KontorError):
    """The state of the record does not allow it."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "FAILED_PRECONDITION"


class EtagMismatch(FailedPrecondition):
    """`If-Match` named another version of the record."""

    reason = "ETAG_MISMATCH"
    http_status = 412


class Aborted(KontorError):
    """Somebody else was faster; read again and repeat."""

    code = grpc.StatusCode.ABORTED
    reason = "ABORTED"


class PermissionDenied(KontorError):
    """The caller is known and may not."""

    code = grpc.StatusCode.PERMISSION_DENIED
    reason = "PERMISSION_DENIED"


class Unauthenticated(KontorError):
    """The caller is not known."""

    code = grpc.StatusCode.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"


class OutOfRange(KontorError):
    """A position is outside of what is kept."""

    code = grpc.StatusCode.OUT_OF_RANGE
    reason = "OUT_OF_RANGE"


class ResourceExhausted(KontorError):
    """A limit is reached."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "RESOURCE_EXHAUSTED"


class Unavailable(KontorError):
    """A part that is needed cannot be reached; repeat later."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "UNAVAILABLE"


class DeadlineExceeded(KontorError):
    """The caller's time is over."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"


class Unimplemented(KontorError):
    """No such method here."""

    code = grpc.StatusCode.UNIMPLEMENTED
    reason = "UNIMPLEMENTED"
