"""Contact points: their normal forms, the primary mark, and the keys by which duplicates are suspected."""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontor.contacts.v1.account_pb2 import Account
from kontor.contacts.v1.contact_pb2 import Contact
from kontor.contacts.v1.contact_point_pb2 import EmailAddress, PhoneNumber, PostalAddress
from kontor_contacts.contact_points import rules
from services.contacts.tests.data import DATA, needs_data


def paths(violations: list) -> list[str]:
    return [violation.field for violation in violations]


class TestForms:
    @pytest.mark.parametrize(
        ("rule", "text", "normal"),
        [
            (rules.email, "Max.Muster@EXAMPLE.Com", "Max.Muster@example.com"),
            (rules.email, "ü@xn--bcher-kva.de", "ü@bücher.de"),
            (rules.phone, "+49 (30) 123-456", "+4930123456"),
            (rules.phone, "tel:+247-62889", "+24762889"),
            (rules.country, "de", "DE"),
            (rules.country, "xk", "XK"),
            (rules.currency, "eur", "EUR"),
            (rules.language, "de_ch", "de-CH"),
            (rules.language, "EN", "en"),
            (rules.language, "zh-hans-cn", "zh-Hans-CN"),
            (rules.website, "Example.COM", "https://example.com"),
            (rules.website, "HTTP://bücher.example:80/", "http://xn--bcher-kva.example"),
            (rules.website, "https://a.example:8443/x?q=ä#f", "https://a.example:8443/x?q=ä#f"),
            (rules.website, "a.example.", "https://a.example"),
            (rules.time_zone, "Europe/Zurich", "Europe/Zurich"),
        ],
    )
    def test_normal_form(self, rule, text: str, normal: str) -> None:
        assert rule(text) == normal
        assert rule(normal) == normal

    @pytest.mark.parametrize(
        ("rule", "texts"),
        [
            (rules.email, ["", "a", "a@b", "a@b@c.de", "a b@c.de", '"a b"@c.de', "a@[127.0.0.1]", "a@c.de\0", "a@x.test"]),
            (rules.phone, ["", "abc", "123456", "030 123456", "+1", "+49 30 123456 ext. 7", "+999 123456"]),
            (rules.country, ["", "D", "UK", "XX", "DEU", "ß", "Germany"]),
            (rules.currency, ["", "EU", "XYZ", "euro"]),
            (rules.language, ["", "german", "xx", "de-", "und", "-", "de CH", "\0"]),
            (
                rules.website,
                ["", "ftp://a.example", "javascript:alert(1)", "mailto:a@b.de", "https://", "https://localhost",
                 "https://10.0.0.1", "https://user:pw@a.example", "https://a.example\n/", "https://a_b.example",
                 "https://[::1]/", "https://[", "https://a.example:99999", "a b.example", "https:\\\\a.example"],
            ),
            (rules.time_zone, ["", "CEST", "Europe", "europe/zurich", "../etc/passwd", "Mars/Base"]),
        ],
    )  # fmt: skip
    def test_refused(self, rule, texts: list[str]) -> None:
        for text in texts:
            with pytest.raises(ValueError):
                rule(text)

    def test_number_without_country_code_is_one_of_the_region(self) -> None:
        assert rules.phone("030 123456", "DE") == "+4930123456"
        with pytest.raises(ValueError, match="country code"):
            rules.phone("030 123456")

    @given(
        st.sampled_from((rules.email, rules.phone, rules.country, rules.currency, rules.language, rules.website)),
        st.text(max_size=20),
    )
    def test_value_error_or_a_stable_form_for_any_text(self, rule, text: str) -> None:
        try:
            normal = rule(text)
        except ValueError:
            return
        assert rule(normal) == normal


@needs_data
class TestOnRealNumbersAndAddresses:
    def test_phone_numbers_of_every_second_region(self) -> None:
        with (DATA / "validation" / "phone_numbers.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        found = []
        for row in rows:
            try:
                found.append(rules.phone(row["input"], row["default_region"]))
            except ValueError:
                found.append("")
        assert found == [row["expected_e164"] if row["expected"] == "valid" else "" for row in rows]

    def test_email_addresses(self) -> None:
        """All that is wrong is refused, all that is plainly right is taken; exotic forms are refused as well."""
        root = ET.parse(DATA / "validation" / "isemail-tests-original.xml").getroot()
        wrong = []
        for case in root.iter("test"):
            # U+2400 + n stands for the control character n.
            written = case.findtext("address") or ""
            address = "".join(chr(ord(c) - 0x2400) if 0x2400 <= ord(c) < 0x2480 else c for c in written)
            try:
                rules.email(address)
                accepted = True
            except ValueError:
                accepted = False
            category = case.findtext("category")
            if accepted != (category == "ISEMAIL_VALID_CATEGORY") and category != "ISEMAIL_DNSWARN":
                wrong.append((address, category))
        assert wrong == []

    def test_every_country_with_an_address_format(self) -> None:
        with (DATA / "validation" / "postal_address_formats.csv").open(encoding="utf-8", newline="") as file:
            codes = {next(iter(row.values())) for row in csv.DictReader(file)}
        refused = set()
        for code in codes:
            try:
                rules.country(code)
            except ValueError:
                refused.add(code)
        # Parts of countries that the post, but not ISO 3166-1, gives codes of their own.
        assert refused <= {"AC", "TA", "ZZ"}


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
