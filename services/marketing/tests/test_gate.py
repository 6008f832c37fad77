"""The gate, mails on the wire, and what templates can do: rules without any service."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import SMTP
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kontor.marketing.v1.campaign_recipient_pb2 import CampaignRecipient
from kontor.marketing.v1.template_pb2 import Template
from kontor_marketing.recipients import rules
from kontor_marketing.recipients.mail import Letter, write
from kontor_marketing.templates import rules as templates
from kontor_marketing.unsubscribing import rules as links

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


@dataclass
class Address:
    address: str = "rosa@example.com"
    invalid: bool = False
    opted_out: bool = False

    @property
    def key(self) -> str:
        return self.address.lower()


def said(state: int, confirmed: bool = True) -> Any:
    return SimpleNamespace(state=state, confirmed=confirmed)


@dataclass
class Facts:
    live: bool = True
    emails: list[Address] = field(default_factory=lambda: [Address()])
    consent: Any = field(default_factory=lambda: said(rules.SAID_YES))
    open_complaints: int = 0
    suppressed: bool = False

    def suppression_of(self, address: str) -> Any:
        return "suppressed" if self.suppressed else None


FACTS = st.builds(
    Facts,
    live=st.booleans(),
    emails=st.lists(st.builds(Address, invalid=st.booleans(), opted_out=st.booleans()), max_size=3),
    consent=st.none() | st.builds(said, st.integers(0, 3), st.booleans()),
    open_complaints=st.integers(0, 2),
    suppressed=st.booleans(),
)
ASKED = st.builds(
    rules.Asked, excluded=st.booleans(), excluded_address=st.booleans(), include_open_complaints=st.booleans()
)


class TestGate:
    @given(st.none() | FACTS, ASKED)
    @settings(max_examples=300)
    def test_lets_nobody_through_who_did_not_agree(self, facts, asked):
        allowed = rules.gate(facts, asked) == rules.ALLOWED
        if not allowed:
            return
        address = rules.address_of(facts)
        assert facts.live
        assert not any((address.invalid, address.opted_out, facts.suppressed, asked.excluded, asked.excluded_address))
        assert facts.consent == said(rules.SAID_YES)
        assert asked.include_open_complaints or not facts.open_complaints

    @pytest.mark.parametrize(
        ("facts", "asked", "decision"),
        [
            (Facts(), {}, "ALLOWED"),
            (None, {}, "ERASED"),
            (Facts(live=False), {}, "ERASED"),
            (Facts(), {"excluded": True}, "EXCLUDED"),
            (Facts(), {"excluded_address": True}, "EXCLUDED_ADDRESS"),
            (Facts(emails=[]), {}, "NO_ADDRESS"),
            (Facts(emails=[Address(invalid=True)]), {}, "INVALID_ADDRESS"),
            (Facts(emails=[Address(invalid=True), Address("b@example.com")]), {}, "ALLOWED"),
            (Facts(emails=[Address("rosé@example.com")]), {}, "INVALID_ADDRESS"),
            (Facts(emails=[Address(f"a@{'x' * 64}.example")]), {}, "INVALID_ADDRESS"),
            (Facts(emails=[Address(opted_out=True), Address("b@example.com")]), {}, "ADDRESS_OPTED_OUT"),
            (Facts(suppressed=True), {}, "SUPPRESSED"),
            (Facts(consent=None), {}, "NOT_OPTED_IN"),
            (Facts(consent=said(1)), {}, "NOT_OPTED_IN"),
            (Facts(consent=said(3)), {}, "OPTED_OUT"),
            (Facts(consent=said(3, False)), {}, "OPTED_OUT"),
            (Facts(consent=said(2, False)), {}, "NOT_CONFIRMED"),
            (Facts(open_complaints=1), {}, "OPEN_COMPLAINT"),
            (Facts(open_complaints=1), {"include_open_complaints": True}, "ALLOWED"),
        ],
    )
    def test_says_why(self, facts, asked, decision):
        decided = rules.gate(facts, rules.Asked(**asked))
        assert CampaignRecipient.Decision.Name(decided) == f"DECISION_{decision}"

    def test_the_numbers_are_those_of_the_contract(self):
        for name, value in CampaignRecipient.Decision.items():
            short = name.removeprefix("DECISION_")
            assert value == getattr(rules, short, 0), name
        for name, value in CampaignRecipient.State.items():
            assert value == getattr(rules, name.removeprefix("STATE_"), 0), name


def letter(**fields):
    usual = {
        "message_id": "a.b@example.com",
        "sender_name": "Example Ltd",
        "sender_email": "news@example.com",
        "reply_to_email": "",
        "recipient_name": "Rosa Example",
        "recipient_email": "rosa@example.com",
        "subject": "Hello",
        "text": "Text",
        "html": "",
        "unsubscribe_url": "https://crm.example.com/v1/campaignRecipients:unsubscribe?token=" + "x" * 64,
    }
    return Letter(**{**usual, **fields})


class TestMail:
    def test_has_both_texts_and_what_is_needed_to_leave(self):
        data = write(letter(text="Grüße", html="<p>Grüße</p>", subject="Frühling " * 20), NOW)
        mail = message_from_bytes(data, policy=SMTP)
        assert mail.get_content_type() == "multipart/alternative"
        assert mail.get_body(("plain",)).get_content().strip() == "Grüße"
        assert mail.get_body(("html",)).get_content().strip() == "<p>Grüße</p>"
        assert mail["Subject"] == ("Frühling " * 20).strip()
        assert mail["List-Unsubscribe"] == f"<{letter().unsubscribe_url}>"
        assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        assert mail["Message-ID"] == "<a.b@example.com>"
        assert mail["Date"].datetime == NOW
        assert data.isascii()
        # As it stands: what reads mail does not decode these.
        assert f"List-Unsubscribe: <{letter().unsubscribe_url}>\r\n".encode() in data

    @given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
    @settings(max_examples=200)
    def test_nothing_in_a_name_or_a_subject_becomes_a_header(self, name, sender, subject):
        evil = "x\r\nBcc: all@example.com\r\n\r\nbody"
        data = write(letter(recipient_name=name + evil, sender_name=sender + evil, subject=subject + evil), NOW)
        head = data.partition(b"\r\n\r\n")[0]
        mail = message_from_bytes(data, policy=SMTP)
        names = {line.partition(b":")[0].lower() for line in head.split(b"\r\n") if line[:1] not in (b" ", b"\t")}
        assert b"bcc" not in names
        assert names <= {
            *(b"message-id", b"list-unsubscribe", b"list-unsubscribe-post", b"from", b"to", b"subject", b"date"),
            *(b"content-type", b"content-transfer-encoding", b"mime-version"),
        }
        [to] = mail["To"].addresses
        assert to.addr_spec == "rosa@example.com"
        assert mail.get_content().strip() == "Text"

    def test_domains_stand_in_ascii(self):
        data = write(letter(recipient_email="rosa@müller.example", sender_email="news@köln.example"), NOW)
        assert b"rosa@xn--mller-kva.example" in data
        assert b"news@xn--kln-sna.example" in data

    def test_domains_are_not_those_of_somebody_else(self):
        # The IDNA of 2003, which Python's codec knows, takes ß for ss.
        assert rules.ascii_address("rosa@straße.example") == "rosa@xn--strae-oqa.example"
        assert rules.is_sendable("rosa@straße.example")

    def test_the_message_id_is_that_of_the_recipient(self):
        campaign, one, other = (uuid.uuid4() for _ in range(3))
        made = [rules.message_id(campaign, each, "news@example.com") for each in (one, one, other)]
        assert made[0] == made[1] != made[2]


class TestLink:
    @given(st.uuids(), st.uuids(), st.binary(min_size=32, max_size=32))
    @settings(max_examples=50)
    def test_says_whose_mail_it_was(self, tenant, recipient, key):
        link = links.parse(links.make(tenant, recipient, key))
        assert (link.tenant, link.recipient) == (tenant, recipient)
        assert links.is_sealed(link, key)
        assert not links.is_sealed(link, key[::-1] + b"x")
        assert not links.is_sealed(link._replace(recipient=uuid.uuid4()), key)
        assert not links.is_sealed(link._replace(tenant=uuid.uuid4()), key)

    @given(st.text(max_size=80))
    @settings(max_examples=100)
    def test_anything_else_is_none(self, text):
        assert links.parse(text) is None


def party(**fields):
    usual = dict.fromkeys((*templates.PARTS["party"], "account_display_name"), "")
    return SimpleNamespace(**{**usual, **fields})


def render(who, language="", **fields):
    usual = {"display_name": "T", "subject": "S", "text_body": "T", "salutation_fallback": "Hello"}
    template = Template(**{**usual, **fields})
    assert templates.normalise(template) == []
    variables = templates.variables_of(who, email="r@example.com", campaign="Spring", unsubscribe_url="https://u")
    return templates.render(template, variables, language)


class TestRendering:
    def test_what_is_not_known_blocks_the_mail_by_name(self):
        with pytest.raises(templates.MissingVariable, match=r"^party\.family_name$"):
            render(party(given_name="Rosa"), text_body="Dear {{ party.family_name }}")

    def test_what_to_say_instead_can_be_said(self):
        text = "{{ party.family_name|default('friend') }}{% if party.given_name is defined %}!{% endif %}"
        assert render(party(given_name="Rosa"), text_body=text).text == "friend!"

    def test_html_is_escaped_and_text_is_not(self):
        mail = render(party(given_name="<b>"), text_body="{{ party.given_name }}", html_body="{{ party.given_name }}")
        assert (mail.text, mail.html) == ("<b>", "&lt;b&gt;")

    def test_deep_as_far_as_it_goes_it_is_filled_in(self):
        text = "{% if party.given_name %}" * 20 + "{{ party.given_name" + "|upper" * 20 + " }}" + "{% endif %}" * 20
        assert render(party(given_name="Rosa"), text_body=text, html_body=text).html == "ROSA"

    @pytest.mark.parametrize("filter_", ["truncate(1)", "truncate('x')", "trim(1)"])
    def test_what_a_filter_does_not_take_is_told(self, filter_):
        with pytest.raises(templates.RenderingFailed):
            render(party(given_name="Rosamunde"), text_body=f"{{{{ party.given_name|{filter_} }}}}")

    def test_a_subject_is_one_line(self):
        assert render(party(given_name="a\r\nBcc: x"), subject="Hi {{ party.given_name }}").subject == "Hi a Bcc: x"

    def test_the_variant_of_the_language_is_taken(self):
        variants = [{"language_code": "de", "subject": "DE", "text_body": "T"}]
        variants += [{"language_code": "de-CH", "subject": "CH", "text_body": "T"}]
        said = {language: render(party(), language, variants=variants).subject for language in ("de-CH", "de-AT", "fr")}
        assert said == {"de-CH": "CH", "de-AT": "DE", "fr": "S"}

    def test_the_first_greeting_that_fits_is_taken(self):
        rows = [
            {"language_code": "de", "salutation": "Frau", "text": "Sehr geehrte Frau {{ party.family_name }}"},
            {"language_code": "de", "text": "Guten Tag {{ party.given_name }}"},
        ]

        def greeted(language, **fields):
            return render(party(**fields), language, salutations=rows, text_body="{{ salutation }}").text

        assert greeted("de-CH", salutation="Frau", family_name="Muster") == "Sehr geehrte Frau Muster"
        assert greeted("de", salutation="Frau", given_name="Rosa") == "Guten Tag Rosa"
        assert greeted("de") == greeted("fr", salutation="Frau", family_name="Muster") == "Hello"

    @pytest.mark.parametrize(
        "source",
        [
            "{% for i in range(10**9) %}x{% endfor %}",
            "{% for a in party.given_name %}x{% endfor %}",
            "{{ 'x' * 10**9 }}",
            "{{ 10 ** 10 ** 10 }}",
            "{{ '%1000000000d' % 1 }}",
            "{{ '{:1000000000}'.format('') }}",
            "{{ party.given_name.__class__.__mro__ }}",
            "{{ party['given_name'] }}",
            "{% set x = 'a' %}{{ x }}",
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
            "{% include 'x' %}",
            "{% import 'x' as y %}",
            "{{ cycler('a') }}",
            "{{ self }}",
            "{{ 'x'|center(1000000000) }}",
            "{{ 'a'|replace('a', 'aa') }}",
            "{{ [1, 2]|join('x') }}",
            "{{ namespace() }}",
            "{% filter upper %}x{% endfilter %}",
            "{{ party }}",
            pytest.param("{% if party.given_name %}" * 101 + "{% endif %}" * 101, id="if"),
            pytest.param("{{ " + "not " * 101 + "party.given_name }}", id="not"),
            pytest.param("{{ party.given_name" + "|upper" * 101 + " }}", id="filter"),
            pytest.param("{{ party.given_name" + " and party.given_name" * 101 + " }}", id="and"),
            pytest.param("{{ " + "(" * 5000 + "party.given_name" + ")" * 5000 + " }}", id="parentheses"),
            pytest.param("{{ 1" + "0" * 5000 + " }}", id="number"),
        ],
    )
    def test_nothing_that_could_run_away_is_taken(self, source):
        template = Template(display_name="T", subject="S", text_body=source)
        assert [violation.field for violation in templates.normalise(template)][:1] == ["text_body"]
