"""The gRPC service of forecasts: reports over deals, as far as the caller may see them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from kontor.sales.v1 import forecast_service_pb2
from kontor_kit.calls import Behavior, Call
from kontor_kit.records import principal_of, tenant_of
from kontor_kit.shared import Shared
from kontor_kit.store import Reach
from kontor_sales.forecasts.bridge import bridge
from kontor_sales.forecasts.rollup import roll_up


class Forecasts:
    """Serves forecasts; `today` is the day it is (UTC)."""

    SERVICE = forecast_service_pb2.DESCRIPTOR.services_by_name["ForecastService"]

    def __init__(self, shared: Shared, today: Callable[[], dt.date]) -> None:
        self._shared = shared
        self._today = today

    def handler(self, method: str) -> Behavior | None:
        """Return what serves the RPC of this name; None where nothing does."""
        known = {"RollUpForecast": self.roll_up, "BridgeForecast": self.bridge}
        return known.get(method)

    def roll_up(self, request: Any, call: Call) -> Any:
        """Return the forecast of a period."""
        response: Any = call.method.output()
        with self._shared.database.read(tenant_of(call)) as tx:
            roll_up(tx, _reach(call), request, self._today(), response)
        return response

    def bridge(self, request: Any, call: Call) -> Any:
        """Return what happened between two snapshots."""
        response: Any = call.method.output()
        with self._shared.database.read(tenant_of(call)) as tx:
            bridge(tx, _reach(call), request, response)
        return response


def _reach(call: Call) -> Reach:
    """Return what the caller may see: as far as the permission of the method, which is that to read opportunities."""
    assert call.scope is not None, "the method needs a permission"
    return Reach(principal_of(call), call.scope)
