"""From an exception to `google.rpc.Status`: the one place where an error takes the form that callers see."""

from __future__ import annotations

import itertools
from typing import Final, NamedTuple

import grpc
import psycopg
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from psycopg import errors as postgres

from kontor_kit.errors import Aborted, DeadlineExceeded, InvalidArgument, KontorError, Unavailable

# A status travels in trailing metadata, of which clients take 8 KiB; what is longer would turn into another error.
_MAX_MESSAGE: Final = 300
_MAX_DETAILS: Final = 3500


class Failure(NamedTuple):
    """How a call failed."""

    error: KontorError | None
    """None where nobody foresaw what happened."""
    status: status_pb2.Status

    @property
    def code(self) -> grpc.StatusCode:
        """The gRPC code."""
        return self.error.code if self.error else grpc.StatusCode.INTERNAL


def explain(exception: Exception, domain: str, trace_id: str) -> Failure:
    """Make the status for `exception`; of an unforeseen one it tells nothing but the id to ask for."""
    error = as_business_error(exception)
    if error is None:
        message = f"an internal error; it was logged with the id {trace_id}"
        info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=domain)
        details: list[Message] = [info]
    else:
        message = error.message if len(error.message) <= _MAX_MESSAGE else f"{error.message[: _MAX_MESSAGE - 3]}..."
        info = error_details_pb2.ErrorInfo(reason=error.reason, domain=domain, metadata=error.metadata)
        details = [info, *error.details]
        if isinstance(error, InvalidArgument) and error.violations:
            details.insert(1, _bad_request(error))
    request = error_details_pb2.RequestInfo(request_id=trace_id)
    status = status_pb2.Status(code=_number(error), message=message, details=_fitting([request, *details]))
    return Failure(error, status)


def as_business_error(exception: Exception) -> KontorError | None:
    """Return `exception` as a business error, where it is one or stands for one; else None."""
    match exception:
        case KontorError():
            error: KontorError | None = exception
        case postgres.QueryCanceled():
            error = DeadlineExceeded("the database did not answer in time", reason="STATEMENT_TIMEOUT")
        case postgres.SerializationFailure() | postgres.DeadlockDetected() | postgres.LockNotAvailable():
            error = Aborted("somebody else changes the same; repeat", reason="CONCURRENT_CHANGE")
        case psycopg.OperationalError() | postgres.ReadOnlySqlTransaction():
            error = Unavailable("the database cannot be reached; repeat later", reason="DATABASE_UNAVAILABLE")
        case grpc.Call(code=code) if code() is grpc.StatusCode.UNAVAILABLE:
            error = Unavailable("a service that is needed cannot be reached", reason="SERVICE_UNAVAILABLE")
        case grpc.Call(code=code) if code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            error = DeadlineExceeded("a service that is needed did not answer in time", reason="SERVICE_TIMEOUT")
        case _:
            error = None
    return error


def _number(error: KontorError | None) -> int:
    number: int = (error.code if error else grpc.StatusCode.INTERNAL).value[0]
    return number


def _bad_request(error: InvalidArgument) -> error_details_pb2.BadRequest:
    """Return the violations, as many as fit."""
    bad, size = error_details_pb2.BadRequest(), 0
    for count, violation in enumerate(error.violations):
        size += len(violation.field.encode()) + len(violation.description.encode()) + 8
        if size > _MAX_DETAILS * 2 // 3:
            bad.field_violations.add(description=f"and {len(error.violations) - count} more")
            break
        bad.field_violations.add(field=violation.field, description=violation.description)
    return bad


def _fitting(details: list[Message]) -> list[AnyMessage]:
    """Pack the details, as many as fit."""
    packed: list[AnyMessage] = []
    for detail in details:
        message = AnyMessage()
        message.Pack(detail)
        packed.append(message)
    sizes = itertools.accumulate(message.ByteSize() for message in packed)
    return [message for message, size in zip(packed, sizes, strict=True) if size <= _MAX_DETAILS]
