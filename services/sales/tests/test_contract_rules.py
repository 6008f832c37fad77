"""Contracts: terms, notice and renewal."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontor.sales.v1.contract_pb2 import Contract
from kontor_sales.contracts import rules
from services.sales.tests.selling import date

DAYS = st.dates(dt.date(2000, 1, 1), dt.date(2100, 12, 31))
D = dt.date


def contract(start: dt.date, end: dt.date | None = None, **fields: object) -> Contract:
    made = Contract(display_name="Care", start_date=date(start), **fields)
    rules.set_day(made, "end_date", end)
    return made


class TestNotice:
    @pytest.mark.parametrize(
        ("end", "months", "days", "wanted"),
        [
            (D(2026, 12, 31), 3, 0, D(2026, 9, 30)),
            (D(2026, 6, 30), 3, 0, D(2026, 3, 31)),
            (D(2026, 2, 28), 1, 0, D(2026, 1, 31)),
            (D(2026, 12, 31), 0, 14, D(2026, 12, 17)),
            (D(2026, 12, 31), 0, 0, D(2026, 12, 31)),
            (D(2026, 1, 15), 12, 30, D(2024, 12, 16)),
        ],
    )
    def test_by_the_calendar(self, end: dt.date, months: int, days: int, wanted: dt.date) -> None:
        assert rules.notice_date(end, months, days) == wanted

    @given(DAYS, st.integers(0, 48), st.integers(0, 400))
    def test_leaves_at_least_the_time_that_was_agreed(self, end: dt.date, months: int, days: int) -> None:
        begins, ends = rules.notice_date(end, months, 0) + dt.timedelta(days=1), end + dt.timedelta(days=1)
        assert rules.add_months(begins, months) <= ends
        assert rules.notice_date(end, months, days) == begins - dt.timedelta(days=days + 1)
        assert rules.notice_date(end, months + 1, days) < rules.notice_date(end, months, days)


class TestTerms:
    @given(DAYS, st.integers(1, 36), st.integers(1, 12))
    def test_follow_one_another_without_drifting(self, start: dt.date, months: int, times: int) -> None:
        end = rules.add_months(start, months) - dt.timedelta(days=1)
        for count in range(2, times + 2):
            following = rules.renewed_end(start, end, months)
            assert following > end
            end = following
            assert end == rules.add_months(start, months * count) - dt.timedelta(days=1)

    def test_at_the_ends_of_months(self) -> None:
        assert rules.renewed_end(D(2026, 1, 31), D(2026, 2, 27), 1) == D(2026, 3, 30)
        assert rules.renewed_end(D(2026, 1, 1), D(2026, 12, 31), 12) == D(2027, 12, 31)


class TestNormalForm:
    def test_says_the_days_that_follow(self) -> None:
        made = contract(
            D(2026, 1, 1), D(2026, 12, 31), notice_months=3, renewal=2, renewal_months=12, renewal_lead_days=60
        )
        assert rules.normalise(made) == []
        assert rules.day_of(made, "notice_date") == D(2026, 9, 30)
        assert rules.day_of(made, "renewal_due_date") == D(2026, 8, 1)
        assert made.state == rules.ACTIVE

    def test_due_once_for_a_term(self) -> None:
        made = contract(D(2026, 1, 1), D(2026, 12, 31), renewal=2, renewal_months=12)
        rules.set_day(made, "renewal_raised_for", D(2026, 12, 31))
        assert rules.normalise(made) == []
        assert not made.HasField("renewal_due_date")
        rules.renew(made)
        assert rules.day_of(made, "renewal_due_date") == D(2027, 12, 31)

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"display_name": " "}, "display_name"),
            ({"end_date": {"year": 2025, "month": 1, "day": 1}}, "end_date"),
            ({"end_date": {"year": 2026, "month": 13, "day": 1}}, "end_date"),
            ({"renewal": 3, "renewal_months": 12}, "end_date"),
            ({"renewal": 2, "end_date": {"year": 2027, "month": 1, "day": 1}}, "renewal_months"),
            ({"amount": {"units": 1}}, "amount.currency_code"),
            ({"amount": {"units": 2**63 - 1, "currency_code": "EUR"}}, "amount"),
            ({"end_date": {"year": 9999, "month": 12, "day": 31}}, "end_date"),
            ({"start_date": {"year": 1, "month": 1, "day": 1}}, "start_date"),
        ],
    )
    def test_names_the_field_that_is_wrong(self, fields: dict, path: str) -> None:
        made = Contract(**{"display_name": "Care", "start_date": date(D(2026, 1, 1)), **fields})
        assert [each.field for each in rules.normalise(made)] == [path]


class TestTermination:
    def ended(self, given_on: dt.date, **fields: object) -> dt.date | None:
        end = fields.pop("end", D(2026, 12, 31))
        made = contract(D(2026, 1, 1), end, **{"notice_months": 3, **fields})  # type: ignore[arg-type]
        rules.normalise(made)
        rules.terminate(made, given_on, "Moved")
        assert made.state == rules.TERMINATED
        assert not made.HasField("renewal_due_date")
        return rules.day_of(made, "end_date")

    def test_in_time_at_the_end_of_the_term(self) -> None:
        assert self.ended(D(2026, 9, 30), renewal=3, renewal_months=12) == D(2026, 12, 31)

    def test_late_at_the_end_of_the_next_one(self) -> None:
        assert self.ended(D(2026, 10, 1), renewal=3, renewal_months=12) == D(2027, 12, 31)
        assert self.ended(D(2028, 10, 1), renewal=3, renewal_months=12) == D(2029, 12, 31)

    def test_late_where_it_would_end_anyway(self) -> None:
        assert self.ended(D(2026, 10, 1)) == D(2026, 12, 31)

    def test_without_an_end_after_the_time_of_notice(self) -> None:
        assert self.ended(D(2026, 5, 31), end=None) == D(2026, 8, 31)
        assert self.ended(D(2026, 5, 10), end=None, notice_months=0, notice_days=14) == D(2026, 5, 24)
