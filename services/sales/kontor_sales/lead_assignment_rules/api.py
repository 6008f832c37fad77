"""The gRPC service of assignment rules."""

from __future__ import annotations

from typing import Any

from kontor.sales.v1 import lead_assignment_rule_pb2, lead_assignment_rule_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Transaction
from kontor_kit.errors import InvalidArgument, Violation
from kontor_kit.methods import ResourceServicer
from kontor_kit.references import foreign_fields
from kontor_sales.lead_assignment_rules import rules
from kontor_sales.lead_assignment_rules.table import LEAD_ASSIGNMENT_RULE

(_USER,) = foreign_fields(lead_assignment_rule_pb2.LeadAssignmentRule.Member.DESCRIPTOR)  # type: ignore[arg-type]


class LeadAssignmentRules(ResourceServicer):
    """Serves assignment rules."""

    SERVICE = lead_assignment_rule_service_pb2.DESCRIPTOR.services_by_name["LeadAssignmentRuleService"]
    RESOURCE = LEAD_ASSIGNMENT_RULE

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the rule into form, and see that its new members are there."""
        if violations := rules.normalise(after):
            raise InvalidArgument(*violations)
        known = {member.user for member in before.members} if before is not None else set()
        for place, member in enumerate(after.members):
            if member.user not in known:
                found = self.shared.references.check(call, _USER, [member.user])
                if found:
                    raise InvalidArgument(*(Violation(f"members[{place}].user", text) for _, text in found))
