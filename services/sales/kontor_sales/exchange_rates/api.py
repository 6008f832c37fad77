"""The gRPC service of exchange rates."""

from typing import Any

from kontor.sales.v1 import exchange_rate_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Transaction
from kontor_kit.errors import FailedPrecondition, InvalidArgument
from kontor_kit.methods import ResourceServicer
from kontor_sales.exchange_rates import rules
from kontor_sales.exchange_rates.table import EXCHANGE_RATE, base_currency


class ExchangeRates(ResourceServicer):
    """Serves exchange rates."""

    SERVICE = exchange_rate_service_pb2.DESCRIPTOR.services_by_name["ExchangeRateService"]
    RESOURCE = EXCHANGE_RATE

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the rate into form, and hold all rates of the tenant to one base currency."""
        if violations := rules.normalise(after):
            raise InvalidArgument(*violations)
        # One base currency is decided on at a time.
        self.shared.requests.serialise(tx, self.RESOURCE.collection)
        base = base_currency(tx)
        if base and base != after.base_currency_code:
            raise FailedPrecondition(f"the base currency of the other rates is {base}", reason="OTHER_BASE_CURRENCY")
