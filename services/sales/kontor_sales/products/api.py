"""The gRPC service of products."""

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
