"""The runner: takes operations that are due, one at a time for each worker, and keeps what became of them.

To take one is to move its `due_time` ahead and to count its `epoch` up; both are the lease. Whoever writes for it names
the epoch, so that a worker which hung, or was away, finds its writes refused once another one has taken over.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.rpc import status_pb2
from prometheus_client import Gauge
from psycopg_pool import PoolTimeout

from kontor_kit.db import Database, Row, Statement
from kontor_kit.jobs import Job, LeaseLost, Turn, every, holder
from kontor_kit.operations.calling import Calls
from kontor_kit.operations.work import (
    CANCELLED,
    FAILED,
    RUNNING,
    STUCK,
    SUCCEEDED,
    Again,
    Cancelled,
    Failed,
    Kind,
    Stopped,
    Stuck,
    Verdict,
    Work,
    judge,
    status_of,
)
from kontor_kit.service import Runtime, Service
from kontor_kit.tracing import SpanKind, start_span, within
from kontor_kit.watching import looking

logger = logging.getLogger(__name__)

LEASE_SECONDS: Final = 15.0
FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 300.0
KEPT_DAYS: Final = 30
NEEDED: Final = ("database_url", "page_token_key")
"""The settings that `work` needs more where there are operations."""
_IDLE_SECONDS: Final = 0.2
_PURGE_SECONDS: Final = 3600.0
_WORKERS: Final = 2

_CLAIM: Final = Statement(
    sa.text(
        "WITH due AS MATERIALIZED (SELECT tenant_id, id FROM operations"
        " WHERE state = 1 AND due_time <= clock_timestamp() AND kind = ANY (:kinds)"
        " ORDER BY due_time LIMIT 1 FOR UPDATE SKIP LOCKED)"
        " UPDATE operations o SET epoch = o.epoch + 1, holder = :holder,"
        " due_time = clock_timestamp() + make_interval(secs => :seconds)"
        " FROM due WHERE o.tenant_id = due.tenant_id AND o.id = due.id"
        " RETURNING o.kind, o.id, o.tenant_id, o.subject, o.request, o.checkpoint, o.traceparent, o.cancel_requested,"
        " o.retries, o.faults, o.epoch"
    )
)
_END: Final = Statement(
    sa.text(
        "UPDATE operations SET state = :state, holder = NULL, result = :result, error = :error, update_time = clock_timestamp(),"
        " end_time = CASE WHEN :ended THEN clock_timestamp() END WHERE tenant_id = :tenant AND id = :id"
    )
)
_PUT_OFF: Final = Statement(
    sa.text(
        "UPDATE operations SET due_time = clock_timestamp() + make_interval(secs => :seconds), holder = NULL,"
        " retries = :retries, faults = :faults, error = COALESCE(CAST(:error AS bytea), error) WHERE tenant_id = :tenant AND id = :id"
    )
)
_STUCK: Final = Statement(sa.text("SELECT count(*) FROM operations WHERE state = 5"))
_WAITING: Final = Statement(
    sa.text(
        "SELECT coalesce(greatest(extract(epoch FROM clock_timestamp() - min(due_time)), 0), 0)::float8 FROM operations"
        " WHERE state = 1"
    )
)
_PURGE: Final = Statement(
    sa.text("DELETE FROM operations WHERE end_time < now() - make_interval(days => :days)").bindparams(days=KEPT_DAYS)
)


class Runner:
    """Works on the operations of one service.

    `system` takes what is due over all tenants, `database` does the work as the app role, held to one of them; the
    pool of `database` needs a connection for each worker. `calls` is what calls other services. Kinds that this version does not know are left to others.
    """

    def __init__(
        self,
        domain: str,
        kinds: Iterable[Kind],
        *,
        system: Database,
        database: Database,
        service: Any = None,
        calls: Calls | None = None,
        lease_seconds: float = LEASE_SECONDS,
        first_pause: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        self._domain = domain
        self._kinds = {kind.name: kind for kind in kinds}
        self._system = system
        self._database = database
        self._service = service
        self._calls = calls
        self._lease_seconds = lease_seconds
        self._first_pause = first_pause

    def run(self, stopping: threading.Event) -> None:
        """Work until `stopping`; what is under way then goes on elsewhere."""
        while not stopping.is_set():
            try:
                found = self.work_once(stopping)
            except (psycopg.OperationalError, PoolTimeout) as error:
                logger.warning("operations wait for the database", extra={"reason": str(error)})
                stopping.wait(1.0)
                continue
            if not found:
                stopping.wait(_IDLE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311  # so that workers do not march in step

    def work_once(self, stopping: threading.Event | None = None) -> bool:
        """Take one operation and work on it; False where none is due."""
        with self._system.write(None) as tx:
            rows = tx.run(_CLAIM, {"kinds": list(self._kinds), "seconds": self._lease_seconds, "holder": holder()})
        for row in rows:
            kind = self._kinds[row[0]]
            work = self._work(kind, row, stopping or threading.Event())
            with within(work.trace, f"operation {kind.name}", SpanKind.CONSUMER, {"kontor.operation": str(work.id)}):
                try:
                    self._run(kind, work)
                except LeaseLost:
                    logger.warning("an operation passed on to another worker", extra=_named(kind, work))
        return bool(rows)

    def _work(self, kind: Kind, row: Row, stopping: threading.Event) -> Work:
        _, id, tenant_id, subject, request, checkpoint, traceparent, cancel_requested, retries, faults, epoch = row
        return Work(
            id=id,
            tenant_id=tenant_id,
            subject=subject,
            request=kind.request.FromString(bytes(request)),
            checkpoint=checkpoint or {},
            trace=start_span(traceparent, ""),
            domain=self._domain,
            service=self._service,
            cancel_requested=cancel_requested,
            retries=retries,
            faults=faults,
            epoch=epoch,
            lease_seconds=self._lease_seconds,
            database=self._database,
            calls=self._calls,
            stopping=stopping,
        )

    def _run(self, kind: Kind, work: Work) -> None:
        try:
            result = kind.run(work)
        except LeaseLost:
            raise
        except Stopped:
            self._put_off(work, seconds=0.0)
        except Cancelled:
            status = status_pb2.Status(code=1, message="the operation was cancelled")
            self._end(kind, work, CANCELLED, error=status)
        except Failed as failed:
            self._end(kind, work, STUCK if isinstance(failed, Stuck) else FAILED, error=failed.status)
        except Again as again:
            self._retry(kind, work, again.cause, counts=again.counts)
        except Exception as error:
            if work.gives_up(error):
                logger.info("an operation fails", exc_info=error, extra=_named(kind, work))
                self._end(kind, work, FAILED, error=status_of(error, self._domain, work.trace))
            else:
                self._retry(kind, work, error, counts=judge(error) is not Verdict.LATER)
        else:
            self._end(kind, work, SUCCEEDED, result=result or Empty())

    def _end(
        self,
        kind: Kind,
        work: Work,
        state: int,
        *,
        result: Message | None = None,
        error: status_pb2.Status | None = None,
    ) -> None:
        packed = AnyMessage()
        if result is not None:
            packed.Pack(result)
        values = {
            "state": state,
            "ended": state not in (RUNNING, STUCK),
            "result": packed.SerializeToString() if result is not None else None,
            "error": error.SerializeToString() if error is not None else None,
        }
        with work.write() as tx:
            tx.defer(_END, {"tenant": work.tenant_id, "id": work.id, **values})
        log = logger.error if state == STUCK else logger.info
        log("an operation is stuck" if state == STUCK else "an operation ended", extra=_named(kind, work, state=state))

    def _retry(self, kind: Kind, work: Work, error: Exception, *, counts: bool) -> None:
        pause = min(self._first_pause * 2 ** min(work.retries, 20), LONGEST_PAUSE_SECONDS)
        pause *= random.uniform(0.8, 1.2)  # noqa: S311  # jitter
        reason = f"{type(error).__name__}: {error}"
        logger.warning(
            "an operation is tried again",
            exc_info=error if counts else None,
            extra=_named(kind, work, seconds=round(pause, 1), reason=reason),
        )
        work.retries += 1
        work.faults += counts
        self._put_off(work, pause, status_of(error, self._domain, work.trace).SerializeToString())

    @staticmethod
    def _put_off(work: Work, seconds: float, error: bytes | None = None) -> None:
        values = {"seconds": seconds, "retries": work.retries, "faults": work.faults, "error": error}
        with work.write() as tx:
            tx.defer(_PUT_OFF, {"tenant": work.tenant_id, "id": work.id, **values})


def _named(kind: Kind, work: Work, **more: Any) -> dict[str, Any]:
    return {"operation": str(work.id), "kind": kind.name, "tenant": str(work.tenant_id), **more}


@every(_PURGE_SECONDS)
def purge_operations(turn: Turn) -> None:
    """Forget operations that ended more than KEPT_DAYS ago; those that are stuck stay."""
    with turn.write() as tx:
        tx.defer(_PURGE)


def jobs(service: Service, runtime: Runtime, given: Any) -> Iterator[tuple[str, Job]]:
    """Yield what work runs for a service with operations: workers, a count of what is stuck, and what forgets the old.

    `given` is what operations find.
    """
    if not service.operations or runtime.system is None:
        return
    domain = f"{service.name}.kontor"
    runner = Runner(
        domain,
        service.operations,
        system=runtime.system,
        database=runtime.database,
        service=given,
        calls=Calls.of(runtime.settings),
    )
    for number in range(_WORKERS):
        yield f"operations-{number + 1}", runner.run
    yield purge_operations.job(runtime.system)
    registry = runtime.metrics.registry
    stuck = Gauge("kontor_operations_stuck", "Operations that cannot go on.", registry=registry)
    oldest = Gauge("kontor_operations_oldest_seconds", "How long one is due that nobody works on.", registry=registry)
    yield "count-operations", looking(partial(_count, runtime.system, stuck, oldest))


def _count(system: Database, stuck: Gauge, oldest: Gauge) -> None:
    with system.read(None) as tx:
        [(number,)], [(seconds,)] = tx.run_all([(_STUCK, {}), (_WAITING, {})])
    stuck.set(number)
    oldest.set(seconds)
