"""The gRPC service of operations, the same in every service; and how a method starts one."""

from __future__ import annotations

from typing import Any, Final

import orjson
import sqlalchemy as sa
from google.longrunning import operations_pb2 as longrunning
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.rpc import status_pb2

from kontor.operations.v1 import operation_pb2
from kontor_kit import filters, pages
from kontor_kit.calls import Behavior, Call
from kontor_kit.db import Row, Statement, Transaction
from kontor_kit.errors import InvalidArgument, NotFound, PermissionDenied
from kontor_kit.ids import parse_name, uuid7
from kontor_kit.operations.work import CANCELLED, FAILED, RUNNING, SUCCEEDED, Kind
from kontor_kit.principals import Principal, Scope
from kontor_kit.records import principal_of, tenant_of
from kontor_kit.shared import Shared

State = operation_pb2.OperationMetadata.State

_COLUMNS: Final = (
    "id, kind, state, subject, stage, done_units, total_units, cancel_requested, retries, create_time, update_time,"
    " end_time, result, error"
)
_START: Final = Statement(
    sa.text(
        "INSERT INTO operations (tenant_id, id, kind, state, subject, traceparent, request, checkpoint, stage,"  # noqa: S608
        " done_units, total_units, cancel_requested, epoch, retries, faults, due_time, create_time, update_time)"
        " VALUES (:tenant, :id, :kind, 1, :subject, :traceparent, :request, CAST(:checkpoint AS jsonb), '',"
        " 0, 0, false, 0, 0, 0, now(), now(), now())"
        f" RETURNING {_COLUMNS}"
    )
)
_MINE: Final = "(CAST(:subject AS text) IS NULL OR subject = :subject)"
_GET: Final = Statement(sa.text(f"SELECT {_COLUMNS} FROM operations WHERE id = :id AND {_MINE}"))  # noqa: S608  # constants
_LIST: Final = Statement(
    sa.text(
        f"SELECT {_COLUMNS} FROM operations WHERE {_MINE} AND id < :before"  # noqa: S608  # constants
        " AND (CAST(:state AS smallint) IS NULL OR state = :state) AND (CAST(:kind AS text) IS NULL OR kind = :kind)"
        " ORDER BY id DESC LIMIT :size"
    )
)
# What nobody works on is taken up at once; who works on it learns of it with the next write.
_CANCEL: Final = Statement(
    sa.text(
        "UPDATE operations SET cancel_requested = true,"  # noqa: S608
        " due_time = CASE WHEN holder IS NULL THEN clock_timestamp() ELSE due_time END"
        f" WHERE id = :id AND state = {RUNNING} AND {_MINE}"  # constants
    )
)
_LAST: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"


class Operations:
    """The operations of one service; their names are `services/<service>/operations/<uuid>`.

    Every service keeps its own, and a name says whose it is: the collection alone would say nothing across the platform.
    """

    def __init__(self, domain: str) -> None:
        self.parent = f"services/{domain.partition('.')[0]}"
        self.pattern = f"{self.parent}/operations/{{operation}}"

    def start(
        self, tx: Transaction, call: Call, kind: Kind, request: Message, checkpoint: dict[str, Any] | None = None
    ) -> longrunning.Operation:
        """Start an operation with the transaction of the method that answers with it, at `checkpoint` where it is given."""
        if not isinstance(request, kind.request):
            raise TypeError(f"{kind.name} takes no {type(request)}")
        values = {
            "tenant": tx.tenant_id,
            "id": uuid7(),
            "kind": kind.name,
            "subject": principal_of(call).subject,
            "traceparent": call.trace.traceparent,
            "request": request.SerializeToString(),
            "checkpoint": orjson.dumps(checkpoint).decode() if checkpoint is not None else None,
        }
        [row] = tx.run(_START, values)
        return self.message(row)

    def find(self, tx: Transaction, name: str) -> longrunning.Operation | None:
        """Return an operation of the transaction's tenant, whoever started it; None where it is not kept any more."""
        rows = tx.run(_GET, {"id": parse_name(name, self.pattern, "name"), "subject": None})
        return self.message(rows[0]) if rows else None

    def message(self, row: Row) -> longrunning.Operation:
        """Return the operation that `row` holds."""
        id, kind, state, subject, stage, done, total, cancelled, retries, created, updated, ended, result, error = row
        metadata = operation_pb2.OperationMetadata(
            kind=kind,
            state=state,
            subject=subject,
            stage=stage,
            done_units=done,
            total_units=total,
            cancel_requested=cancelled,
            retries=retries,
            create_time=created,
            update_time=updated,
            end_time=ended,
        )
        operation = longrunning.Operation(name=f"{self.parent}/operations/{id}", done=ended is not None)
        failure = status_pb2.Status.FromString(bytes(error)) if error is not None else None
        if state == SUCCEEDED:
            operation.response.MergeFromString(bytes(result))
        elif state in (FAILED, CANCELLED):
            operation.error.CopyFrom(failure)
        elif failure is not None:
            metadata.last_failure.CopyFrom(failure)
        operation.metadata.Pack(metadata)
        return operation


class OperationServicer:
    """Serves `GetOperation`, `ListOperations` and `CancelOperation`.

    Whoever started an operation may see it. The scope of a permission decides on others: `all` reaches all of the
    tenant, less reaches one's own.
    """

    def __init__(self, descriptor: ServiceDescriptor, shared: Shared) -> None:
        self.SERVICE = descriptor
        self._shared = shared
        self._operations = Operations(shared.domain)
        self._read = f"{shared.domain.partition('.')[0]}.operations.read"

    def handler(self, method: str) -> Behavior | None:
        """Return what serves the RPC of this name; None where nothing does."""
        known = {"GetOperation": self.get, "ListOperations": self.page, "CancelOperation": self.cancel}
        return known.get(method)

    def get(self, request: Any, call: Call) -> longrunning.Operation:
        """Return one operation."""
        id = parse_name(request.name, self._operations.pattern, "name")
        scope = principal_of(call).scope(self._read)
        with self._shared.database.read(tenant_of(call)) as tx:
            rows = tx.run(_GET, {"id": id, "subject": _subject(principal_of(call), scope)})
        if not rows:
            raise self._absent(request.name)
        return self._operations.message(rows[0])

    def page(self, request: Any, call: Call) -> Any:
        """Return a page of operations, the newest first."""
        if request.parent != self._operations.parent:
            raise InvalidArgument(("parent", f"must be {self._operations.parent}"))
        size = pages.page_size(request.page_size)
        arguments = (call.method.full_name, str(tenant_of(call)), request.filter)
        before = self._shared.page_tokens.open(request.page_token, arguments)[0] if request.page_token else _LAST
        subject = _subject(principal_of(call), call.scope)
        wanted = {"subject": subject, "before": before, "size": size + 1, **_wanted(request.filter)}
        with self._shared.database.read(tenant_of(call)) as tx:
            rows = tx.run(_LIST, wanted)
        response = operation_pb2.ListOperationsResponse(
            operations=[self._operations.message(row) for row in rows[:size]]
        )
        if len(rows) > size:
            response.next_page_token = self._shared.page_tokens.seal(arguments, [rows[size - 1][0]])
        return response

    def cancel(self, request: Any, call: Call) -> Empty:
        """Ask for the end of an operation; one that ended stays as it is."""
        id = parse_name(request.name, self._operations.pattern, "name")
        principal = principal_of(call)
        reached = {"id": id, "subject": _subject(principal, call.scope)}
        seen = {"id": id, "subject": _subject(principal, principal.scope(self._read))}
        with self._shared.database.write(tenant_of(call)) as tx:
            found = tx.run_all([(_GET, reached), (_GET, seen)])
            if not any(found):
                raise self._absent(request.name)
            if not found[0]:
                raise PermissionDenied(
                    f"your permission {call.method.permission} does not reach {request.name}",
                    reason="OUT_OF_SCOPE",
                    metadata={"permission": call.method.permission},
                )
            tx.defer(_CANCEL, reached)
        return Empty()

    @staticmethod
    def _absent(name: str) -> NotFound:
        return NotFound(f"{name} is not there, or you may not see it", metadata={"name": name})


def _subject(principal: Principal, scope: Scope | None) -> str | None:
    """Return whose operations to look at; None for everybody's."""
    return None if scope is Scope.ALL else principal.subject


def _wanted(text: str) -> dict[str, Any]:
    """Return the values of `state` and `kind` that a filter asks for."""
    wanted: dict[str, Any] = {"state": None, "kind": None}
    node = filters.parse(text)
    operands = node.operands if isinstance(node, filters.And) else (node,) if node is not None else ()
    for operand in operands:
        if not isinstance(operand, filters.Comparison) or operand.operator is not filters.Operator.EQ:
            raise InvalidArgument(("filter", "operations can be filtered by `state = ...` and `kind = ...` only"))
        name, value = ".".join(operand.path), operand.value
        if name not in wanted or wanted[name] is not None or value.prefix:
            raise InvalidArgument(("filter", f"operations cannot be filtered by {name} like that"))
        if name == "state" and f"STATE_{value.text}" not in State.keys():  # noqa: SIM118  # it is no mapping
            raise InvalidArgument(("filter", f"there is no state {value.text}"))
        wanted[name] = State.Value(f"STATE_{value.text}") if name == "state" else value.text
    return wanted
