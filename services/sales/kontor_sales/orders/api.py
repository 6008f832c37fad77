"""The gRPC service of orders."""

import datetime as dt
from typing import Any, Final

import sqlalchemy as sa

from kontor.sales.v1 import order_pb2, order_service_pb2
from kontor_kit import money
from kontor_kit.calls import Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import FailedPrecondition, InvalidArgument
from kontor_kit.ids import parse_name
from kontor_kit.methods import ResourceServicer
from kontor_kit.shared import Shared
from kontor_kit.store import Locked, Store
from kontor_sales.orders import rules
from kontor_sales.orders.table import ORDER, order_payments
from kontor_sales.quotes import rules as quote_rules
from kontor_sales.quotes.table import QUOTE

_PAYMENT: Final = ("tenant_id", "source", "external_id", "order", "agent", "pay_date", "currency", "amount")
_ADD_PAYMENT = Statement(
    order_payments.insert().values(
        {name: sa.bindparam(f"its_{name}", type_=order_payments.c[name].type) for name in _PAYMENT}
    )
)
_TAKEN_OVER: Final = ("opportunity", "account", "owner", "team")
_TAKEN_OVER_MESSAGES: Final = ("full_amount", "net_amount", "tax_amount", "gross_amount")
_State = order_pb2.Order.State


class Orders(ResourceServicer):
    """Serves orders."""

    SERVICE = order_service_pb2.DESCRIPTOR.services_by_name["OrderService"]
    RESOURCE = ORDER

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._quotes = Store(QUOTE)

    def order_quote(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Ask for what an accepted quote offers."""
        quote = self.referred(tx, call, self._quotes, request.name, "name")
        if quote.state != quote_rules.ACCEPTED:
            raise FailedPrecondition("only what was accepted can be ordered", reason="QUOTE_NOT_ACCEPTED")
        order = order_pb2.Order(
            quote=quote.name,
            note=request.note,
            state=rules.REQUESTED,  # type: ignore[arg-type]  # an enum of protobuf is a number
            lines=quote.lines,
            taxes=quote.taxes,
            **{name: getattr(quote, name) for name in _TAKEN_OVER},
        )
        for name in _TAKEN_OVER_MESSAGES:
            getattr(order, name).CopyFrom(getattr(quote, name))
        return self.shown(tx, call, self.new(tx, call, order))

    def report_order_state(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Write down what the system that handles orders says."""
        now = dt.datetime.now(dt.UTC)
        report = self._report(request, now)
        locked = self.lock(tx, call, request.name)
        order = locked.message
        if problem := rules.conflict(order, report, request.external_id):
            raise FailedPrecondition(problem, reason="CONTRADICTION")
        if violations := rules.check_payments(request.payments, order.net_amount.currency_code):
            raise InvalidArgument(*violations)
        after = type(order)()
        after.CopyFrom(order)
        after.order_number = request.external_id
        rules.add_report(after, report)
        paid = rules.new_payments(order, request.payments)
        after.payments.extend(paid)
        if after == order:
            return self.shown(tx, call, order)
        event = _State.Name(after.state).removeprefix("STATE_").lower() if after.state != order.state else "reported"
        order = self.put(tx, call, locked, after, event)
        for payment in paid:
            self._add_payment(tx, locked, payment)
        return self.shown(tx, call, order)

    @staticmethod
    def _report(request: Any, now: dt.datetime) -> Any:
        if request.state == rules.REQUESTED:
            raise InvalidArgument(("state", "is where an order stands before anything is reported"))
        if not request.HasField("event_time"):
            request.event_time.FromDatetime(now)
        try:
            ahead = request.event_time.ToDatetime(dt.UTC) > now + rules.CLOCKS_DIFFER
        except (ValueError, OverflowError):
            raise InvalidArgument(("event_time", "must be a time between the years 1 and 9999")) from None
        if ahead:
            raise InvalidArgument(("event_time", "must not lie ahead"))
        return order_pb2.Order.Report(
            source=request.source,
            sequence=request.sequence,
            state=request.state,
            event_time=request.event_time,
            message=request.message,
        )

    @staticmethod
    def _add_payment(tx: Transaction, locked: Locked, payment: Any) -> None:
        owner, day = locked.message.owner, payment.pay_date
        values = {
            "tenant_id": tx.tenant_id,
            "source": payment.source,
            "external_id": payment.external_id,
            "order": locked.id,
            "agent": parse_name(owner, "users/{user}", "owner") if owner else None,
            "pay_date": dt.date(day.year, day.month, day.day),
            "currency": payment.net_amount.currency_code,
            "amount": money.amount(payment.net_amount),
        }
        tx.defer(_ADD_PAYMENT, {f"its_{name}": value for name, value in values.items()})
