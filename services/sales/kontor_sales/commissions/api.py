"""The gRPC services of commission plans and commissions."""

import datetime as dt
import uuid
from collections.abc import Sequence
from decimal import Decimal
from itertools import groupby
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from kontor.sales.v1 import commission_pb2, commission_plan_service_pb2, commission_service_pb2
from kontor_kit import money
from kontor_kit.calls import Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import InvalidArgument
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name
from kontor_kit.methods import ResourceServicer
from kontor_kit.principals import Principal, Scope
from kontor_kit.shared import Shared
from kontor_kit.store import Reach, Store
from kontor_kit.tables import KEY_TEXT
from kontor_sales.commissions import rules
from kontor_sales.commissions.table import COMMISSION, COMMISSION_PLAN, commission_plans, commissions
from kontor_sales.orders.table import ORDER, order_payments
from kontor_sales.products.table import find_families

MOST_PAYMENTS: Final = 10_000
"""So many payments are settled at once."""

_AGENT = sa.bindparam("agent", type_=sa.Uuid)
_SETTLED = Statement(
    sa.select(commissions.c.id)
    .where(
        commissions.c.tenant_id == TENANT,
        commissions.c.owner == _AGENT,
        commissions.c.month == sa.bindparam("month", type_=sa.Date),
        commissions.c.delete_time.is_(None),
    )
    .order_by(commissions.c.currency_code)
)
_PAYMENTS = Statement(
    sa.select(
        *(order_payments.c[name] for name in ("currency", "source", "external_id", "order", "pay_date", "amount"))
    )
    .where(
        order_payments.c.tenant_id == TENANT,
        order_payments.c.agent == _AGENT,
        order_payments.c.pay_date < sa.bindparam("end", type_=sa.Date),
        order_payments.c.commission.is_(None),
    )
    .order_by(
        order_payments.c.currency, order_payments.c.pay_date, order_payments.c.source, order_payments.c.external_id
    )
    .limit(MOST_PAYMENTS + 1)
    .with_for_update()
)
_KEY: Final = ("source", "external_id")
_settled = (
    sa.func.unnest(*(sa.bindparam(f"{name}s", type_=ARRAY(KEY_TEXT)) for name in _KEY))
    .table_valued(*(sa.column(name, KEY_TEXT) for name in _KEY))
    .render_derived(name="settled")
)
# Those that were read and no others: some may have been paid since.
_MARK = Statement(
    order_payments.update()
    .where(order_payments.c.tenant_id == TENANT, *(order_payments.c[name] == _settled.c[name] for name in _KEY))
    .values(commission=sa.bindparam("its_commission", type_=sa.Uuid))
)
_PLANS = Statement(
    sa.select(*COMMISSION_PLAN.codec.columns()).where(
        commission_plans.c.tenant_id == TENANT, commission_plans.c.delete_time.is_(None)
    )
)


class _Payment(NamedTuple):
    currency: str
    source: str
    external_id: str
    order: uuid.UUID
    pay_date: dt.date
    amount: Decimal


class CommissionPlans(ResourceServicer):
    """Serves commission plans."""

    SERVICE = commission_plan_service_pb2.DESCRIPTOR.services_by_name["CommissionPlanService"]
    RESOURCE = COMMISSION_PLAN

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """See that the plan is in order."""
        if violations := rules.normalise(after):
            raise InvalidArgument(*violations)


class Commissions(ResourceServicer):
    """Serves commissions."""

    SERVICE = commission_service_pb2.DESCRIPTOR.services_by_name["CommissionService"]
    RESOURCE = COMMISSION

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._order_store = Store(ORDER)

    def settle_commissions(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Settle what an agent gets; what was settled is returned as it is."""
        if violations := rules.check_month(request.month, dt.datetime.now(dt.UTC).date()):
            raise InvalidArgument(*violations)
        month = rules.to_date(request.month)
        agent = parse_name(request.agent, "users/{user}", "agent")
        self.shared.requests.serialise(tx, f"commissions/{agent}")
        parameters = {"tenant": tx.tenant_id, "agent": agent, "month": month, "end": rules.month_after(month)}
        settled = [row[0] for row in tx.run(_SETTLED, parameters)]
        response: Any = call.method.output()
        if settled:
            found = self.store.get(tx, self.reach(call), settled)
            response.commissions.extend(found[id] for id in settled if id in found)
            return response
        payments = [_Payment(*row) for row in tx.run(_PAYMENTS, parameters)]
        if len(payments) > MOST_PAYMENTS:
            raise InvalidArgument(
                ("month", f"leaves more than {MOST_PAYMENTS} payments; settle an earlier month first")
            )
        lines = self._lines(tx, request.agent, payments) if payments else {}
        for currency, group in groupby(payments, key=lambda payment: payment.currency):
            its = list(group)
            commission = self._commission(request, currency, [part for payment in its for part in lines[payment]])
            created = self.new(tx, call, commission)
            id = parse_name(created.name, self.RESOURCE.pattern, "name")
            keys = {f"{name}s": [getattr(payment, name) for payment in its] for name in _KEY}
            tx.defer(_MARK, {"tenant": tx.tenant_id, **keys, "its_commission": id})
            response.commissions.append(created)
        return response

    @staticmethod
    def _commission(request: Any, currency: str, lines: Sequence[Any]) -> Any:
        commission = commission_pb2.Commission(
            owner=request.agent, month=request.month, currency_code=currency, lines=lines
        )
        total = sum((money.amount(line.amount) for line in lines), Decimal(0))
        money.fill(commission.total_amount, total, currency)
        return commission

    def _lines(self, tx: Transaction, agent: str, payments: Sequence[_Payment]) -> dict[_Payment, list[Any]]:
        """Return the lines that each payment gives."""
        assert tx.tenant_id is not None, "a payment belongs to a tenant"
        own = Reach(Principal.of_service("sales", tx.tenant_id), Scope.ALL)
        orders = self._order_store.get(tx, own, list({payment.order for payment in payments}))
        products = {line.product for order in orders.values() for line in order.lines if line.product}
        families = find_families(tx, products)
        load = COMMISSION_PLAN.codec.loader()
        rates = [rate for row in tx.run(_PLANS, {"tenant": tx.tenant_id}) for rate in rules.rates_of(load(row))]
        found = {}
        for payment in payments:
            order = orders[payment.order]
            by_family = rules.weights(order.lines, families)
            # By the day of the order: what is given back is taken back at the rate at which it was given.
            day = order.create_time.ToDatetime(dt.UTC).date()
            chosen = {family: rules.choose(rates, agent, family, day) for family in by_family}
            parts = rules.divide(payment.amount, payment.currency, by_family, chosen)
            found[payment] = [_line(order.name, payment, part) for part in parts]
        return found


def _line(order: str, payment: _Payment, part: rules.Part) -> Any:
    day = payment.pay_date
    return commission_pb2.Commission.Line(
        order=order,
        source=payment.source,
        external_id=payment.external_id,
        pay_date={"year": day.year, "month": day.month, "day": day.day},
        family=part.family,
        basis_amount=money.fields(part.basis, payment.currency),
        percent={"value": format(part.percent, "f")},
        plan=part.plan,
        amount=money.fields(part.amount, payment.currency),
    )
