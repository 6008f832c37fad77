"""A service whose only method starts an operation, for the tests of jobs, operations and sagas."""

from __future__ import annotations

import random
import time
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2  # noqa: F401 - the pool must know the imports
from google.protobuf.message_factory import GetMessageClass

from kit.tests import widgets
from kontor.operations.v1 import operation_pb2
from kontor_kit.clients import Peers
from kontor_kit.db import Database, Statement
from kontor_kit.errors import FailedPrecondition
from kontor_kit.ids import uuid7
from kontor_kit.operations.runner import Runner
from kontor_kit.operations.schema import operations_tables
from kontor_kit.operations.servicer import Operations, OperationServicer
from kontor_kit.operations.work import Kind
from kontor_kit.records import tenant_of
from kontor_kit.sagas import Saga, Step
from kontor_kit.service import Service
from kontor_kit.shared import Shared
from kontor_kit.tables import kit_tables
from kontor_kit.testing import TENANT, USER

DOMAIN = "operating.kontor"
HERE = Path(__file__).parent
FILE = widgets.load(HERE / "operating.proto")
MillRequest = GetMessageClass(FILE.message_types_by_name["MillRequest"])
MillResponse = GetMessageClass(FILE.message_types_by_name["MillResponse"])

EFFECT = Statement(sa.text("INSERT INTO effects (tenant_id, key) VALUES (:tenant, :key)"))
_START = Statement(
    sa.text(
        "INSERT INTO operations (tenant_id, id, kind, state, subject, request, stage, done_units, total_units,"
        " cancel_requested, epoch, retries, faults, due_time, create_time, update_time)"
        " VALUES (:tenant, :id, :kind, 1, :subject, :request, '', 0, 0, false, 0, 0, 0, now(), now(), now())"
    )
)

metadata = sa.MetaData()
kit_tables(metadata)
operations_tables(metadata)


def mill(work):
    """Grind the sacks one by one, each with a checkpoint."""
    for sack in range(work.checkpoint.get("sacks", 0), work.request.sacks):
        work.check()
        with work.write() as tx:
            tx.defer(EFFECT, {"tenant": work.tenant_id, "key": f"{work.id}/{sack}"})
            work.save(tx, {"sacks": sack + 1}, stage="grinding", done=sack + 1, total=work.request.sacks)
    return MillResponse(ground=work.request.sacks)


MILL = Kind("mill", MillRequest, mill)


REMOTE = Statement(
    sa.text("INSERT INTO remote VALUES (:key, 1) ON CONFLICT (key) DO UPDATE SET calls = remote.calls + 1")
)


def here(given):
    """Have an effect in the database of the saga."""
    time.sleep(random.uniform(0, 0.01))
    given.tx.defer(EFFECT, {"tenant": given.work.tenant_id, "key": given.request_id})
    time.sleep(random.uniform(0, 0.01))


def there(given):
    """Have an effect elsewhere, once for each request id."""
    time.sleep(random.uniform(0, 0.01))
    with given.work.database.write(None) as tx:
        tx.defer(REMOTE, {"key": given.request_id})
    time.sleep(random.uniform(0, 0.01))


def last(given):
    """Refuse whoever asks for an odd number of sacks."""
    if given.work.request.sacks % 2:
        raise FailedPrecondition("an odd number of sacks")
    there(given)


BRANCH = Saga(
    "open_branch",
    [Step("build", here, here), Step("order", there, there), Step("hire", here, here), Step("announce", last, there)],
    request=MillRequest,
    result=lambda results: MillResponse(ground=1),
)


class Mill:
    """Starts operations."""

    SERVICE = FILE.services_by_name["MillService"]

    def __init__(self, shared):
        self._database = shared.database
        self._operations = Operations(shared.domain)

    def handler(self, method):
        return self.mill

    def mill(self, request, call):
        with self._database.write(tenant_of(call)) as tx:
            return self._operations.start(tx, call, MILL, request)


def service():
    """Return the service."""
    return Service(
        name="operating",
        package="kontor_operating",
        servicers=_servicers,
        metadata=metadata,
        migrations=HERE / "operating_migrations",
        operations=[MILL],
    )


def _servicers(runtime):
    shared = Shared.of(
        DOMAIN, metadata, database=runtime.database, page_tokens=runtime.page_tokens(), peers=Peers.of(runtime.settings)
    )
    return [Mill(shared), OperationServicer(FILE.services_by_name["OperationService"], shared)]


@contextmanager
def pools(database, size=4):
    """Yield pools of the database `database` as the system role and as the app role."""
    system = Database(database.url("system"), pool_size=size, name="test-system")
    app = Database(database.url("app"), pool_size=size, name="test-app")
    system.open()
    app.open()
    try:
        yield system, app
    finally:
        system.close()
        app.close()


def runner(database_pools, *kinds, **more):
    """Return a runner of `kinds` that is in a hurry."""
    system, app = database_pools
    return Runner(DOMAIN, kinds, system=system, database=app, **{"first_pause": 0.001, **more})


def start(app, kind, request=None, tenant=TENANT):
    """Start an operation of `kind` without a call; return its id."""
    id, sent = uuid7(), (request or MillRequest()).SerializeToString()
    with app.write(tenant) as tx:
        tx.defer(_START, {"tenant": tenant, "id": id, "kind": kind, "subject": USER, "request": sent})
    return id


def shown(operation):
    """Return the metadata of an operation."""
    metadata = operation_pb2.OperationMetadata()
    operation.metadata.Unpack(metadata)
    return metadata


Operation = operations_pb2.Operation
