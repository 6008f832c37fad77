"""The normal forms of addresses, numbers and codes: by example, by property, and on real ones."""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontor_kit import normal_forms as forms
from tests.real_data import DATA, needs_data


class TestForms:
    @pytest.mark.parametrize(
        ("rule", "text", "normal"),
        [
            (forms.email, "Max.Muster@EXAMPLE.Com", "Max.Muster@example.com"),
            (forms.email, "ü@xn--bcher-kva.de", "ü@bücher.de"),
            (forms.ascii_domain, "Straße.Example", "xn--strae-oqa.example"),
            (forms.phone, "+49 (30) 123-456", "+4930123456"),
            (forms.phone, "tel:+247-62889", "+24762889"),
            (forms.country, "de", "DE"),
            (forms.country, "xk", "XK"),
            (forms.currency, "eur", "EUR"),
            (forms.language, "de_ch", "de-CH"),
            (forms.language, "EN", "en"),
            (forms.language, "zh-hans-cn", "zh-Hans-CN"),
            (forms.website, "Example.COM", "https://example.com"),
            (forms.website, "HTTP://bücher.example:80/", "http://xn--bcher-kva.example"),
            (forms.website, "https://a.example:8443/x?q=ä#f", "https://a.example:8443/x?q=ä#f"),
            (forms.website, "a.example.", "https://a.example"),
            (forms.time_zone, "Europe/Zurich", "Europe/Zurich"),
        ],
    )
    def test_normal_form(self, rule, text: str, normal: str) -> None:
        assert rule(text) == normal
        assert rule(normal) == normal

    @pytest.mark.parametrize(
        ("rule", "texts"),
        [
            (forms.email, ["", "a", "a@b", "a@b@c.de", "a b@c.de", '"a b"@c.de', "a@[127.0.0.1]", "a@c.de\0", "a@x.test"]),
            (forms.phone, ["", "abc", "123456", "030 123456", "+1", "+49 30 123456 ext. 7", "+999 123456"]),
            (forms.country, ["", "D", "UK", "XX", "DEU", "ß", "Germany"]),
            (forms.currency, ["", "EU", "XYZ", "euro"]),
            (forms.language, ["", "german", "xx", "de-", "und", "-", "de CH", "\0"]),
            (
                forms.website,
                ["", "ftp://a.example", "javascript:alert(1)", "mailto:a@b.de", "https://", "https://localhost",
                 "https://10.0.0.1", "https://user:pw@a.example", "https://a.example\n/", "https://a_b.example",
                 "https://[::1]/", "https://[", "https://a.example:99999", "a b.example", "https:\\\\a.example",
                 "a.example/" + 1990 * "a"],
            ),
            (forms.time_zone, ["", "CEST", "Europe", "europe/zurich", "../etc/passwd", "Mars/Base"]),
        ],
    )  # fmt: skip
    def test_refused(self, rule, texts: list[str]) -> None:
        for text in texts:
            with pytest.raises(ValueError):
                rule(text)

    def test_number_without_country_code_is_one_of_the_region(self) -> None:
        assert forms.phone("030 123456", "DE") == "+4930123456"
        with pytest.raises(ValueError, match="country code"):
            forms.phone("030 123456")

    @given(
        st.sampled_from((forms.email, forms.phone, forms.country, forms.currency, forms.language, forms.website)),
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
                found.append(forms.phone(row["input"], row["default_region"]))
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
                forms.email(address)
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
                forms.country(code)
            except ValueError:
                refused.add(code)
        # Parts of countries that the post, but not ISO 3166-1, gives codes of their own.
        assert refused <= {"AC", "TA", "ZZ"}
