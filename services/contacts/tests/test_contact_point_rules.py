"""Contact points: their normal form, the primary mark, and the keys by which duplicates are suspected."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kontor.contacts.v1.account_pb2 import Account
from kontor.contacts.v1.contact_pb2 import Contact
from kontor.contacts.v1.contact_point_pb2 import EmailAddress, PhoneNumber, PostalAddress
from kontor_contacts.contact_points import rules


def paths(violations: list) -> list[str]:
    return [violation.field for violation in violations]


class TestNormalise:
    def test_in_place(self) -> None:
        account = Account(
            emails=[EmailAddress(address="A@Example.COM")],
            phones=[PhoneNumber(number="030 123456"), PhoneNumber(number="+41 44 668 18 00", primary=True)],
            addresses=[PostalAddress(region_code="ch"), PostalAddress(region_code="de", primary=True)],
        )
        assert rules.normalise(account) == []
        assert account == Account(
            emails=[EmailAddress(address="A@example.com", primary=True)],
            phones=[PhoneNumber(number="+4930123456"), PhoneNumber(number="+41446681800", primary=True)],
            addresses=[PostalAddress(region_code="CH"), PostalAddress(region_code="DE", primary=True)],
        )

    def test_paths_of_what_is_wrong(self) -> None:
        contact = Contact(
            emails=[EmailAddress(address="a@b.de"), EmailAddress(address="x"), EmailAddress(address="A@B.de")],
            phones=[PhoneNumber(number="030 123456")],
            addresses=[PostalAddress(region_code="XX"), PostalAddress(), PostalAddress(region_code="UK")],
        )
        assert paths(rules.normalise(contact)) == [
            "addresses[0].region_code",
            "addresses[2].region_code",
            "emails[1].address",
            "phones[0].number",
            "emails[2].address",
        ]
        assert rules.normalise(Contact(phones=[PhoneNumber(number="030 123456")]), "DE") == []

    @given(st.lists(st.booleans(), max_size=5))
    def test_one_primary_or_a_violation_for_each_further_one(self, marks: list[bool]) -> None:
        contact = Contact(addresses=[PostalAddress(primary=mark) for mark in marks])
        violations = rules.normalise(contact)
        if sum(marks) > 1:
            assert paths(violations) == [f"addresses[{i}].primary" for i, mark in enumerate(marks) if mark][1:]
        else:
            assert violations == []
            assert sum(address.primary for address in contact.addresses) == bool(marks)


class TestNameKeys:
    def test_with_each_place_else_alone(self) -> None:
        places = [PostalAddress(postal_code="sw1a 2aa", region_code="GB"), PostalAddress(locality="Bern")]
        named = Account(addresses=places)
        assert rules.name_keys("display_name", "acme", named, "https://www.acme.example/about") == {
            ("display_name", "acme|GB:sw1a 2aa"),
            ("display_name", "acme|acme.example"),
        }
        assert rules.name_keys("display_name", "acme", Account()) == {("display_name", "acme|")}

    def test_none_without_a_name_or_with_only_an_email(self) -> None:
        assert rules.name_keys("display_name", "", Account()) == set()
        assert rules.name_keys("display_name", "acme", Account(emails=[EmailAddress(address="a@b.de")])) == set()
