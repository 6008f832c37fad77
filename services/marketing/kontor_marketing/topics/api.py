"""The gRPC service of topics."""

from typing import Any

from kontor.marketing.v1 import topic_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Transaction
from kontor_kit.errors import InvalidArgument
from kontor_kit.methods import ResourceServicer
from kontor_marketing.topics import rules
from kontor_marketing.topics.table import TOPIC


class Topics(ResourceServicer):
    """Serves topics."""

    SERVICE = topic_service_pb2.DESCRIPTOR.services_by_name["TopicService"]
    RESOURCE = TOPIC

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the topic into form."""
        if violations := rules.normalise(after):
            raise InvalidArgument(*violations)
