"""The database of the service."""

import pytest

from kontor_contacts.service import service
from kontor_kit.testing.schema import DatabaseChecks


class TestDatabase(DatabaseChecks):
    made = staticmethod(service)

    @pytest.fixture(autouse=True)
    def _some_records(self, anna):
        """What is not there could not be seen."""
        anna("CreateContact", contact={"family_name": "A", "emails": [{"address": "a@b.example"}]}, request_id="r")
