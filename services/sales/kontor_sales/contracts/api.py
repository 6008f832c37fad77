"""The gRPC service of contracts."""

import datetime as dt
import logging
import uuid
from typing import Any

from kontor.sales.v1 import contract_service_pb2, opportunity_pb2
from kontor_kit import money
from kontor_kit.calls import Call
from kontor_kit.checks import at
from kontor_kit.db import Transaction
from kontor_kit.due import Due
from kontor_kit.errors import FailedPrecondition, InvalidArgument, KontorError
from kontor_kit.methods import ResourceServicer
from kontor_kit.records import Records
from kontor_kit.shared import Shared
from kontor_kit.store import Locked, Store
from kontor_kit.tracing import Trace
from kontor_sales.contracts import rules
from kontor_sales.contracts.table import CONTRACT
from kontor_sales.orders.table import ORDER

logger = logging.getLogger(__name__)


class Contracts(ResourceServicer):
    """Serves contracts; what is raised for their renewal is kept by `opportunities`."""

    SERVICE = contract_service_pb2.DESCRIPTOR.services_by_name["ContractService"]
    RESOURCE = CONTRACT

    def __init__(self, shared: Shared, opportunities: Records) -> None:
        super().__init__(shared)
        self._opportunities = opportunities
        self._order_store = Store(ORDER)

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the contract into form, with the days that follow."""
        if before is None and after.order:
            self.referred(tx, call, self._order_store, after.order, "order")
        if violations := rules.normalise(after):
            raise InvalidArgument(*violations)

    def terminate_contract(self, request: Any, call: Call, tx: Transaction) -> Any:
        """End a contract by notice."""
        if violations := rules.check_day(request, "notice_date"):
            raise InvalidArgument(*violations)
        given = rules.day_of(request, "notice_date") or dt.datetime.now(dt.UTC).date()
        locked, after = self._begin(request, call, tx)
        rules.terminate(after, given, request.reason)
        return self.shown(tx, call, self.save(tx, call, locked, after, "terminated"))

    def renew_contract(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Let a contract go on for another term."""
        locked, after = self._begin(request, call, tx)
        if not after.HasField("end_date") or not after.renewal_months:
            raise FailedPrecondition("the contract says nothing of how it is renewed", reason="NOT_RENEWABLE")
        if request.HasField("amount"):
            if violations := money.check(request.amount, "amount"):
                raise InvalidArgument(*violations)
            after.amount.CopyFrom(request.amount)
        rules.renew(after)
        return self.shown(tx, call, self.save(tx, call, locked, after, "renewed"))

    def _begin(self, request: Any, call: Call, tx: Transaction) -> tuple[Locked, Any]:
        locked = self.lock(tx, call, request.name)
        self.check_etag(call, locked, request.etag)
        if locked.message.state != rules.ACTIVE:
            raise FailedPrecondition("notice was given for the contract", reason="TERMINATED")
        return locked, _copy(locked.message)

    # What the job does, as the service itself.

    def pass_time(self, tx: Transaction, trace: Trace, id: Any, today: dt.date) -> bool:
        """Do what is due for a contract by `today`: renew it, raise an opportunity; return whether there was anything."""
        call = self.own_call(tx, trace)
        locked = self.store.lock(tx, self.reach(call), self.scope(call), [id]).get(id)
        if locked is None or locked.message.HasField("delete_time"):
            return False
        after = _copy(locked.message)
        renewed = False
        while rules.is_over(after, today):
            rules.renew(after)
            renewed = True
        if renewed:
            self.put(tx, call, locked, after, "renewed")
            return True
        # Somebody may have been faster: due is what the locked record says.
        if not rules.is_due(after, today):
            return False
        after.renewal_opportunity = self._raise_opportunity(tx, trace, after, today)
        rules.set_day(after, "renewal_raised_for", rules.day_of(after, "end_date"))
        rules.follow(after)
        self.put(tx, call, locked, after, "renewal_due")
        return True

    def _raise_opportunity(self, tx: Transaction, trace: Trace, contract: Any, today: dt.date) -> str:
        """Return the name of a new opportunity; the one before where the tenant's rules do not let it be created."""
        opportunity = opportunity_pb2.Opportunity(
            display_name=f"Renewal: {contract.display_name}"[:200],
            description=f"Raised for {contract.name}",
            account=contract.account,
            owner=contract.owner,
            team=contract.team,
            close_date=contract.notice_date,
            source="renewal",
            next_step="Talk about the renewal",
            next_step_date={"year": today.year, "month": today.month, "day": today.day},
        )
        if contract.HasField("amount"):
            opportunity.amount.CopyFrom(contract.amount)
        try:
            with tx.savepoint(), at("opportunity"):
                created = self._opportunities.new(tx, self._opportunities.own_call(tx, trace), opportunity)
        except KontorError as error:
            logger.warning("no opportunity for a renewal", extra={"resource": contract.name, "reason": str(error)})
            return str(contract.renewal_opportunity)
        return str(created.name)


def _copy(contract: Any) -> Any:
    copy = type(contract)()
    copy.CopyFrom(contract)
    return copy


def _pass_time(records: Any, tx: Transaction, trace: Trace, id: uuid.UUID, now: dt.datetime) -> None:
    records["contracts"].pass_time(tx, trace, id, now.date())


_TODAY = "CAST(timezone('UTC', :now) AS date)"

RENEW_CONTRACTS = Due(
    "renew-contracts",
    "contracts",
    [f"renewal_due_date <= {_TODAY}", f"state = 1 AND renewal = 3 AND end_date < {_TODAY}"],
    _pass_time,
    seconds=600.0,
)
