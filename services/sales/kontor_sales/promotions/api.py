"""The gRPC services of promotions and their redemptions."""

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from kontor.sales.v1 import promotion_redemption_pb2, promotion_redemption_service_pb2, promotion_service_pb2
from kontor_kit import money
from kontor_kit.calls import Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import format_name, parse_name, uuid7
from kontor_kit.methods import ResourceServicer
from kontor_kit.records import Records
from kontor_kit.shared import Shared
from kontor_kit.store import Locked
from kontor_sales.lines import rules as line_rules
from kontor_sales.price_books.table import check_products, missing_products
from kontor_sales.products.table import find_families
from kontor_sales.promotions import rules
from kontor_sales.promotions.table import PROMOTION, PROMOTION_REDEMPTION, promotion_redemptions

_REDEMPTIONS = promotion_redemption_service_pb2.DESCRIPTOR.services_by_name["PromotionRedemptionService"]
_Redemption = promotion_redemption_pb2.PromotionRedemption

_HELD = Statement(
    sa.select(promotion_redemptions.c.id, promotion_redemptions.c.occasion).where(
        promotion_redemptions.c.tenant_id == TENANT,
        promotion_redemptions.c.promotion == sa.bindparam("promotion", type_=sa.Uuid),
        promotion_redemptions.c.account == sa.bindparam("account", type_=sa.Uuid),
        promotion_redemptions.c.state == _Redemption.STATE_REDEEMED,
        promotion_redemptions.c.delete_time.is_(None),
    )
)


class _Redemptions(Records):
    """What promotions keep of who took them up."""

    SERVICE = _REDEMPTIONS
    RESOURCE = PROMOTION_REDEMPTION


class Promotions(ResourceServicer):
    """Serves promotions."""

    SERVICE = promotion_service_pb2.DESCRIPTOR.services_by_name["PromotionService"]
    RESOURCE = PROMOTION

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._redemptions = _Redemptions(shared)

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the promotion into form."""
        if violations := rules.normalise(after):
            raise InvalidArgument(*violations)
        self._check_products(tx, before, after)

    @staticmethod
    def _check_products(tx: Transaction, before: Any | None, after: Any) -> None:
        new = set(after.products) - set(before.products if before is not None else ())
        places = {name: f"products[{place}]" for place, name in enumerate(after.products) if name in new}
        ids = [parse_name(name, "products/{product}", path) for name, path in places.items()]
        if missing := missing_products(tx, ids):
            raise InvalidArgument(*((places[name], f"there is no {name}") for name in sorted(missing)))

    def redeem_promotion(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Take up a promotion for a customer."""
        account = parse_name(request.account, "accounts/{account}", "account")
        # Whoever wants the same promotion waits here: what is left of the budget is certain from now on.
        locked = self.lock(tx, call, request.name)
        if held := tx.run(_HELD, {"tenant": tx.tenant_id, "promotion": locked.id, "account": account}):
            return self._repeated(tx, call, held[0], request.occasion)
        promotion = locked.message
        if refusal := rules.refuse(promotion, request.segment, dt.datetime.now(dt.UTC)):
            raise FailedPrecondition(refusal.message, reason=refusal.reason)
        amount, currency = self._discount(tx, promotion, request.lines)
        if rules.exceeds(promotion, amount):
            raise FailedPrecondition("not enough is left of the promotion's budget", reason="BUDGET_EXHAUSTED")
        self.shared.references.check(call, request)
        redemption = _Redemption(
            promotion=request.name,
            account=request.account,
            discount_amount=money.fields(amount, currency),
            occasion=request.occasion,
            state=_Redemption.STATE_REDEEMED,
        )
        self.book(tx, call, locked, amount, currency)
        return self._redemptions.shown(tx, call, self._redemptions.new(tx, call, redemption))

    def book(self, tx: Transaction, call: Call, locked: Locked, amount: Decimal, currency: str) -> None:
        """Add an amount to what was redeemed of a locked promotion; one below 0 gives it back."""
        after = type(locked.message)()
        after.CopyFrom(locked.message)
        money.fill(after.redeemed_amount, money.amount(after.redeemed_amount) + amount, currency)
        after.redemption_count += -1 if amount < 0 else 1
        self.put(tx, call, locked, after, "released" if amount < 0 else "redeemed")

    def _repeated(self, tx: Transaction, call: Call, held: Sequence[Any], occasion: str) -> Any:
        id, its = held
        if its != occasion:
            raise AlreadyExists(
                "this customer has taken up the promotion already",
                reason="ALREADY_REDEEMED",
                metadata={"resource": format_name(PROMOTION_REDEMPTION.collection, id), "occasion": its},
            )
        found = self._redemptions.store.get_one(tx, self._redemptions.reach(call), id)
        return self._redemptions.shown(tx, call, found)

    def _discount(self, tx: Transaction, promotion: Any, lines: Any) -> tuple[Decimal, str]:
        currency = rules.currency_of(promotion)
        if violations := line_rules.normalise(lines, lambda: uuid7().hex, currency=currency):
            raise InvalidArgument(*violations)
        check_products(tx, lines)
        named = {line.product for line in lines if line.product}
        families = find_families(tx, named) if promotion.families else {}
        chosen = rules.eligible(promotion, lines, families)
        totals = line_rules.price(chosen)
        amount = rules.discount(promotion, totals.net, totals.currency) if chosen else Decimal(0)
        if amount <= 0:
            raise FailedPrecondition("nothing that is bought is part of the promotion", reason="NOTHING_ELIGIBLE")
        return amount, totals.currency


class PromotionRedemptions(ResourceServicer):
    """Serves the redemptions of promotions."""

    SERVICE = _REDEMPTIONS
    RESOURCE = PROMOTION_REDEMPTION

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._promotions = Promotions(shared)

    def cancel_promotion_redemption(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Take a redemption back."""
        id = parse_name(request.name, self.RESOURCE.pattern, "name")
        found = self.store.get_one(tx, self.reach(call), id, ("promotion",))
        if found is None:
            raise self.not_found(request.name)
        # The promotion first, as who takes it up does: nobody waits for the other for ever.
        promotion = self._promotions.lock(tx, call, found.promotion, live=False)
        locked = self.lock(tx, call, request.name)
        self.check_etag(call, locked, request.etag)
        if locked.message.state != _Redemption.STATE_REDEEMED:
            raise FailedPrecondition("the redemption is cancelled already", reason="CANCELLED")
        after = _Redemption()
        after.CopyFrom(locked.message)
        after.state = _Redemption.STATE_CANCELLED
        after.cancel_time.FromDatetime(dt.datetime.now(dt.UTC))
        after.cancel_reason = request.reason
        amount = money.amount(after.discount_amount)
        self._promotions.book(tx, call, promotion, -amount, after.discount_amount.currency_code)
        return self.shown(tx, call, self.put(tx, call, locked, after, "cancelled"))
