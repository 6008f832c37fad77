"""The gRPC service of affiliations."""

from typing import Any

import sqlalchemy as sa

from kontor.contacts.v1 import affiliation_pb2, affiliation_service_pb2
from kontor_contacts.accounts.table import ACCOUNT
from kontor_contacts.affiliations import rules
from kontor_contacts.affiliations.table import AFFILIATION, affiliations
from kontor_contacts.contacts.table import CONTACT
from kontor_kit.calls import Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import InvalidArgument
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name
from kontor_kit.methods import ResourceServicer
from kontor_kit.principals import Scope
from kontor_kit.records import principal_of
from kontor_kit.shared import Shared
from kontor_kit.store import Reach, Store

_PRIMARY = Statement(
    sa.select(affiliations.c.id).where(
        affiliations.c.tenant_id == TENANT,
        affiliations.c.contact == sa.bindparam("contact", type_=sa.Uuid),
        affiliations.c.primary,
        affiliations.c.delete_time.is_(None),
    )
)


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
        if after.primary and (before is None or not before.primary):
            self._make_way(tx, call, after)

    def _make_way(self, tx: Transaction, call: Call, primary: Any) -> None:
        """Take the mark from the contact's other affiliations."""
        self.shared.requests.serialise(tx, f"affiliations/{primary.contact}")
        contact = parse_name(primary.contact, "contacts/{contact}", "contact")
        ids = [row[0] for row in tx.run(_PRIMARY, {"tenant": tx.tenant_id, "contact": contact})]
        # The contact is in reach, and its affiliations with it.
        everything = Reach(principal_of(call), Scope.ALL)
        for locked in self.store.lock(tx, everything, Scope.ALL, ids).values():
            if locked.message.name != primary.name:
                after = affiliation_pb2.Affiliation()
                after.CopyFrom(locked.message)
                after.primary = False
                self.save(tx, call, locked, after, "updated")
