"""The gRPC service of the tenants' own fields."""

from typing import Any

import sqlalchemy as sa

from kontor.contacts.v1 import custom_field_definition_pb2, custom_field_definition_service_pb2
from kontor_contacts.custom_field_definitions import rules
from kontor_contacts.custom_field_definitions.table import CUSTOM_FIELD_DEFINITION, custom_field_definitions
from kontor_kit.calls import Call
from kontor_kit.catalogue import collections_with
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from kontor_kit.filter_sql import CUSTOM, TENANT
from kontor_kit.methods import ResourceServicer

_TYPE = custom_field_definition_pb2.CustomFieldDefinition.Type
_MEANING = ("resource_type", "key", "type", "filterable")
_GIVEN = {name: sa.bindparam(name, type_=custom_field_definitions.c[name].type) for name in _MEANING}
_OTHERS = Statement(
    sa.select(custom_field_definitions.c.id)
    .where(
        custom_field_definitions.c.tenant_id == TENANT,
        custom_field_definitions.c.resource_type == _GIVEN["resource_type"],
        custom_field_definitions.c.key == _GIVEN["key"],
        custom_field_definitions.c.delete_time.is_not(None),
        sa.or_(
            custom_field_definitions.c.type != _GIVEN["type"],
            custom_field_definitions.c.filterable != _GIVEN["filterable"],
        ),
    )
    .limit(1)
)


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
        if before is None:
            self._check_key(tx, after)

    def record(self, tx: Transaction, call: Call, event: str, **change: Any) -> None:
        """Write down the change, and forget what was remembered of the tenant's fields."""
        super().record(tx, call, event, **change)
        self.shared.definitions.forget(tx.tenant_id, change["after"].resource_type)

    @staticmethod
    def _check_key(tx: Transaction, definition: Any) -> None:
        """See that records cannot have values that were of another field with this key."""
        if tx.run(_OTHERS, {"tenant": tx.tenant_id, **{name: getattr(definition, name) for name in _MEANING}}):
            raise FailedPrecondition(
                f"records may have values of a deleted field {definition.key} of another type, or filtered otherwise;"
                " choose another key",
                reason="KEY_MEANT_SOMETHING_ELSE",
            )

    def _check_number(self, tx: Transaction, definition: Any) -> None:
        self.shared.requests.serialise(tx, f"customFieldDefinitions/{definition.resource_type}")
        others = self.shared.definitions.load(tx, definition.resource_type, fresh=True)
        if len(others) >= rules.MAX_DEFINITIONS:
            raise ResourceExhausted(f"{definition.resource_type} have {rules.MAX_DEFINITIONS} fields, and no more")
        if definition.filterable and sum(other.filterable for other in others.values()) >= rules.MAX_FILTERABLE:
            raise ResourceExhausted(f"{rules.MAX_FILTERABLE} fields of {definition.resource_type} can be filtered by")
