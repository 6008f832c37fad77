"""The gRPC service of queues."""

from __future__ import annotations

from typing import Any

from kontor.ticketing.v1 import queue_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Transaction
from kontor_kit.errors import InvalidArgument
from kontor_kit.methods import ResourceServicer
from kontor_ticketing.queues import rules
from kontor_ticketing.queues.table import QUEUE


class Queues(ResourceServicer):
    """Serves queues."""

    SERVICE = queue_service_pb2.DESCRIPTOR.services_by_name["QueueService"]
    RESOURCE = QUEUE

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the queue into form."""
        if violations := rules.normalise(after):
            raise InvalidArgument(*violations)
