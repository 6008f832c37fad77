"""The gRPC service of score rules. Where they change, all leads of the tenant are scored anew."""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakSet

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from kontor.sales.v1 import lead_score_rule_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Transaction
from kontor_kit.errors import InvalidArgument
from kontor_kit.methods import ResourceServicer
from kontor_kit.operations.servicer import Operations
from kontor_kit.operations.work import Kind, Work
from kontor_kit.shared import Shared
from kontor_sales.lead_score_rules import rules
from kontor_sales.lead_score_rules.table import LEAD_SCORE_RULE


def _rescore(work: Work) -> None:
    work.service["leads"].rescore_all(work)


RESCORE: Final = Kind("rescore_leads", Empty, _rescore)
"""Scores all leads of a tenant anew."""


class LeadScoreRules(ResourceServicer):
    """Serves score rules."""

    SERVICE = lead_score_rule_service_pb2.DESCRIPTOR.services_by_name["LeadScoreRuleService"]
    RESOURCE = LEAD_SCORE_RULE

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._operations = Operations(shared.domain)
        self._begun: WeakSet[Transaction] = WeakSet()

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the rule into form."""
        if violations := rules.normalise(after):
            raise InvalidArgument(*violations)

    def record(
        self, tx: Transaction, call: Call, event: str, *, before: Message | None, after: Message, version: int
    ) -> None:
        """Write down the change, and begin to score all leads anew: once for all rules that a transaction changes."""
        super().record(tx, call, event, before=before, after=after, version=version)
        if tx not in self._begun:
            self._begun.add(tx)
            self._operations.start(tx, call, RESCORE, Empty())
