"""The gRPC service of address statuses."""

from typing import Any

import sqlalchemy as sa

from kontor.contacts.v1 import address_status_pb2, address_status_service_pb2
from kontor_contacts.address_statuses import rules
from kontor_contacts.address_statuses.table import ADDRESS_STATUS, address_statuses
from kontor_kit import masks
from kontor_kit.calls import Call
from kontor_kit.checks import at
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import InvalidArgument
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import format_name
from kontor_kit.methods import ResourceServicer

_KINDS = {
    address_status_pb2.AddressStatus.KIND_EMAIL: rules.email,
    address_status_pb2.AddressStatus.KIND_PHONE: rules.phone,
}
_FIND = Statement(
    sa.select(address_statuses.c.id).where(
        address_statuses.c.tenant_id == TENANT,
        address_statuses.c.address == sa.bindparam("address", type_=address_statuses.c.address.type),
        address_statuses.c.delete_time.is_(None),
    )
)


class AddressStatuses(ResourceServicer):
    """Serves address statuses."""

    SERVICE = address_status_service_pb2.DESCRIPTOR.services_by_name["AddressStatusService"]
    RESOURCE = ADDRESS_STATUS

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the address into the form it is looked up in."""
        self._normalise(after)

    def set_address_status(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Create the status of an address, or change it where there is one."""
        given = request.address_status
        with at("address_status"):
            self._normalise(given)
        self.shared.requests.serialise(tx, f"addressStatuses/{given.address}")
        found = tx.run(_FIND, {"tenant": tx.tenant_id, "address": given.address})
        if found:
            locked = self.lock(tx, call, format_name(self.RESOURCE.collection, found[0][0]))
            status = self.change(tx, call, locked, given, masks.update_paths(request.update_mask, given))
        else:
            with at("address_status"):
                self.shared.checks.record(given)
                status = self.shown(tx, call, self.new(tx, call, given, scope=self.scope(call, self.create_permission)))
        return call.method.output(address_status=status, created=not found)

    @staticmethod
    def _normalise(status: Any) -> None:
        rule = _KINDS.get(status.kind)
        if rule is None:
            raise InvalidArgument(("kind", "is required"))
        try:
            status.address = rule(status.address)
        except ValueError as error:
            raise InvalidArgument(("address", str(error))) from None
