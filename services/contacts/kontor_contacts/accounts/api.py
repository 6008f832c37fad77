"""The gRPC service of accounts."""

from typing import Any

from kontor.contacts.v1 import account_pb2, account_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Transaction
from kontor_kit.methods import ResourceServicer
from kontor_kit.resource import Resource

from kontor_contacts.accounts.table import accounts


class Accounts(ResourceServicer):
    """Serves accounts."""

    SERVICE = account_service_pb2.DESCRIPTOR.services_by_name["AccountService"]
    RESOURCE = Resource(account_pb2.Account, accounts)

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the contact points into form; check the parent."""
