"""Accounts: normal form, parents, keys of duplicates."""

from __future__ import annotations

import uuid

import pytest
from google.type.money_pb2 import Money
from hypothesis import given
from hypothesis import strategies as st

from kontor.contacts.v1.account_pb2 import Account
from kontor.contacts.v1.contact_point_pb2 import EmailAddress, PhoneNumber, PostalAddress
from kontor_contacts.accounts import rules

IDS = [uuid.UUID(int=number) for number in range(40)]


def account(display_name: str = "Acme", **fields: object) -> Account:
    return Account(display_name=display_name, **fields)


class TestNormalise:
    def test_in_place(self) -> None:
        given_account = account(
            website="ACME.example", language_code="de_at", annual_revenue=Money(currency_code="eur", units=5)
        )
        assert rules.normalise(given_account) == []
        assert (given_account.website, given_account.language_code) == ("https://acme.example", "de-AT")
        assert given_account.annual_revenue.currency_code == "EUR"

    def test_nothing_added_where_nothing_is_said(self) -> None:
        given_account = account()
        assert rules.normalise(given_account) == []
        assert given_account == account()

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"display_name": " \t"}, "display_name"),
            ({"website": "ftp://x.example"}, "website"),
            ({"language_code": "german"}, "language_code"),
            ({"annual_revenue": Money(units=1)}, "annual_revenue.currency_code"),
            ({"annual_revenue": Money(currency_code="XYZ")}, "annual_revenue.currency_code"),
            ({"annual_revenue": Money(currency_code="EUR", units=1, nanos=-1)}, "annual_revenue.nanos"),
            ({"annual_revenue": Money(currency_code="EUR", nanos=10**9)}, "annual_revenue.nanos"),
            ({"emails": [EmailAddress(address="x")]}, "emails[0].address"),
        ],
    )
    def test_path_of_what_is_wrong(self, fields: dict, path: str) -> None:
        assert [violation.field for violation in rules.normalise(account(**fields))] == [path]


class TestParents:
    def test_fine_when_elsewhere(self) -> None:
        assert rules.parent_problem(IDS[0], []) == ""
        assert rules.parent_problem(IDS[0], IDS[1:5]) == ""

    def test_refused_when_it_closes_a_circle(self) -> None:
        assert "own parent" in rules.parent_problem(IDS[0], IDS[:3])
        assert "below this account" in rules.parent_problem(IDS[2], IDS[:3])

    def test_refused_when_too_deep(self) -> None:
        assert rules.parent_problem(IDS[39], IDS[:19]) == ""
        assert rules.parent_problem(IDS[39], IDS[:20]) != ""
        assert rules.parent_problem(IDS[39], IDS[:10], height=9) == ""
        assert rules.parent_problem(IDS[39], IDS[:10], height=10) != ""

    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30))
    def test_never_a_circle_whatever_is_moved(self, moves: list[tuple[int, int]]) -> None:
        parents: dict[uuid.UUID, uuid.UUID] = {}

        def ancestors(of: uuid.UUID) -> list[uuid.UUID]:
            chain = [of]
            while chain[-1] in parents:
                chain.append(parents[chain[-1]])
                assert len(chain) <= 10
            return chain

        for child, parent in moves:
            if not rules.parent_problem(IDS[child], ancestors(IDS[parent])):
                parents[IDS[child]] = IDS[parent]
        for each in IDS[:10]:
            ancestors(each)


class TestCoreName:
    @pytest.mark.parametrize(
        ("name", "core"),
        [
            ("ACME GmbH & Co. KG", "acme"),
            ("Acme, Inc.", "acme"),
            ("Acme S.p.A.", "acme"),
            ("Acme Sp. z o.o.", "acme"),
            ("Société Générale S.A.", "societe generale"),
            ("AG", "ag"),
            ("GmbH & Co. KG", "gmbh"),
            ("O'Neill Ltd", "oneill"),
            ("---", ""),
        ],
    )
    def test_without_legal_form(self, name: str, core: str) -> None:
        assert rules.core_name(name) == core


class TestMatchKeys:
    def test_shared_by_the_same_organisation(self) -> None:
        berlin = [PostalAddress(postal_code="10115", region_code="DE")]
        one = account("Müller Söhne GmbH", addresses=berlin, emails=[EmailAddress(address="Info@mueller.example")])
        same_name = account("MULLER & SOHNE", addresses=berlin)
        same_legal_name = account("Müllers", legal_name="Müller & Söhne GmbH", addresses=berlin)
        same_email = account("Other", emails=[EmailAddress(address="info@mueller.example")])
        fields = [
            {key.field for key in rules.match_keys(one) & rules.match_keys(other)}
            for other in (same_name, same_legal_name, same_email)
        ]
        assert fields == [{"display_name"}, {"display_name"}, {"emails"}]

    def test_not_shared_by_the_same_name_elsewhere(self) -> None:
        one, other = (
            account("Volksbank eG", addresses=[PostalAddress(postal_code=code)]) for code in ("10115", "80331")
        )
        assert not rules.match_keys(one) & rules.match_keys(other)

    def test_shared_when_nothing_but_the_name_is_known(self) -> None:
        assert rules.match_keys(account("Acme")) & rules.match_keys(account("ACME Inc."))
        with_phone = account("Acme", phones=[PhoneNumber(number="+4930123456")])
        assert rules.match_keys(with_phone) == {("phones", "+4930123456")}
