"""Quotes: written, approved, sent, accepted, and fixed from then on."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from grpc import RpcError, StatusCode

from kontor_kit import money
from kontor_kit.testing import answer
from kontor_sales.quotes import rules
from kontor_sales.quotes.api import EXPIRE_QUOTES
from kontor_sales.service import service
from services.sales.tests.selling import day, euro, line, quote, sent, stranger


def opportunity(caller, **fields):
    return caller("CreateOpportunity", opportunity={"display_name": "Deal", **fields})


def amount(caller, deal) -> Decimal:
    return money.amount(caller("GetOpportunity", name=deal.name).amount)


class TestWriting:
    def test_comes_back_with_its_totals(self, anna):
        made = quote(
            anna,
            lines=[line("19.99", quantity={"value": "3"}, tax_rate={"value": "19"}), line(10, tax_rate={"value": "7"})],
            discount_percent={"value": "10"},
            owner=anna.user,
        )
        assert anna("GetQuote", name=made.name) == made
        assert (made.quote_number, made.revision, made.state, made.author) == ("Q000001", 1, rules.DRAFT, anna.user)
        assert money.amount(made.full_amount) == Decimal("69.97")
        assert money.amount(made.net_amount) == Decimal("62.97")
        assert money.amount(made.gross_amount) == Decimal("73.85")
        assert made.total_discount_percent.value == "10.0043"

    def test_numbers_are_the_tenants_own(self, anna):
        assert [quote(anna).quote_number for _ in range(3)] == ["Q000001", "Q000002", "Q000003"]
        assert quote(anna.running.caller()).quote_number == "Q000001"
        assert quote(anna, quote_number="ERP-7").quote_number == "ERP-7"
        wanted = {"display_name": "Other", "quote_number": "ERP-7"}
        assert anna.refusal("CreateQuote", quote=wanted).code is StatusCode.ALREADY_EXISTS

    def test_numbers_that_were_given_by_hand_are_passed_over(self, anna):
        given = [quote(anna, quote_number=number).name for number in ("Q000002", "Q000003", "Q000005")]
        anna("DeleteQuote", name=given[1])
        assert [quote(anna).quote_number for _ in range(3)] == ["Q000001", "Q000004", "Q000006"]

    def test_number_is_found_in_a_few_steps_where_many_were_given_in_a_row(self, anna):
        for number in range(1, 16):
            quote(anna, quote_number=f"Q{number:06d}")
        assert quote(anna).quote_number == "Q000017"

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"display_name": " "}, "display_name"),
            ({"lines": [line(1), {**line(1), "unit_price": {"currency_code": "USD"}}]},
             "lines[1].unit_price.currency_code"),
            ({"discount_percent": {"value": "101"}}, "discount_percent"),
            ({"discount_percent": {"value": "1"}, "discount_amount": euro(1)}, "discount_amount"),
            ({"discount_amount": {"currency_code": "USD", "units": 1}}, "discount_amount.currency_code"),
            ({"lines": [line(1, product="products/01900000-0000-7000-8000-000000000000")]}, "lines[0].product"),
            ({"opportunity": "opportunities/01900000-0000-7000-8000-000000000000"}, "opportunity"),
            ({"price_book": "priceBooks/01900000-0000-7000-8000-000000000000"}, "price_book"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )  # fmt: skip
    def test_names_the_field_that_is_wrong(self, anna, fields, path):
        wanted = {"display_name": "Offer", "lines": [line(1)], **fields}
        refusal = anna.refusal("CreateQuote", quote=wanted)
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, [f"quote.{path}"])

    def test_two_who_edit_the_lines_at_once_one_is_aborted_and_the_totals_are_right(self, anna):
        made = quote(anna)

        def edit(units: int) -> str:
            changed = {"name": made.name, "etag": made.etag, "lines": [line(units), line(units)]}
            try:
                anna("UpdateQuote", quote=changed)
            except RpcError as error:
                return answer(error).code.name
            return str(units)

        with ThreadPoolExecutor(2) as pool:
            outcomes = sorted(pool.map(edit, (10, 20)))
        assert outcomes[1] == "ABORTED"
        after = anna("GetQuote", name=made.name)
        assert money.amount(after.net_amount) == 2 * int(outcomes[0])
        assert sum(money.amount(each.net_amount) for each in after.lines) == money.amount(after.net_amount)

    def test_lines_are_priced_anew_only_when_asked_for(self, anna):
        sold = anna("CreateProduct", product={"sku": "P", "display_name": "P"}).name
        book = anna("CreatePriceBook", price_book={"display_name": "B", "currency_code": "EUR"}).name
        entry = anna(
            "CreatePriceBookEntry",
            price_book_entry={"price_book": book, "product": sold, "tiers": [{"unit_price": euro(80)}]},
        )
        made = quote(anna, lines=[line(100, product=sold)], price_book=book)
        anna("UpdateQuote", quote={"name": made.name, "introduction": "Dear all"})
        assert money.amount(anna("GetQuote", name=made.name).net_amount) == 100
        priced = anna("RepriceQuote", name=made.name)
        assert (money.amount(priced.net_amount), priced.lines[0].price_book_entry) == (80, entry.name)
        assert priced.lines[0].line_id == made.lines[0].line_id

    def test_own_scope_sees_own_quotes_only(self, anna):
        bert = anna.colleague("sales.quotes.*:own")
        hers, his = quote(anna), quote(bert)
        assert [found.name for found in bert("ListQuotes").quotes] == [his.name]
        assert bert("ListQuotes", include_total_size=True).total_size == 1
        assert bert.refusal("RenderQuotePdf", name=hers.name).code is StatusCode.NOT_FOUND
        assert bert.refusal("ReviseQuote", name=hers.name).code is StatusCode.NOT_FOUND
        assert anna.running.caller().refusal("GetQuote", name=hers.name).code is StatusCode.NOT_FOUND


class TestPrimary:
    def test_one_that_comes_back_drives_it_again_unless_another_was_accepted(self, anna):
        deal = opportunity(anna)
        first = quote(anna, opportunity=deal.name, lines=[line(99)])
        anna("DeleteQuote", name=first.name)
        second = quote(anna, opportunity=deal.name, lines=[line(70)])
        assert amount(anna, deal) == Decimal(70)
        assert anna("UndeleteQuote", name=first.name).primary
        assert not anna("GetQuote", name=second.name).primary
        assert amount(anna, deal) == Decimal(99)

    def test_one_that_was_declined_comes_back_and_drives_nothing(self, anna):
        deal = opportunity(anna)
        first, token = sent(anna, opportunity=deal.name, lines=[line(99)])
        stranger(anna)("DeclineQuote", token=token)
        anna("UpdateOpportunity", opportunity={"name": deal.name, "lines": [line(80)]})
        for _ in range(2):
            anna("DeleteQuote", name=first.name)
            assert anna("UndeleteQuote", name=first.name).primary
            assert amount(anna, deal) == Decimal(80)
        anna("DeleteQuote", name=first.name)
        second = quote(anna, opportunity=deal.name, lines=[line(70)])
        back = anna("UndeleteQuote", name=first.name)
        assert not back.primary
        assert anna("GetQuote", name=first.name) == back
        assert anna("GetQuote", name=second.name).primary
        assert amount(anna, deal) == Decimal(70)

    def test_first_one_drives_the_opportunity(self, anna):
        deal = opportunity(anna, account="accounts/01900000-0000-7000-8000-000000000001")
        first = quote(anna, opportunity=deal.name, discount_percent={"value": "10"}, lines=[line(99), line("0.99")])
        assert first.primary
        assert first.account == deal.account
        assert amount(anna, deal) == money.amount(first.net_amount) == Decimal("89.99")
        second = quote(anna, opportunity=deal.name, lines=[line(70)])
        assert not second.primary
        assert amount(anna, deal) == Decimal("89.99")
        anna("MakeQuotePrimary", name=second.name)
        assert amount(anna, deal) == 70
        assert not anna("GetQuote", name=first.name).primary
        anna("UpdateQuote", quote={"name": second.name, "lines": [line(60)]})
        anna("UpdateQuote", quote={"name": first.name, "lines": [line(50)]})
        assert amount(anna, deal) == 60

    def test_amount_is_changed_in_the_quote_until_it_is_declined(self, anna):
        deal = opportunity(anna)
        driving, token = sent(anna, opportunity=deal.name)
        for lines, paths in (([line(1)], []), ([], ["lines", "amount"])):
            wanted = {"name": deal.name, "lines": lines, "amount": euro(1)}
            refusal = anna.refusal("UpdateOpportunity", opportunity=wanted, update_mask={"paths": paths})
            assert (refusal.code, refusal.reason) == (StatusCode.FAILED_PRECONDITION, "DRIVEN_BY_QUOTE")
            assert driving.name in refusal.message
        # What is said of the amount beside lines counts for nothing anyhow.
        anna("UpdateOpportunity", opportunity={"name": deal.name, "amount": euro(1)})
        assert amount(anna, deal) == 100
        stranger(anna)("DeclineQuote", token=token)
        anna("UpdateOpportunity", opportunity={"name": deal.name, "lines": [line(1)]})
        assert amount(anna, deal) == 1

    def test_one_at_most_whoever_asks_at_once(self, anna):
        deal = opportunity(anna)
        made = [quote(anna, opportunity=deal.name, lines=[line(units)]) for units in range(1, 9)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda each: anna("MakeQuotePrimary", name=each.name), made))
        left = [each for each in anna("ListQuotes", filter=f"opportunity = {deal.name}").quotes if each.primary]
        assert len(left) == 1
        assert amount(anna, deal) == money.amount(left[0].net_amount)

    def test_needs_the_right_to_see_and_change_the_opportunity(self, anna):
        deal = opportunity(anna)
        blind = anna.colleague("sales.quotes.*:all")
        wanted = {"display_name": "Offer", "opportunity": deal.name, "lines": [line(1)]}
        assert [*blind.refusal("CreateQuote", quote=wanted).violations] == ["quote.opportunity"]
        bert = anna.colleague("sales.quotes.*:own", "sales.opportunities.read:all")
        assert bert.refusal("CreateQuote", quote=wanted).code is StatusCode.PERMISSION_DENIED
        for more in ((), ("sales.opportunities.update:own",)):
            cora = anna.colleague("sales.quotes.*:all", "sales.opportunities.read:all", *more)
            assert cora.refusal("CreateQuote", quote=wanted).code is StatusCode.PERMISSION_DENIED
        assert amount(anna, deal) == 0
        dora = anna.colleague("sales.quotes.*:own", "sales.opportunities.read:all", "sales.opportunities.update:all")
        assert dora("CreateQuote", quote=wanted).primary
        assert amount(anna, deal) == 1


class TestApproval:
    @pytest.fixture
    def limited(self, anna):
        anna("CreateDiscountPolicy", discount_policy={"max_discount_percent": {"value": "10"}})
        return anna

    def test_within_the_limit_none_is_needed(self, limited):
        made = quote(limited, discount_percent={"value": "10"})
        assert limited("SubmitQuote", name=made.name).state == rules.APPROVED

    def test_above_it_somebody_else_decides(self, limited):
        made = quote(limited, discount_percent={"value": "10.01"})
        waiting = limited("SubmitQuote", name=made.name)
        assert (waiting.state, waiting.approval.limit.value) == (rules.IN_APPROVAL, "10")
        assert limited.refusal("SendQuote", name=made.name).reason == "QUOTE_IN_APPROVAL"
        own = limited.refusal("ApproveQuote", name=made.name)
        assert (own.code, own.reason) == (StatusCode.PERMISSION_DENIED, "OWN_QUOTE")
        unable = limited.colleague("sales.quotes.read:all", "sales.quotes.update:all")
        assert unable.refusal("ApproveQuote", name=made.name).code is StatusCode.PERMISSION_DENIED
        chief = limited.colleague("sales.quotes.read:all", "sales.quotes.approve:all")
        approved = chief("ApproveQuote", name=made.name, comment="Fine")
        assert (approved.state, approved.approval.approver) == (rules.APPROVED, chief.user)
        assert limited("SendQuote", name=made.name).quote.state == rules.SENT

    def test_rejected_it_is_a_draft_again(self, limited):
        made = quote(limited, discount_percent={"value": "50"})
        limited("SubmitQuote", name=made.name)
        chief = limited.colleague("sales.quotes.*:all")
        rejected = chief("RejectQuote", name=made.name, comment="Too much")
        assert (rejected.state, rejected.approval.comment) == (rules.DRAFT, "Too much")
        # Who writes it anew is its author, and does not approve it either.
        chief("UpdateQuote", quote={"name": made.name, "discount_percent": {"value": "60"}})
        limited("SubmitQuote", name=made.name)
        assert chief.refusal("ApproveQuote", name=made.name).reason == "OWN_QUOTE"

    def test_a_price_that_was_lowered_by_hand_is_a_discount(self, limited):
        sold = limited("CreateProduct", product={"sku": "P", "display_name": "P"}).name
        book = limited("CreatePriceBook", price_book={"display_name": "B", "currency_code": "EUR", "standard": True})
        entry = {"price_book": book.name, "product": sold, "tiers": [{"unit_price": euro(100)}]}
        limited("CreatePriceBookEntry", price_book_entry=entry)
        made = quote(limited, lines=[line(75, product=sold)])
        assert made.total_discount_percent.value == "25.0000"
        assert limited("SubmitQuote", name=made.name).state == rules.IN_APPROVAL

    def test_limit_of_the_pipeline_goes_before_the_general_one(self, limited):
        deal = opportunity(limited)
        policy = {"pipeline": deal.pipeline, "max_discount_percent": {"value": "30"}}
        limited("CreateDiscountPolicy", discount_policy=policy)
        made = quote(limited, opportunity=deal.name, discount_percent={"value": "30"})
        assert limited("SubmitQuote", name=made.name).state == rules.APPROVED
        other = {"max_discount_percent": {"value": "5"}}
        assert limited.refusal("CreateDiscountPolicy", discount_policy=other).code is StatusCode.ALREADY_EXISTS


class TestLink:
    def test_shows_the_offer_and_changes_nothing(self, anna, server):
        made, token = sent(anna)
        offer = stranger(anna)("ReviewQuote", token=token)
        assert (offer.quote_number, offer.state) == (made.quote_number, rules.SENT)
        assert money.amount(offer.gross_amount) == 100
        page = stranger(anna)("ShowQuotePage", token=token)
        assert page.content_type == "text/html; charset=utf-8"
        assert made.quote_number in page.data.decode()
        assert anna("GetQuote", name=made.name) == made

    @pytest.mark.parametrize("token", ["x", "A" * 54])
    def test_of_a_broken_link_is_a_page_that_says_so(self, anna, token):
        customer = stranger(anna)
        page = customer("ShowQuotePage", token=token)
        assert customer.headers["x-kontor-http-status"] == "404"
        assert (page.content_type, b"no offer behind this link" in page.data) == ("text/html; charset=utf-8", True)
        assert customer.refusal("ReviewQuote", token=token).reason == "LINK_UNKNOWN"

    def test_accepts_once_with_a_name(self, anna, server):
        made, token = sent(anna)
        customer = stranger(anna)
        assert [*customer.refusal("AcceptQuote", token=token, signer_name=" ").violations] == ["signer_name"]
        forwarded = {"x-forwarded-for": "203.0.113.9, 198.51.100.7"}
        accepted = customer("AcceptQuote", token=token, signer_name="Max Müller", metadata=forwarded)
        assert (accepted.state, accepted.signer_name) == (rules.ACCEPTED, "Max Müller")
        after = anna("GetQuote", name=made.name)
        assert (after.state, after.answer.address) == (rules.ACCEPTED, "198.51.100.7")
        assert customer("AcceptQuote", token=token, signer_name="Max Müller") == accepted
        assert customer.refusal("AcceptQuote", token=token, signer_name="Eve").reason == "QUOTE_ACCEPTED"
        assert customer.refusal("DeclineQuote", token=token).reason == "QUOTE_ACCEPTED"
        assert anna("GetQuote", name=made.name) == after

    def test_accepted_once_whoever_signs_at_once(self, anna, server):
        made, token = sent(anna)

        def sign(number: int) -> str:
            try:
                return stranger(anna)("AcceptQuote", token=token, signer_name=f"Signer {number}").signer_name
            except RpcError as error:
                return answer(error).reason

        with ThreadPoolExecutor(8) as pool:
            outcomes = list(pool.map(sign, range(8)))
        assert outcomes.count("QUOTE_ACCEPTED") == 7
        assert anna("GetQuote", name=made.name).answer.signer_name in outcomes

    def test_declines(self, anna, server):
        made, token = sent(anna)
        assert stranger(anna)("DeclineQuote", token=token, reason="Too dear").state == rules.DECLINED
        assert anna("GetQuote", name=made.name).answer.reason == "Too dear"
        assert stranger(anna).refusal("AcceptQuote", token=token, signer_name="X").reason == "QUOTE_DECLINED"

    def test_says_when_there_is_a_later_version(self, anna, server):
        made, token = sent(anna)
        anna("ReviseQuote", name=made.name)
        assert stranger(anna)("ReviewQuote", token=token).state == rules.SUPERSEDED
        assert stranger(anna).refusal("AcceptQuote", token=token, signer_name="X").reason == "QUOTE_SUPERSEDED"

    def test_says_when_it_is_too_late(self, anna, server):
        made, token = sent(anna, valid_until=day(0))
        with server.database.connect() as connection:
            connection.execute("UPDATE quotes SET valid_until = valid_until - 1 WHERE state = 4")
        assert stranger(anna)("ReviewQuote", token=token).state == rules.EXPIRED
        assert stranger(anna).refusal("AcceptQuote", token=token, signer_name="X").reason == "QUOTE_EXPIRED"
        assert anna.refusal("SendQuote", name=made.name).reason == "NOT_VALID"

    @pytest.mark.parametrize("change", ["", "A" * 54, "!" * 54, "short"], ids=["cut", "made up", "no token", "short"])
    def test_nobody_guesses_one(self, anna, server, change):
        _, token = sent(anna)
        wrong = change or token[:-1]
        refusal = stranger(anna).refusal("ReviewQuote", token=wrong)
        assert (refusal.code, refusal.reason) == (StatusCode.NOT_FOUND, "LINK_UNKNOWN")

    def test_token_is_kept_nowhere_and_the_last_one_counts(self, anna, server):
        made, token = sent(anna)
        again = anna("SendQuote", name=made.name, metadata={"idempotency-key": "once"}).token
        assert again != token
        assert stranger(anna).refusal("ReviewQuote", token=token).reason == "LINK_UNKNOWN"
        assert stranger(anna)("ReviewQuote", token=again).state == rules.SENT
        with server.database.connect() as connection:
            for table in ("requests", "change_pending", "quote_links", "quotes"):
                rows = connection.execute(f"SELECT t::text FROM {table} t").fetchall()
                assert again not in str(rows)
                assert again.encode().hex() not in str(rows)

    def test_ends_with_the_quote(self, anna, server):
        made, token = sent(anna)
        anna("DeleteQuote", name=made.name)
        assert stranger(anna).refusal("AcceptQuote", token=token, signer_name="X").reason == "LINK_UNKNOWN"


class TestAccepted:
    @pytest.fixture
    def accepted(self, anna, server):
        deal = opportunity(anna)
        made, token = sent(anna, opportunity=deal.name)
        stranger(anna)("AcceptQuote", token=token, signer_name="Max")
        return anna("GetQuote", name=made.name)

    @pytest.mark.parametrize(
        ("method", "fields"),
        [
            ("UpdateQuote", {"quote": {"lines": [line(1)]}}),
            ("UpdateQuote", {"quote": {"display_name": "Other"}}),
            ("UpdateQuote", {"quote": {"discount_percent": {"value": "1"}}}),
            ("UpdateQuote", {"quote": {"tags": ["x"]}}),
            ("UpdateQuote", {"quote": {"owner": "users/01900000-0000-7000-8000-000000000001"}}),
            ("UpdateQuote", {"quote": {"display_name": "x"}, "update_mask": {"paths": ["*"]}}),
            ("DeleteQuote", {}),
            ("SubmitQuote", {}),
            ("ApproveQuote", {}),
            ("RejectQuote", {"comment": "No"}),
            ("SendQuote", {}),
            ("ReviseQuote", {}),
            ("RepriceQuote", {}),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_stays_as_it_is(self, anna, accepted, method, fields):
        named = {"quote": {"name": accepted.name, **fields["quote"]}} if "quote" in fields else {"name": accepted.name}
        refusal = anna.refusal(method, **{**fields, **named})
        assert (refusal.code, refusal.reason) == (StatusCode.FAILED_PRECONDITION, "QUOTE_ACCEPTED")
        assert anna("GetQuote", name=accepted.name) == accepted

    def test_keeps_driving_its_opportunity(self, anna, accepted):
        other = quote(anna, opportunity=accepted.opportunity)
        assert not other.primary
        assert anna.refusal("MakeQuotePrimary", name=other.name).reason == "QUOTE_ACCEPTED"
        assert anna("GetQuote", name=accepted.name) == accepted

    def test_what_is_sent_changes_by_a_new_version_only(self, anna):
        made, _ = sent(anna)
        refusal = anna.refusal("UpdateQuote", quote={"name": made.name, "lines": [line(1)]})
        assert refusal.reason == "QUOTE_SENT"
        assert anna("UpdateQuote", quote={"name": made.name, "tags": ["hot"]}).tags == ["hot"]


class TestVersions:
    def test_a_new_one_supersedes_and_takes_its_place(self, anna):
        deal = opportunity(anna)
        made, _ = sent(anna, opportunity=deal.name)
        revised = anna("ReviseQuote", name=made.name)
        assert (revised.quote_number, revised.revision, revised.state) == (made.quote_number, 2, rules.DRAFT)
        assert revised.primary
        assert not revised.HasField("valid_until")
        assert [each.line_id for each in revised.lines] == [each.line_id for each in made.lines]
        before = anna("GetQuote", name=made.name)
        assert (before.state, before.primary) == (rules.SUPERSEDED, False)
        assert anna.refusal("ReviseQuote", name=made.name).reason == "QUOTE_SUPERSEDED"
        anna("UpdateQuote", quote={"name": revised.name, "lines": [line(40)]})
        assert amount(anna, deal) == 40

    def test_two_at_once_make_one(self, anna):
        made, _ = sent(anna, opportunity=opportunity(anna).name)

        def revise(_: int) -> str:
            try:
                return str(anna("ReviseQuote", name=made.name).revision)
            except RpcError as error:
                return answer(error).reason

        with ThreadPoolExecutor(4) as pool:
            assert sorted(pool.map(revise, range(4))) == ["2", *["QUOTE_SUPERSEDED"] * 3]


class TestExpiring:
    def test_ends_what_was_not_answered_in_time_once(self, anna, server):
        over, _ = sent(anna, valid_until=day(1))
        open_still, _ = sent(anna, valid_until=day(2))
        runtime, now = server.runtime, dt.datetime.now(dt.UTC) + dt.timedelta(days=2)
        job = EXPIRE_QUOTES.periodic(runtime.database, service().use(runtime), lambda: now)
        assert job.run_once(server.runtime.system)
        assert anna("GetQuote", name=over.name).state == rules.EXPIRED
        assert anna("GetQuote", name=open_still.name).state == rules.SENT


def test_document_is_made_of_what_the_caller_may_read(anna):
    made = quote(anna, display_name="Öfen")
    found = anna("RenderQuotePdf", name=made.name)
    assert found.content_type == "application/pdf"
    assert found.data.startswith(b"%PDF")
    assert anna("RenderQuotePdf", name=made.name).data == found.data
