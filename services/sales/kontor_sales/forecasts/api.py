"""The gRPC service of forecasts: reports over deals, as far as the caller may see them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from kontor.sales.v1 import forecast_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Transaction
from kontor_kit.ids import parse_name
from kontor_kit.methods import ResourceServicer
from kontor_kit.operations.servicer import Operations
from kontor_kit.pages import page_size
from kontor_kit.records import principal_of
from kontor_kit.shared import Shared
from kontor_kit.store import is_live
from kontor_sales.forecasts import funnel, outcomes, winning
from kontor_sales.forecasts.bridge import bridge
from kontor_sales.forecasts.rollup import Asked, roll_up
from kontor_sales.opportunities.table import OPPORTUNITY


class Forecasts(ResourceServicer):
    """Serves forecasts of opportunities; `today` is the day it is (UTC)."""

    SERVICE = forecast_service_pb2.DESCRIPTOR.services_by_name["ForecastService"]
    RESOURCE = OPPORTUNITY

    def __init__(self, shared: Shared, today: Callable[[], dt.date]) -> None:
        super().__init__(shared)
        self._today = today
        self._operations = Operations(shared.domain)

    def roll_up_forecast(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Return the forecast of a period."""
        response: Any = call.method.output()
        period = (request.period, str(request.date), request.fiscal_year_start_month)
        what = (request.pipeline, request.group_by, request.mode)
        arguments = ("roll-up", str(principal_of(call).tenant_id), *period, *what)
        tokens = self.shared.page_tokens
        after = tokens.open(request.page_token, arguments)[0] if request.page_token else None
        asked = Asked(request, self._today(), page_size(request.page_size), after)
        if more := roll_up(tx, self.reach(call), asked, response):
            response.next_page_token = tokens.seal(arguments, [more])
        return response

    def bridge_forecast(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Return what happened between two snapshots."""
        response: Any = call.method.output()
        bridge(tx, self.reach(call), request, response)
        return response

    def show_funnel(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Return how far opportunities came."""
        response: Any = call.method.output()
        definitions = self.definitions(tx) if request.filter else {}
        funnel.show(tx, self.reach(call), request, definitions, response)
        return response

    def analyze_outcomes(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Return why opportunities were won or lost, or against whom."""
        response: Any = call.method.output()
        definitions = self.definitions(tx) if request.filter else {}
        outcomes.analyze(tx, self.reach(call), request, definitions, response)
        return response

    def predict_outcome(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Return how likely an opportunity is to be won."""
        id = parse_name(request.name, self.RESOURCE.pattern, "name")
        record = self.store.get_one(tx, self.reach(call), id, ("name", "delete_time"))
        if record is None or not is_live(record):
            raise self.not_found(request.name)
        response: Any = call.method.output()
        winning.predict(tx, request.name, response)
        return response

    def train_win_model(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Start to learn from what became of the tenant's opportunities."""
        winning.check_enough(tx)
        return self._operations.start(tx, call, winning.TRAIN, request)

    def show_win_model(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Return what is known of the predictions."""
        return winning.show(tx)
