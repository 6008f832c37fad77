"""The database of the service."""

import pytest

from kontor_kit.testing.schema import DatabaseChecks
from kontor_sales.service import service


class TestDatabase(DatabaseChecks):
    made = staticmethod(service)

    @pytest.fixture(autouse=True)
    def _some_records(self, anna):
        """What is not there could not be seen."""
        anna("CreateProduct", product={"sku": "A", "display_name": "A", "tags": ["t"]}, request_id="r")
