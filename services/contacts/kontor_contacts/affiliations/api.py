"""The gRPC service of affiliations."""

from typing import Any

from kontor.contacts.v1 import affiliation_service_pb2
from kontor_contacts.accounts.table import ACCOUNT
from kontor_contacts.affiliations import rules
from kontor_contacts.affiliations.table import AFFILIATION
from kontor_contacts.contacts.table import CONTACT
from kontor_kit.calls import Call
from kontor_kit.db import Transaction
from kontor_kit.errors import InvalidArgument
from kontor_kit.marks import Mark
from kontor_kit.methods import ResourceServicer
from kontor_kit.records import principal_of
from kontor_kit.shared import Shared
from kontor_kit.store import Store

_PRIMARY = Mark(AFFILIATION, "primary", among="contact")


class Affiliations(ResourceServicer):
    """Serves affiliations. They follow their contact: whoever reaches it reaches them."""

    SERVICE = affiliation_service_pb2.DESCRIPTOR.services_by_name["AffiliationService"]
    RESOURCE = AFFILIATION

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._contacts = Store(CONTACT)
        self._accounts = Store(ACCOUNT)

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """See that both ends are there, that the days are in order, and that one affiliation at most is primary."""
        if before is None:
            contact = self.referred(tx, call, self._contacts, after.contact, "contact")
            # To see a contact is not enough: who adds to it changes it.
            CONTACT.scope.check(principal_of(call), self.scope(call, self.create_permission), contact)
            self.referred(tx, call, self._accounts, after.account, "account")
        violations = rules.check_period(
            after.valid_from if after.HasField("valid_from") else None,
            after.valid_to if after.HasField("valid_to") else None,
        )
        if violations:
            raise InvalidArgument(*violations)
        _PRIMARY.take(self, tx, call, before, after)
