"""The gRPC service of assignment rules."""

from __future__ import annotations

from typing import Any

from kontor.sales.v1 import lead_assignment_rule_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Transaction
from kontor_kit.errors import InvalidArgument
from kontor_kit.methods import ResourceServicer
from kontor_sales.lead_assignment_rules import rules
from kontor_sales.lead_assignment_rules.table import LEAD_ASSIGNMENT_RULE


class LeadAssignmentRules(ResourceServicer):
    """Serves assignment rules."""

    SERVICE = lead_assignment_rule_service_pb2.DESCRIPTOR.services_by_name["LeadAssignmentRuleService"]
    RESOURCE = LEAD_ASSIGNMENT_RULE

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the rule into form."""
        if violations := rules.normalise(after):
            raise InvalidArgument(*violations)
