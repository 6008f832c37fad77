"""Templates: what they may say, what they say to whom, and that what was once written stays."""

from __future__ import annotations

import pytest
from grpc import StatusCode

from kontor_kit.ids import uuid7
from services.marketing.tests.marketing import CONTACT, contact, party_of

HTML = "<p>{{ salutation }},</p><a href='{{ unsubscribe_url }}'>Leave</a>"


def create(caller, name="Welcome", **fields):
    sent = {
        "display_name": name,
        "subject": "Welcome, {{ party.given_name }}",
        "text_body": "{{ salutation }},\n{{ unsubscribe_url }}",
        "html_body": HTML,
        "salutation_fallback": "Hello",
        **fields,
    }
    return caller("CreateTemplate", template=sent)


class TestStored:
    def test_comes_back_in_every_field(self, anna):
        created = create(
            anna,
            description="To new customers",
            variants=[{"language_code": "de", "subject": "Willkommen", "text_body": "{{ salutation }}"}],
            salutations=[{"language_code": "de", "salutation": "Frau", "text": "Liebe Frau {{ party.family_name }}"}],
            tags=["new"],
        )
        assert anna("GetTemplate", name=created.name) == created
        assert (created.revision, created.variants[0].language_code, created.html_body) == (1, "de", HTML)

    def test_name_is_unique_whatever_its_case(self, anna):
        create(anna)
        refusal = anna.refusal("CreateTemplate", template={"display_name": "WELCOME", "subject": "S", "text_body": "T"})
        assert refusal.code is StatusCode.ALREADY_EXISTS

    def test_each_change_of_what_it_says_is_a_revision_that_stays(self, anna, server):
        template = create(anna)
        name = template.name
        renamed = anna("UpdateTemplate", template={"name": name, "display_name": "Hello"})
        assert renamed.revision == 1
        changed = anna("UpdateTemplate", template={"name": name, "subject": "Hello"})
        assert changed.revision == 2
        first = anna("ShowTemplateRevision", name=name, revision=1)
        assert (first.subject, first.html_body) == (template.subject, template.html_body)
        assert anna("ShowTemplateRevision", name=name).subject == "Hello"
        refusal = anna.refusal("ShowTemplateRevision", name=name, revision=3)
        assert [*refusal.violations] == ["revision"]
        with server.database.connect("app") as app, pytest.raises(Exception, match="permission denied"):
            app.execute("UPDATE template_revisions SET content = '{}'")

    def test_revisions_are_not_for_other_tenants(self, anna, server):
        other = server.caller()
        name = create(anna).name
        assert other.refusal("ShowTemplateRevision", name=name).code is StatusCode.NOT_FOUND

    @pytest.mark.parametrize(
        ("fields", "path", "text"),
        [
            ({"display_name": " "}, "display_name", "blank"),
            ({"text_body": "a\n{% if %}"}, "text_body", "line 2: "),
            ({"html_body": "a\n\n{{ party.gven_name }}"}, "html_body", "line 3: party has no gven_name"),
            ({"subject": "{{ nothing }}"}, "subject", "line 1: there is no variable nothing"),
            ({"subject": "two\nlines"}, "subject", "one line"),
            ({"salutation_fallback": ""}, "salutation_fallback", "required"),
            ({"salutation_fallback": "Dear {{ party.given_name }}"}, "salutation_fallback", "no variables"),
            ({"salutations": [{"text": "{{ salutation }}"}]}, "salutations[0].text", "itself"),
            ({"salutations": [{"text": "{{"}]}, "salutations[0].text", "line 1"),
            (
                {"variants": [{"language_code": "de", "subject": "S", "text_body": "{{ x }}"}]},
                "variants[0].text_body",
                "line 1: there is no variable x",
            ),
            (
                {"variants": [{"language_code": "xx-yy-zz", "subject": "S", "text_body": "T"}]},
                "variants[0].language_code",
                "language tag",
            ),
            (
                {"variants": [{"language_code": "de", "subject": "S", "text_body": "T"}] * 2},
                "variants[1].language_code",
                "already",
            ),
        ],
    )
    def test_names_field_and_line_that_are_wrong(self, anna, fields, path, text):
        sent = {"display_name": "W", "subject": "S", "text_body": "{{ salutation }}", **fields}
        sent.setdefault("salutation_fallback", "Hello")
        refusal = anna.refusal("CreateTemplate", template=sent)
        assert refusal.code is StatusCode.INVALID_ARGUMENT
        assert text in refusal.violations[f"template.{path}"]


class TestPreview:
    def test_shows_the_mail_that_somebody_would_get(self, anna, tell):
        rosa = contact("Rosa", "rosa@example.com", salutation="Frau", family_name="Muster", language_code="de-CH")
        tell(anna.tenant, f"{CONTACT}.created", rosa, 1)
        greeting = {"language_code": "de", "salutation": "Frau", "text": "Liebe Frau {{ party.family_name }}"}
        name = create(anna, salutations=[greeting]).name
        shown = anna("PreviewTemplate", name=name, party=party_of(rosa))
        assert (shown.subject, shown.text_body.partition(",")[0]) == ("Welcome, Rosa", "Liebe Frau Muster")
        assert "Liebe Frau Muster" in shown.html_body
        assert (shown.revision, shown.missing_variable) == (1, "")

    def test_names_what_is_not_known(self, anna, tell):
        nobody = contact("", "nobody@example.com")
        tell(anna.tenant, f"{CONTACT}.created", nobody, 1)
        shown = anna("PreviewTemplate", name=create(anna).name, party=party_of(nobody))
        assert (shown.missing_variable, shown.subject) == ("party.given_name", "")

    def test_is_for_those_who_may_read_the_party(self, anna, tell):
        rosa = contact("Rosa", "rosa@example.com")
        tell(anna.tenant, f"{CONTACT}.created", rosa, 1)
        name = create(anna).name
        for party in (party_of(rosa), f"parties/{uuid7()}"):
            own = anna.colleague("marketing.templates.read:all", "marketing.parties.read:own")
            assert [*own.refusal("PreviewTemplate", name=name, party=party).violations] == ["party"]
