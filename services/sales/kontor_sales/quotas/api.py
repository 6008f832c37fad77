"""The gRPC service of quotas."""

from typing import Any

from kontor.sales.v1 import quota_service_pb2
from kontor_kit import money
from kontor_kit.calls import Call
from kontor_kit.db import Transaction
from kontor_kit.errors import InvalidArgument, Violation
from kontor_kit.methods import ResourceServicer
from kontor_sales.forecasts import rules as periods
from kontor_sales.lines.rules import MOST_TOTAL
from kontor_sales.quotas.table import QUOTA


class Quotas(ResourceServicer):
    """Serves quotas."""

    SERVICE = quota_service_pb2.DESCRIPTOR.services_by_name["QuotaService"]
    RESOURCE = QUOTA

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """See that it says for whom, and for when."""
        violations = [*periods.check_start(after), *money.check(after.amount, "amount", most=MOST_TOTAL)]
        if after.whole_team and not after.team:
            violations.append(Violation("team", "is required where it is the quota of the whole team"))
        if not after.owner:
            violations.append(Violation("owner", "is required where no user creates the quota"))
        if violations:
            raise InvalidArgument(*violations)
