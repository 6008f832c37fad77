"""The gRPC services of quotes and of how much discount needs no approval."""

import datetime as dt
import uuid
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any, NoReturn

import sqlalchemy as sa
from google.api import httpbody_pb2

from kontor.sales.v1 import discount_policy_service_pb2, quote_service_pb2
from kontor_kit import money
from kontor_kit.calls import Behavior, Call
from kontor_kit.checks import at
from kontor_kit.db import Statement, Transaction
from kontor_kit.due import Due
from kontor_kit.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name, uuid7
from kontor_kit.marks import Mark
from kontor_kit.methods import ResourceServicer
from kontor_kit.records import Records, principal_of, tenant_of
from kontor_kit.shared import Shared
from kontor_kit.store import Locked, Store, is_live
from kontor_kit.tracing import Trace
from kontor_sales.lines import rules as line_rules
from kontor_sales.opportunities.table import OPPORTUNITY, opportunities
from kontor_sales.pipelines.table import PIPELINE
from kontor_sales.price_books import rules as price_rules
from kontor_sales.price_books.table import PRICE_BOOK, check_products, find_standard_book, load_prices
from kontor_sales.quotes import document, rules
from kontor_sales.quotes.numbers import next_number
from kontor_sales.quotes.offers import Offers, make_link
from kontor_sales.quotes.table import DISCOUNT_POLICY, QUOTE, discount_policies

_OPPORTUNITY = sa.bindparam("opportunity", type_=sa.Uuid)
_PRIMARY = Mark(QUOTE, "primary", among="opportunity")
_LIMITS = Statement(
    sa.select(discount_policies.c.max_discount_percent)
    .where(
        discount_policies.c.tenant_id == TENANT,
        discount_policies.c.delete_time.is_(None),
        sa.or_(
            discount_policies.c.pipeline.is_(None),
            discount_policies.c.pipeline
            == sa.select(opportunities.c.pipeline)
            .where(opportunities.c.tenant_id == TENANT, opportunities.c.id == _OPPORTUNITY)
            .scalar_subquery(),
        ),
    )
    .order_by(discount_policies.c.pipeline.is_(None))
    .limit(1)
)


class Quotes(ResourceServicer):
    """Serves quotes; a primary one writes into its opportunity, which `opportunities` keeps."""

    SERVICE = quote_service_pb2.DESCRIPTOR.services_by_name["QuoteService"]
    RESOURCE = QUOTE

    def __init__(self, shared: Shared, opportunities: Records) -> None:
        super().__init__(shared)
        self._opportunities = opportunities
        self._opportunity_store = Store(OPPORTUNITY)
        self._books = Store(PRICE_BOOK)
        self._offers = Offers(self)

    def handler(self, method: str) -> Behavior | None:
        """Return what serves a method: those of links find their tenant themselves, and a token is never kept."""
        if method == "SendQuote":
            return self._send
        return self._offers.handler(method) or super().handler(method)

    # What is stored.

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring what is written into form; refuse to change what is on its way."""
        if before is None:
            self._begin(tx, call, after)
        elif not is_live(before):
            after.primary = after.primary and not (after.state in rules.OVER and _PRIMARY.holders(tx, after))
            self._take_over(tx, call, before, after)
            return
        elif rules.says_the_same(before, after):
            return
        elif before.state != rules.DRAFT:
            _refuse(before.state)
        if after.price_book and (before is None or before.price_book != after.price_book):
            self.referred(tx, call, self._books, after.price_book, "price_book")
        if violations := rules.normalise(after, lambda: uuid7().hex):
            raise InvalidArgument(*violations)
        check_products(tx, after.lines, before.lines if before is not None else ())
        self._measure(tx, after)
        after.author = principal_of(call).subject

    def new(self, tx: Transaction, call: Call, record: Any, *args: Any, **options: Any) -> Any:
        """Store a new quote, and let it drive its opportunity where it is primary."""
        quote = super().new(tx, call, record, *args, **options)
        self._drive(tx, call, quote)
        return quote

    def put(self, tx: Transaction, call: Call, locked: Locked, after: Any, event: str) -> Any:
        """Store a changed quote, and let it drive its opportunity where that changes something."""
        before = locked.message
        quote = super().put(tx, call, locked, after, event)
        if (before.primary, list(before.lines)) != (after.primary, list(after.lines)):
            self._drive(tx, call, quote)
        return quote

    def delete(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Delete a quote that was not accepted."""
        if self.lock(tx, call, request.name, live=False).message.state == rules.ACCEPTED:
            _refuse(rules.ACCEPTED)
        return super().delete(request, call, tx)

    def undelete(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Bring a quote back, and let it drive its opportunity where it is primary."""
        quote = super().undelete(request, call, tx)
        self._drive(tx, call, quote)
        return quote

    # Its way.

    def submit_quote(self, request: Any, call: Call, tx: Transaction) -> Any:
        """End the writing."""

        def submit(quote: Any) -> str:
            if not quote.lines:
                raise FailedPrecondition("a quote without lines offers nothing", reason="QUOTE_EMPTY")
            limit = self._limit(tx, quote)
            quote.ClearField("approval")
            quote.approval.requester = principal_of(call).subject
            quote.approval.request_time.FromDatetime(dt.datetime.now(dt.UTC))
            if limit is not None:
                quote.approval.limit.value = format(limit, "f")
            waits = rules.needs_approval(line_rules.number(quote.total_discount_percent), limit)
            self._go(quote, rules.IN_APPROVAL if waits else rules.APPROVED)
            return "submitted" if waits else "approved"

        return self._change(request, call, tx, submit)

    def approve_quote(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Approve a discount."""
        return self._change(request, call, tx, lambda quote: self._decide(request, call, quote, approved=True))

    def reject_quote(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Refuse a discount."""
        return self._change(request, call, tx, lambda quote: self._decide(request, call, quote, approved=False))

    def _decide(self, request: Any, call: Call, quote: Any, *, approved: bool) -> str:
        if quote.state != rules.IN_APPROVAL:
            _refuse(quote.state)
        subject = principal_of(call).subject
        if not rules.may_approve(quote, subject):
            raise PermissionDenied("somebody else must decide on what you wrote or submitted", reason="OWN_QUOTE")
        self._go(quote, rules.APPROVED if approved else rules.DRAFT)
        quote.approval.approver = subject
        quote.approval.decide_time.FromDatetime(dt.datetime.now(dt.UTC))
        quote.approval.approved = approved
        quote.approval.comment = request.comment
        return "approved" if approved else "rejected"

    def _send(self, request: Any, call: Call) -> Any:
        """Give a quote out, in a transaction of its own: the answer must not be kept for repetitions."""

        def send(quote: Any) -> str:
            today = dt.datetime.now(dt.UTC).date()
            if not quote.HasField("valid_until") or rules.is_past(quote.valid_until, today):
                raise FailedPrecondition("a quote needs a last day to accept it, not over yet", reason="NOT_VALID")
            self._go(quote, rules.SENT)
            quote.send_time.FromDatetime(dt.datetime.now(dt.UTC))
            return "sent"

        with self.shared.database.write(tenant_of(call)) as tx:
            quote = self._change(request, call, tx, send)
            token = make_link(tx, parse_name(quote.name, QUOTE.pattern, "name"))
            path = f"/v1/quotes:show?token={token}"
            return quote_service_pb2.SendQuoteResponse(quote=quote, token=token, page_path=path)

    def revise_quote(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Make a new version."""
        made: list[Any] = []

        def supersede(quote: Any) -> str:
            made.append(_next_version(quote))
            self._go(quote, rules.SUPERSEDED)
            quote.primary = False
            return "superseded"

        self._change(request, call, tx, supersede)
        return self.shown(tx, call, self.new(tx, call, made[0]))

    def make_quote_primary(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Let another quote drive the opportunity."""

        def choose(quote: Any) -> str:
            if not quote.opportunity:
                raise FailedPrecondition("the quote belongs to no opportunity", reason="NO_OPPORTUNITY")
            if quote.state in rules.OVER:
                _refuse(quote.state)
            if not quote.primary:
                quote.primary = True
                self._take_over(tx, call, None, quote)
            return "made_primary"

        return self._change(request, call, tx, choose)

    def reprice_quote(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Give the lines the prices of today."""

        def reprice(quote: Any) -> str:
            if quote.state != rules.DRAFT:
                _refuse(quote.state)
            quote.price_book = request.price_book or quote.price_book
            if not quote.price_book:
                raise InvalidArgument(("price_book", "is required where the quote has none"))
            book = self.referred(tx, call, self._books, quote.price_book, "price_book")
            prices = load_prices(tx, self._book_id(quote), quote.lines)
            if violations := price_rules.price(quote.lines, prices, book.currency_code):
                raise InvalidArgument(*violations)
            return "repriced"

        return self._change(request, call, tx, reprice)

    def render_quote_pdf(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Return a quote as a document."""
        id = parse_name(request.name, self.RESOURCE.pattern, "name")
        quote = self.store.get_one(tx, self.reach(call), id)
        if quote is None:
            raise self.not_found(request.name)
        return httpbody_pb2.HttpBody(content_type="application/pdf", data=document.render(quote))

    def expire(self, tx: Transaction, trace: Trace, id: uuid.UUID, today: dt.date) -> None:
        """End an offer whose last day is over, as the service itself."""
        own = self.own_call(tx, trace)
        locked = self.store.lock(tx, self.reach(own), self.scope(own), [id]).get(id)
        # Somebody may have been faster: the locked record says what is over.
        if locked and locked.message.state == rules.SENT and rules.is_past(locked.message.valid_until, today):
            after = type(locked.message)()
            after.CopyFrom(locked.message)
            after.state = rules.EXPIRED
            self.put(tx, own, locked, after, "expired")

    # Parts.

    def _change(self, request: Any, call: Call, tx: Transaction, change: Callable[[Any], str]) -> Any:
        """Change a quote; `change` returns the event."""
        self._wait_for_turn(tx, call, request.name)
        locked = self.lock(tx, call, request.name)
        self.check_etag(call, locked, request.etag)
        after = type(locked.message)()
        after.CopyFrom(locked.message)
        event = change(after)
        return self.shown(tx, call, self.save(tx, call, locked, after, event))

    def _wait_for_turn(self, tx: Transaction, call: Call, name: str) -> None:
        """Wait for others that change which quote drives the same opportunity; they lock each other's quotes."""
        id = parse_name(name, self.RESOURCE.pattern, "name")
        quote = self.store.get_one(tx, self.reach(call), id, ("opportunity",))
        if quote is not None and quote.opportunity:
            _PRIMARY.serialise(self, tx, quote)

    @staticmethod
    def _go(quote: Any, state: int) -> None:
        if not rules.can_go(quote.state, state):
            _refuse(quote.state)
        quote.state = state

    def _begin(self, tx: Transaction, call: Call, quote: Any) -> None:
        quote.state = rules.DRAFT
        quote.revision = quote.revision or 1
        if not quote.quote_number:
            quote.quote_number = next_number(tx)
        if not quote.opportunity:
            return
        opportunity = self.referred(tx, call, self._opportunity_store, quote.opportunity, "opportunity")
        quote.account = quote.account or opportunity.account
        _PRIMARY.serialise(self, tx, quote)
        quote.primary = quote.primary or not _PRIMARY.holders(tx, quote)

    def _take_over(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Take the mark from the quote that drove the opportunity."""
        drove = _PRIMARY.take(self, tx, call, before, after)
        if any(quote.state == rules.ACCEPTED for quote in drove):
            _refuse(rules.ACCEPTED)

    def _drive(self, tx: Transaction, call: Call, quote: Any) -> None:
        """Write what a primary quote offers into its opportunity."""
        if not quote.primary or not quote.opportunity or not quote.lines or quote.state in rules.OVER:
            return
        # Whoever may write quotes changes no opportunity by them that they may not change otherwise.
        call = replace(call, scope=self._opportunities.scope(call, "sales.opportunities.update"))
        locked = self._opportunities.lock(tx, call, quote.opportunity, "opportunity")
        driven = rules.driven_lines(quote)
        if rules.same_offer(driven, locked.message.lines):
            return
        after = type(locked.message)()
        after.CopyFrom(locked.message)
        del after.lines[:]
        after.lines.extend(driven)
        with at("opportunity"):
            self._opportunities.save(tx, call, locked, after, "updated")

    def _measure(self, tx: Transaction, quote: Any) -> None:
        """Write how much less is asked for than the price book says."""
        percent = Decimal(0)
        if quote.lines:
            currency = quote.net_amount.currency_code
            book = find_standard_book(tx, currency) if not quote.price_book else self._book_id(quote)
            prices = load_prices(tx, book, quote.lines, currency) if book is not None else {}
            whole = price_rules.list_amount(quote.lines, prices, currency)
            percent = rules.discount_percent(money.amount(quote.net_amount), whole)
        quote.total_discount_percent.value = format(percent, "f")

    @staticmethod
    def _book_id(quote: Any) -> uuid.UUID:
        return parse_name(quote.price_book, PRICE_BOOK.pattern, "price_book")

    @staticmethod
    def _limit(tx: Transaction, quote: Any) -> Decimal | None:
        opportunity = parse_name(quote.opportunity, OPPORTUNITY.pattern, "opportunity") if quote.opportunity else None
        rows = tx.run(_LIMITS, {"tenant": tx.tenant_id, "opportunity": opportunity})
        limit: Decimal | None = rows[0][0] if rows else None
        return limit


class DiscountPolicies(ResourceServicer):
    """Serves how much discount needs no approval."""

    SERVICE = discount_policy_service_pb2.DESCRIPTOR.services_by_name["DiscountPolicyService"]
    RESOURCE = DISCOUNT_POLICY

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._pipelines = Store(PIPELINE)

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """See that the pipeline is there."""
        if violations := rules.check_policy(after):
            raise InvalidArgument(*violations)
        if before is None and after.pipeline:
            self.referred(tx, call, self._pipelines, after.pipeline, "pipeline")


def _refuse(state: int) -> NoReturn:
    reason, message = rules.REASONS[state]
    raise FailedPrecondition(message, reason=reason)


def _next_version(quote: Any) -> Any:
    """Return a draft that says what a quote does."""
    draft = type(quote)()
    draft.CopyFrom(quote)
    # Its keys elsewhere and its last day are those of the version that had them.
    others = ("name", "etag", "create_time", "update_time", "external_ids", "valid_until")
    for field in (*rules.WORKFLOW, *others):
        draft.ClearField(field)
    draft.revision = quote.revision + 1
    draft.primary = quote.primary
    return draft


def _expire(records: Any, tx: Transaction, trace: Trace, id: uuid.UUID, now: dt.datetime) -> None:
    records["quotes"].expire(tx, trace, id, now.date())


EXPIRE_QUOTES = Due(
    "expire-quotes",
    "quotes",
    ["state = 4 AND valid_until < CAST(timezone('UTC', :now) AS date)"],
    _expire,
    seconds=600.0,
)
