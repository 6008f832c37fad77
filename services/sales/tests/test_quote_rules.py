"""Quotes: where they can go, what they come to, what the opportunity has of them, and the document."""

from __future__ import annotations

import io
from decimal import Decimal
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfReader

from kontor.sales.v1.line_item_pb2 import LineItem
from kontor.sales.v1.quote_pb2 import Quote
from kontor.sales.v1.quote_service_pb2 import QuoteOffer
from kontor_kit import money
from kontor_sales.lines import rules as lines
from kontor_sales.quotes import document, page, rules

PERCENT = st.one_of(st.none(), st.decimals(0, 100, places=2))


@st.composite
def quotes(draw: st.DrawFn) -> Quote:
    currency = draw(st.sampled_from(("EUR", "JPY", "KWD")))
    quote = Quote(display_name="Offer")
    for _ in range(draw(st.integers(1, 6))):
        line = quote.lines.add(description="Work", quantity={"value": str(draw(st.decimals("0.01", 100, places=2)))})
        money.fill(line.unit_price, draw(st.decimals(0, 1000, places=4)), currency)
        if (percent := draw(PERCENT)) is not None:
            line.discount_percent.value = str(percent)
        line.tax_rate.value = draw(st.sampled_from(("0", "7", "19")))
    if (percent := draw(PERCENT)) is not None:
        quote.discount_percent.value = str(percent)
    ids = count()
    assert rules.normalise(quote, lambda: f"l{next(ids)}") == []
    return quote


class TestTotals:
    @given(quotes())
    def test_add_up(self, quote: Quote) -> None:
        assert sum(money.amount(line.net_amount) for line in quote.lines) == money.amount(quote.net_amount)
        assert money.amount(quote.net_amount) + money.amount(quote.tax_amount) == money.amount(quote.gross_amount)
        assert sum(money.amount(tax.tax_amount) for tax in quote.taxes) == money.amount(quote.tax_amount)
        assert money.amount(quote.net_amount) <= money.amount(quote.full_amount)

    @given(quotes())
    def test_opportunity_comes_to_the_same(self, quote: Quote) -> None:
        driven = rules.driven_lines(quote)
        assert lines.normalise(driven, str) == []
        assert lines.price(driven).net == money.amount(quote.net_amount)
        assert [line.line_id for line in driven] == [line.line_id for line in quote.lines]
        assert rules.same_offer(rules.driven_lines(quote), driven)

    def test_without_lines_there_are_none(self) -> None:
        quote = Quote(display_name="Offer", net_amount=money.fields(Decimal(5), "EUR"))
        assert rules.normalise(quote, str) == []
        assert not quote.HasField("net_amount")

    @given(st.decimals(0, 10**6, places=2), st.decimals(0, 10**6, places=2))
    def test_discount_is_never_told_too_small(self, net: Decimal, listed: Decimal) -> None:
        percent = rules.discount_percent(net, listed)
        assert 0 <= percent <= 100
        if listed > net:
            exact = (listed - net) * 100 / listed
            assert exact <= percent < exact + Decimal("0.0001")

    @pytest.mark.parametrize(
        ("percent", "limit", "needed"), [(10, None, False), (10, 10, False), ("10.0001", 10, True)]
    )
    def test_above_the_limit_it_needs_approval(self, percent: object, limit: object, needed: bool) -> None:
        bound = None if limit is None else Decimal(str(limit))
        assert rules.needs_approval(Decimal(str(percent)), bound) is needed


class TestWay:
    def test_an_accepted_quote_goes_nowhere(self) -> None:
        assert not any(rules.can_go(rules.ACCEPTED, state) for state in range(10))

    def test_only_what_was_sent_is_accepted(self) -> None:
        assert [state for state in range(10) if rules.can_go(state, rules.ACCEPTED)] == [rules.SENT]

    def test_nobody_approves_what_they_wrote_or_submitted(self) -> None:
        quote = Quote(author="users/a", approval={"requester": "users/b"})
        assert [rules.may_approve(quote, f"users/{key}") for key in "abc"] == [False, False, True]


def text_of(data: bytes) -> str:
    """Return what is on the pages of a document."""
    return " ".join(page.extract_text() for page in PdfReader(io.BytesIO(data)).pages)


class TestDocument:
    def quote(self, **fields: object) -> Quote:
        quote = Quote(
            quote_number="Q1",
            revision=2,
            display_name="Öfen für Müller & Söhne",
            terms="Zahlung in 30 Tagen (netto)",
            **fields,
        )
        quote.lines.add(
            description="Gießerei-Ofen", quantity={"value": "2"}, unit_price=money.fields(Decimal("1234.5"), "EUR")
        )
        quote.lines[0].tax_rate.value = "19"
        assert rules.normalise(quote, lambda: "a") == []
        return quote

    def test_says_what_the_quote_does_umlauts_included(self) -> None:
        text = text_of(document.render(self.quote()))
        for part in (
            "Öfen für Müller & Söhne",
            "Gießerei-Ofen",
            "Zahlung in 30 Tagen (netto)",
            "Q1, version 2",
            "2,469.00 EUR",
        ):
            assert part in text
        assert "2,938.11 EUR" in text

    def test_is_the_same_for_the_same_quote(self) -> None:
        assert document.render(self.quote()) == document.render(self.quote())

    @given(st.text(max_size=60))
    def test_any_text_can_be_written(self, text: str) -> None:
        quote = self.quote()
        quote.introduction = text
        assert document.render(quote).startswith(b"%PDF")

    def test_letters_of_all_of_europe_are_written(self) -> None:
        quote = self.quote()
        quote.introduction = "Łódź, Tőkés, Ωραία, Київ, İzmir, €"
        assert quote.introduction in text_of(document.render(quote))

    def test_letters_that_the_fonts_lack_lose_their_marks(self) -> None:
        assert document.writable("\U0001d400\u6f22") == "A?"

    def test_many_lines_take_several_pages(self) -> None:
        quote = self.quote()
        for number in range(150):
            quote.lines.add(description=f"Part {number}", unit_price=money.fields(Decimal(1), "EUR"))
        ids = count()
        rules.normalise(quote, lambda: f"n{next(ids)}")
        text = text_of(document.render(quote))
        assert all(f"Part {number}" in text for number in range(150))


class TestPage:
    def test_nothing_in_it_is_taken_for_markup(self) -> None:
        offer = QuoteOffer(display_name="<script>x</script>", quote_number="Q1", revision=1, state=4)
        offer.lines.append(LineItem(description="<b>"))
        html = page.render(offer).decode()
        assert "<script>x" not in html
        assert "&lt;b&gt;" in html
        assert "quotes:accept" in html

    def test_what_is_over_cannot_be_accepted(self) -> None:
        html = page.render(QuoteOffer(display_name="X", state=rules.SUPERSEDED)).decode()
        assert "quotes:accept" not in html.replace(page._SCRIPT, "")
        assert "later version" in html
