"""The gRPC service of products."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

from kontor.sales.v1 import product_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Transaction
from kontor_kit.errors import InvalidArgument
from kontor_kit.methods import ResourceServicer
from kontor_sales.products import rules
from kontor_sales.products.table import PRODUCT


class Products(ResourceServicer):
    """Serves products."""

    SERVICE = product_service_pb2.DESCRIPTOR.services_by_name["ProductService"]
    RESOURCE = PRODUCT

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the product into form."""
        if violations := rules.normalise(after):
            raise InvalidArgument(*violations)

    def decorate(self, tx: Transaction, records: Sequence[Any]) -> None:
        """Tell how old what is known of the availability is."""
        now = dt.datetime.now(dt.UTC)
        for product in records:
            if product.HasField("availability"):
                age = max(now - product.availability.as_of_time.ToDatetime(dt.UTC), dt.timedelta())
                product.availability.age.FromTimedelta(age)

    def report_availability(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Keep what is reported, where it is newer than what is known."""
        now = dt.datetime.now(dt.UTC)
        if not request.HasField("as_of_time"):
            request.as_of_time.FromDatetime(now)
        if violations := rules.check_report(request, now):
            raise InvalidArgument(*violations)
        locked = self.lock(tx, call, request.name)
        known = locked.message.availability
        if (
            locked.message.HasField("availability")
            and known.as_of_time.ToNanoseconds() >= request.as_of_time.ToNanoseconds()
        ):
            return self.shown(tx, call, locked.message)
        after = type(locked.message)()
        after.CopyFrom(locked.message)
        known = after.availability
        known.stock.CopyFrom(request.stock)
        known.lead_time_days = request.lead_time_days
        known.as_of_time.CopyFrom(request.as_of_time)
        return self.shown(tx, call, self.put(tx, call, locked, after, "availability_reported"))
