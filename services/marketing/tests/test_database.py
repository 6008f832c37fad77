"""The database of the service."""

from kontor_kit.testing.schema import DatabaseChecks
from kontor_marketing.service import service


class TestDatabase(DatabaseChecks):
    made = staticmethod(service)
