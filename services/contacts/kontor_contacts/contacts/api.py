"""The gRPC service of contacts."""

from collections.abc import Sequence
from typing import Any

from kontor.contacts.v1 import contact_pb2, contact_service_pb2
from kontor_contacts.address_statuses.table import mark_addresses
from kontor_contacts.contacts import rules
from kontor_contacts.contacts.table import CONTACT
from kontor_kit.calls import Call
from kontor_kit.db import Transaction
from kontor_kit.errors import FailedPrecondition, InvalidArgument
from kontor_kit.methods import ResourceServicer
from kontor_kit.terms import Term


class Contacts(ResourceServicer):
    """Serves contacts."""

    SERVICE = contact_service_pb2.DESCRIPTOR.services_by_name["ContactService"]
    RESOURCE = CONTACT

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the contact into form, and see that its lifecycle does not go back."""
        violations = rules.normalise(after, before)
        if violations:
            raise InvalidArgument(*violations)
        if before is not None and not rules.is_step_allowed(before.lifecycle_stage, after.lifecycle_stage):
            stages = contact_pb2.Contact.LifecycleStage
            raise FailedPrecondition(
                f"the lifecycle goes forward only, not from {stages.Name(before.lifecycle_stage)} to"
                f" {stages.Name(after.lifecycle_stage)}; clear the stage first",
                reason="LIFECYCLE_GOES_FORWARD",
            )

    def match_terms(self, record: Any) -> set[Term]:
        """Suspect contacts with the same name and place, e-mail address, or phone number and family name."""
        return {self.term(f"match.{key.field}", key.value) for key in rules.match_keys(record)}

    def decorate(self, tx: Transaction, records: Sequence[Any]) -> None:
        """Tell what is known of the addresses."""
        mark_addresses(tx, records)
