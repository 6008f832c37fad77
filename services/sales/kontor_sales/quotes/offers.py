"""What customers see and do through the link of a quote; the token is all they have, and its digest all that is kept."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import secrets
import uuid
from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa
from google.api import httpbody_pb2

from kontor.sales.v1 import quote_service_pb2
from kontor_kit.calls import Behavior, Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import FailedPrecondition, InvalidArgument, NotFound
from kontor_kit.filter_sql import TENANT
from kontor_kit.principals import Scope
from kontor_kit.records import Records
from kontor_kit.store import is_live
from kontor_sales.quotes import page, rules
from kontor_sales.quotes.table import quote_links

_SECRET_BYTES: Final = 24
_DIGEST = sa.bindparam("digest", type_=quote_links.c.digest.type)
_QUOTE = sa.bindparam("quote_id", type_=sa.Uuid)
_FIND = Statement(
    sa.select(quote_links.c.quote).where(quote_links.c.tenant_id == TENANT, quote_links.c.digest == _DIGEST)
)
_END = Statement(quote_links.delete().where(quote_links.c.tenant_id == TENANT, quote_links.c.quote == _QUOTE))
_ADD = Statement(quote_links.insert().values(tenant_id=TENANT, digest=_DIGEST, quote=_QUOTE))
_SHOWN: Final = (
    "quote_number",
    "revision",
    "display_name",
    "state",
    "introduction",
    "terms",
    "lines",
    "taxes",
)
_SHOWN_MESSAGES: Final = ("valid_until", "net_amount", "tax_amount", "gross_amount")


def make_link(tx: Transaction, quote: uuid.UUID) -> str:
    """Return a new token of a quote; those that it had end."""
    assert tx.tenant_id is not None, "a quote belongs to a tenant"
    # The tenant stands in front: row security lets nobody look for a token among all of them.
    token = tx.tenant_id.bytes + secrets.token_bytes(_SECRET_BYTES)
    parameters = {"tenant": tx.tenant_id, "quote_id": quote}
    tx.defer(_END, parameters)
    tx.defer(_ADD, {**parameters, "digest": _digest(token)})
    return base64.urlsafe_b64encode(token).decode().rstrip("=")


class Offers:
    """Serves those who have a link."""

    def __init__(self, quotes: Records) -> None:
        self._quotes = quotes
        self._methods: dict[str, Behavior] = {
            "ReviewQuote": self.review,
            "ShowQuotePage": self.show_page,
            "AcceptQuote": self.accept,
            "DeclineQuote": self.decline,
        }

    def handler(self, method: str) -> Behavior | None:
        """Return what serves a method that needs no token but that of the link; None for others."""
        return self._methods.get(method)

    def review(self, request: Any, call: Call) -> Any:
        """Return what the link offers."""
        tenant_id, digest = _parse(request.token)
        with self._quotes.shared.database.read(tenant_id) as tx:
            own = self._quotes.own_call(tx, call.trace)
            quote = self._quotes.store.get_one(tx, self._quotes.reach(own), self._find(tx, digest))
        return offer_of(_live(quote), dt.datetime.now(dt.UTC).date())

    def show_page(self, request: Any, call: Call) -> Any:
        """Return what the link offers as a page; one that says why where it leads nowhere."""
        call.set_header("cache-control", "no-store")
        call.set_header("referrer-policy", "no-referrer")  # The link is all that it takes to accept.
        try:
            data = page.render(self.review(request, call))
        except NotFound as error:
            call.set_http_status(404)
            data = page.tell(error.message)
        return httpbody_pb2.HttpBody(content_type="text/html; charset=utf-8", data=data)

    def accept(self, request: Any, call: Call) -> Any:
        """Accept what the link offers; a repetition with the same name returns what was done."""
        signer_name = request.signer_name.strip()
        if not signer_name:
            raise InvalidArgument(("signer_name", "must not be blank"))

        def accepted(before: Any, after: Any) -> str:
            if before.state == rules.ACCEPTED and before.answer.signer_name == signer_name:
                return ""
            after.answer.signer_name = signer_name
            after.state = rules.ACCEPTED
            return "accepted"

        return self._answer(request, call, accepted)

    def decline(self, request: Any, call: Call) -> Any:
        """Decline what the link offers."""

        def declined(before: Any, after: Any) -> str:
            if before.state == rules.DECLINED:
                return ""
            after.answer.reason = request.reason
            after.state = rules.DECLINED
            return "declined"

        return self._answer(request, call, declined)

    def _answer(self, request: Any, call: Call, change: Callable[[Any, Any], str]) -> Any:
        """Write down what the customer answers; `change` returns the event, or nothing where it is known."""
        tenant_id, digest = _parse(request.token)
        now = dt.datetime.now(dt.UTC)
        with self._quotes.shared.database.write(tenant_id) as tx:
            own = self._quotes.own_call(tx, call.trace)
            id = self._find(tx, digest)
            locked = self._quotes.store.lock(tx, self._quotes.reach(own), Scope.ALL, [id])[id]
            quote = _live(locked.message)
            after = type(quote)()
            after.CopyFrom(quote)
            event = change(quote, after)
            if event:
                _refuse_if_over(quote, now.date())
                after.answer.answer_time.FromDatetime(now)
                after.answer.address = _address(call)
                after = self._quotes.save(tx, own, locked, after, event)
            return offer_of(after, now.date())

    @staticmethod
    def _find(tx: Transaction, digest: bytes) -> uuid.UUID:
        rows = tx.run(_FIND, {"tenant": tx.tenant_id, "digest": digest})
        if not rows:
            raise _unknown()
        id: uuid.UUID = rows[0][0]
        return id


def offer_of(quote: Any, today: dt.date) -> Any:
    """Return what a customer is shown of a quote."""
    offer = quote_service_pb2.QuoteOffer(**{name: getattr(quote, name) for name in _SHOWN})
    for name in _SHOWN_MESSAGES:
        if quote.HasField(name):
            getattr(offer, name).CopyFrom(getattr(quote, name))
    for line in offer.lines:
        for name in ("product", "price_book_entry"):
            line.ClearField(name)
    if offer.state == rules.SENT and rules.is_past(quote.valid_until, today):
        offer.state = rules.EXPIRED  # type: ignore[assignment]  # an enum of protobuf is a number
    if quote.HasField("answer"):
        offer.signer_name = quote.answer.signer_name
        offer.answer_time.CopyFrom(quote.answer.answer_time)
    return offer


def _refuse_if_over(quote: Any, today: dt.date) -> None:
    state = quote.state
    if state == rules.SENT and rules.is_past(quote.valid_until, today):
        state = rules.EXPIRED
    if state != rules.SENT:
        reason, message = rules.REASONS[state]
        raise FailedPrecondition(message, reason=reason)


def _live(quote: Any) -> Any:
    if quote is None or not is_live(quote):
        raise _unknown()
    return quote


def _parse(token: str) -> tuple[uuid.UUID, bytes]:
    try:
        data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (ValueError, binascii.Error):
        raise _unknown() from None
    if len(data) != 16 + _SECRET_BYTES:
        raise _unknown()
    return uuid.UUID(bytes=data[:16]), _digest(data)


def _digest(token: bytes) -> bytes:
    # No salt and no work factor: 192 random bits cannot be tried.
    return hashlib.sha256(token).digest()


def _unknown() -> NotFound:
    return NotFound("there is no offer behind this link, or a newer link replaced it", reason="LINK_UNKNOWN")


def _address(call: Call) -> str:
    """Return the address of who called as the gateway saw it: the last one that was added on the way."""
    route = str(call.metadata.get("x-forwarded-for", "")).split(",")
    return route[-1].strip() or call.peer
