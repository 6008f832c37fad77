"""The gRPC service of priority matrices."""

from typing import Any, Final

import sqlalchemy as sa

from kontor.ticketing.v1 import priority_matrix_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import InvalidArgument
from kontor_kit.filter_sql import TENANT
from kontor_kit.methods import ResourceServicer
from kontor_ticketing.priority_matrices import rules
from kontor_ticketing.priority_matrices.table import PRIORITY_MATRIX, priority_matrices

_MARKED: Final = Statement(
    sa.select(priority_matrices.c.id).where(
        priority_matrices.c.tenant_id == TENANT, priority_matrices.c.standard, priority_matrices.c.delete_time.is_(None)
    )
)


class PriorityMatrices(ResourceServicer):
    """Serves priority matrices."""

    SERVICE = priority_matrix_service_pb2.DESCRIPTOR.services_by_name["PriorityMatrixService"]
    RESOURCE = PRIORITY_MATRIX

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """See that the matrix says everything once, and let one at most be the standard one."""
        if violations := rules.check(after):
            raise InvalidArgument(*violations)
        if after.standard:
            self._make_way(tx, call, after)

    def _make_way(self, tx: Transaction, call: Call, standard: Any) -> None:
        """Take the mark from the other matrix."""
        self.shared.requests.serialise(tx, "priorityMatrices/standard")
        ids = [row[0] for row in tx.run(_MARKED, {"tenant": tx.tenant_id})]
        own = self.own_call(tx, call.trace)
        for locked in self.store.lock(tx, self.reach(own), self.scope(own), ids).values():
            if locked.message.name != standard.name:
                other = type(locked.message)()
                other.CopyFrom(locked.message)
                other.standard = False
                self.put(tx, call, locked, other, "updated")
