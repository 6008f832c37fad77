"""The gRPC service of priority matrices."""

from typing import Any, Final

from kontor.ticketing.v1 import priority_matrix_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Transaction
from kontor_kit.errors import InvalidArgument
from kontor_kit.marks import Mark
from kontor_kit.methods import ResourceServicer
from kontor_ticketing.priority_matrices import rules
from kontor_ticketing.priority_matrices.table import PRIORITY_MATRIX

_STANDARD: Final = Mark(PRIORITY_MATRIX, "standard")


class PriorityMatrices(ResourceServicer):
    """Serves priority matrices."""

    SERVICE = priority_matrix_service_pb2.DESCRIPTOR.services_by_name["PriorityMatrixService"]
    RESOURCE = PRIORITY_MATRIX

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """See that the matrix says everything once, and let one at most be the standard one."""
        if violations := rules.check(after):
            raise InvalidArgument(*violations)
        _STANDARD.take(self, tx, call, before, after)
