"""The gRPC service of territories."""

from typing import Any

from kontor.sales.v1 import territory_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Transaction
from kontor_kit.errors import FailedPrecondition, InvalidArgument
from kontor_kit.methods import ResourceServicer
from kontor_kit.store import is_live
from kontor_sales.territories import rules
from kontor_sales.territories.table import TERRITORY, live_territories


class Territories(ResourceServicer):
    """Serves territories."""

    SERVICE = territory_service_pb2.DESCRIPTOR.services_by_name["TerritoryService"]
    RESOURCE = TERRITORY

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the territory into form, and see that its parent is one it can stand below."""
        if violations := rules.normalise(after):
            raise InvalidArgument(*violations)
        back = before is not None and not is_live(before)
        if after.parent and (before is None or back or after.parent != before.parent):
            if not back:
                self.referred(tx, call, self.store, after.parent, "parent")
            # Two that move at the same time could close a circle which neither of them sees.
            self.shared.requests.serialise(tx, "territories/parent")
            known = {territory.name: territory for territory in live_territories(tx)}
            if back:
                known[after.name] = after
            problem = rules.parent_problem(after.name, rules.line(after.parent, known), rules.height(after.name, known))
            if problem and back:
                raise FailedPrecondition(problem, reason="WRONG_PARENT")
            if problem:
                raise InvalidArgument(("parent", problem))
