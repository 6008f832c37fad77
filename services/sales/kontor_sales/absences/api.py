"""The gRPC service of absences."""

from typing import Any

from kontor.sales.v1 import absence_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Transaction
from kontor_kit.errors import InvalidArgument
from kontor_kit.methods import ResourceServicer
from kontor_sales.absences import rules
from kontor_sales.absences.table import ABSENCE


class Absences(ResourceServicer):
    """Serves absences."""

    SERVICE = absence_service_pb2.DESCRIPTOR.services_by_name["AbsenceService"]
    RESOURCE = ABSENCE

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Check the times."""
        if violations := rules.check(after):
            raise InvalidArgument(*violations)
