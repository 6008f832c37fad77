"""The gRPC service of the tenants' own fields."""

from typing import Any

from kontor.contacts.v1 import custom_field_definition_pb2, custom_field_definition_service_pb2
from kontor_contacts.custom_field_definitions import rules
from kontor_contacts.custom_field_definitions.table import CUSTOM_FIELD_DEFINITION
from kontor_kit.calls import Call
from kontor_kit.catalogue import collections_with
from kontor_kit.db import Transaction
from kontor_kit.errors import InvalidArgument, ResourceExhausted
from kontor_kit.filter_sql import CUSTOM
from kontor_kit.methods import ResourceServicer

_TYPE = custom_field_definition_pb2.CustomFieldDefinition.Type


class CustomFieldDefinitions(ResourceServicer):
    """Serves the tenants' own fields: those of the records of all services, which follow them."""

    SERVICE = custom_field_definition_service_pb2.DESCRIPTOR.services_by_name["CustomFieldDefinitionService"]
    RESOURCE = CUSTOM_FIELD_DEFINITION

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """See that the definition makes sense, and that there are not too many."""
        kind = _TYPE.Name(after.type).removeprefix("TYPE_")
        minimum, maximum = (
            getattr(after, name) if after.HasField(name) else None for name in ("min_value", "max_value")
        )
        violations = [
            *rules.check_options(kind, after.options, before.options if before is not None else ()),
            *rules.check_limits(kind, minimum, maximum, after.max_length),
            *rules.check_collection(after.resource_type, collections_with(CUSTOM)),
        ]
        if violations:
            raise InvalidArgument(*violations)
        if before is None or before.HasField("delete_time"):
            self._check_number(tx, after)

    def record(self, tx: Transaction, call: Call, event: str, **change: Any) -> None:
        """Write down the change, and forget what was remembered of the tenant's fields."""
        super().record(tx, call, event, **change)
        self.shared.definitions.forget(tx.tenant_id, change["after"].resource_type)

    def _check_number(self, tx: Transaction, definition: Any) -> None:
        self.shared.requests.serialise(tx, f"customFieldDefinitions/{definition.resource_type}")
        others = self.shared.definitions.load(tx, definition.resource_type, fresh=True)
        if len(others) >= rules.MAX_DEFINITIONS:
            raise ResourceExhausted(f"{definition.resource_type} have {rules.MAX_DEFINITIONS} fields, and no more")
        if definition.filterable and sum(other.filterable for other in others.values()) >= rules.MAX_FILTERABLE:
            raise ResourceExhausted(f"{rules.MAX_FILTERABLE} fields of {definition.resource_type} can be filtered by")
