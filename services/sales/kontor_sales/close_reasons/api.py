"""The gRPC service of close reasons."""

from typing import Any

from kontor.sales.v1 import close_reason_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Transaction
from kontor_kit.errors import InvalidArgument
from kontor_kit.methods import ResourceServicer
from kontor_sales.close_reasons.table import CLOSE_REASON


class CloseReasons(ResourceServicer):
    """Serves close reasons."""

    SERVICE = close_reason_service_pb2.DESCRIPTOR.services_by_name["CloseReasonService"]
    RESOURCE = CLOSE_REASON

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """See that the reason has a name."""
        if after.display_name and not after.display_name.strip():
            raise InvalidArgument(("display_name", "must not be blank"))
