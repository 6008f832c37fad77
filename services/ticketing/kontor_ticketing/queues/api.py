"""The gRPC service of queues."""

from __future__ import annotations

from typing import Any

from kontor.ticketing.v1 import queue_pb2, queue_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Transaction
from kontor_kit.errors import InvalidArgument, Violation
from kontor_kit.methods import ResourceServicer
from kontor_kit.references import foreign_fields
from kontor_ticketing.queues import rules
from kontor_ticketing.queues.table import QUEUE

(_USER,) = foreign_fields(queue_pb2.Queue.Member.DESCRIPTOR)  # type: ignore[arg-type]


class Queues(ResourceServicer):
    """Serves queues."""

    SERVICE = queue_service_pb2.DESCRIPTOR.services_by_name["QueueService"]
    RESOURCE = QUEUE

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the queue into form, and see that its new members are there."""
        if violations := rules.normalise(after):
            raise InvalidArgument(*violations)
        known = {member.user for member in before.members} if before is not None else set()
        for place, member in enumerate(after.members):
            if member.user not in known:
                found = self.shared.references.check(call, _USER, [member.user])
                if found:
                    raise InvalidArgument(*(Violation(f"members[{place}].user", text) for _, text in found))
