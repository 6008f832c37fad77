"""The gRPC service of forecast adjustments."""

from typing import Any, Final

from kontor.sales.v1 import forecast_adjustment_service_pb2
from kontor_kit import money
from kontor_kit.calls import Call
from kontor_kit.db import Transaction
from kontor_kit.errors import InvalidArgument, PermissionDenied, Violation
from kontor_kit.methods import ResourceServicer
from kontor_kit.records import principal_of
from kontor_kit.store import Locked
from kontor_sales.forecast_adjustments.table import FORECAST_ADJUSTMENT
from kontor_sales.forecasts import rules as periods
from kontor_sales.lines.rules import MOST_TOTAL

OWNER: Final = 1
MANAGER: Final = 2
"""As ForecastAdjustment.Level."""


class ForecastAdjustments(ResourceServicer):
    """Serves forecast adjustments."""

    SERVICE = forecast_adjustment_service_pb2.DESCRIPTOR.services_by_name["ForecastAdjustmentService"]
    RESOURCE = FORECAST_ADJUSTMENT

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """See that it says for when and how much, and write down who says so."""
        violations = periods.check_start(after)
        violations += money.check(after.amount, "amount", negative=True, most=MOST_TOTAL)
        if not after.owner:
            violations.append(Violation("owner", "is required where no user creates the adjustment"))
        if before is not None and before.owner != after.owner:
            violations.append(Violation("owner", "stays: an adjustment is laid over the forecast of one person"))
        if violations:
            raise InvalidArgument(*violations)
        if before is None:
            after.level = OWNER if principal_of(call).subject == after.owner else MANAGER

    def lock(self, tx: Transaction, call: Call, name: str, field: str = "name", *, live: bool = True) -> Locked:
        """Lock an adjustment for a change: what people above say is not for the owner of the forecast to change."""
        locked = super().lock(tx, call, name, field, live=live)
        if locked.message.level == MANAGER and locked.message.owner == principal_of(call).subject:
            raise PermissionDenied(f"{name} is what somebody above you says", reason="OUT_OF_SCOPE")
        return locked
