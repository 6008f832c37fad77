"""The database of the service."""

import pytest

from kontor_kit.testing.schema import ACROSS_TENANTS, DatabaseChecks
from kontor_sales.service import service


class TestDatabase(DatabaseChecks):
    made = staticmethod(service)
    # The key of a feed or a form says whose it is; scores are refreshed over all tenants.
    across_tenants = ACROSS_TENANTS | {
        "calendar_feed_keys_digest",
        "lead_form_keys_digest",
        "lead_score_refreshes_due_time",
    }

    @pytest.fixture(autouse=True)
    def _some_records(self, anna):
        """What is not there could not be seen."""
        anna("CreateProduct", product={"sku": "A", "display_name": "A", "tags": ["t"]}, request_id="r")
