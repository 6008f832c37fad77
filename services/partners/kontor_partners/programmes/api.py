"""The gRPC service of programmes."""

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from kontor.partners.v1 import programme_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import FailedPrecondition, InvalidArgument
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name
from kontor_kit.methods import ResourceServicer
from kontor_kit.tables import KEY_TEXT
from kontor_partners.partners.table import partners
from kontor_partners.programmes import rules
from kontor_partners.programmes.table import PROGRAMME

_ITS: Final = (partners.c.tenant_id == TENANT, partners.c.programme == sa.bindparam("programme", type_=sa.Uuid))
_LEVELS: Final = sa.any_(sa.bindparam("levels", type_=ARRAY(KEY_TEXT)))
# Deleted ones too: they can come back.
_USED: Final = Statement(
    sa.select(partners.c.id)
    .where(*_ITS, sa.or_(partners.c.level == _LEVELS, partners.c.next_level == _LEVELS))
    .limit(1)
)
_ANY: Final = Statement(sa.select(partners.c.id).where(*_ITS).limit(1))


class Programmes(ResourceServicer):
    """Serves programmes."""

    SERVICE = programme_service_pb2.DESCRIPTOR.services_by_name["ProgrammeService"]
    RESOURCE = PROGRAMME

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the programme into form; its row is locked, so that no partner enters a level that is removed."""
        if violations := rules.normalise(after):
            raise InvalidArgument(*violations)
        gone = rules.removed(before, after) if before is not None else set()
        if gone and tx.run(_USED, {**self._its(tx, after.name), "levels": sorted(gone)}):
            raise FailedPrecondition("partners are at a level that would be removed", reason="LEVEL_IN_USE")

    def delete(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Delete a programme that no partner is in."""
        self.lock(tx, call, request.name, live=False)
        if tx.run(_ANY, self._its(tx, request.name)):
            raise FailedPrecondition("partners are in the programme", reason="PROGRAMME_IN_USE")
        return super().delete(request, call, tx)

    @staticmethod
    def _its(tx: Transaction, name: str) -> dict[str, Any]:
        return {"tenant": tx.tenant_id, "programme": parse_name(name, PROGRAMME.pattern, "name")}
