"""Leads: what is theirs alone; what they share with all resources is tested in the kit."""

from __future__ import annotations

import uuid

import pytest
from grpc import StatusCode

from kontor.api.v1.conflict_pb2 import Suspects
from kontor.contacts.v1.contact_pb2 import Contact
from kontor_kit.ids import uuid7
from kontor_kit.testing.telling import teller
from kontor_sales.service import service

NEW, WORKING, QUALIFIED, UNQUALIFIED = range(1, 5)


@pytest.fixture
def tell(server):
    with teller(server, service()) as telling:
        yield telling


def create(caller, **fields):
    return caller("CreateLead", lead={"family_name": "Curie", **fields}, allow_duplicates=True)


class TestStored:
    def test_comes_back_in_every_field_and_in_its_normal_form(self, anna):
        product = anna("CreateProduct", product={"sku": f"P{uuid7()}", "display_name": "P"})
        sent = {
            "salutation": "Madame",
            "given_name": "Marie",
            "family_name": "Curie",
            "job_title": "Director",
            "email": "Marie@Example.COM",
            "phone": "01 44 27 44 27",
            "company": "Institut du Radium",
            "website": "Example.com/radium",
            "industry": "Research",
            "employee_count": 40,
            "street": "Rue Pierre",
            "postal_code": "75005",
            "locality": "Paris",
            "region_code": "fr",
            "language_code": "fr_FR",
            "description": "Wants radium.",
            "source": "fair",
            "campaign": "Autumn",
            "touches": [{"campaign": "Autumn", "medium": "fair", "touch_time": {"seconds": 1_700_000_000}}],
            "consent": {"text": "Yes.", "place": "Fair", "consent_time": {"seconds": 1_700_000_000}},
            "email_opted_out": True,
            "phone_opted_out": True,
            "interests": [product.name],
            "contact": f"contacts/{uuid7()}",
            "account": f"accounts/{uuid7()}",
            "tags": ["hot"],
            "external_ids": [{"system": "fair", "key": f"{uuid7()}"}],
        }
        created = anna("CreateLead", lead=sent)
        assert anna("GetLead", name=created.name) == created
        changed = {
            "email": "Marie@example.com",
            "phone": "+33144274427",
            "website": "https://example.com/radium",
            "region_code": "FR",
            "language_code": "fr-FR",
        }
        expected = type(created)(**{**sent, **changed})
        for name in sent:
            assert getattr(created, name) == getattr(expected, name), name
        assert (created.display_name, created.state, created.owner) == ("Marie Curie", NEW, anna.user)

    @pytest.mark.parametrize(
        ("fields", "name"),
        [
            ({"family_name": "", "company": "Acme"}, "Acme"),
            ({"family_name": "", "email": "a@b.example"}, "a@b.example"),
            ({"family_name": "", "phone": "+33144274427"}, "+33144274427"),
            ({"given_name": " Marie  Anne "}, "Marie Anne Curie"),
            ({"display_name": " Madame C. "}, "Madame C."),
        ],
    )
    def test_is_called_by_what_is_known(self, anna, fields, name):
        assert create(anna, **fields).display_name == name

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"family_name": ""}, "display_name"),
            ({"email": "nobody"}, "email"),
            ({"phone": "123"}, "phone"),
            ({"region_code": "XX"}, "region_code"),
            ({"website": "ftp://x.example"}, "website"),
            ({"language_code": "klingonisch"}, "language_code"),
            ({"interests": [f"products/{uuid.UUID(int=1)}"]}, "interests[0]"),
            ({"employee_count": -1}, "employee_count"),
        ],
    )
    def test_names_the_field_that_is_wrong(self, anna, fields, path):
        refusal = anna.refusal("CreateLead", lead={"family_name": "Curie", **fields})
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, [f"lead.{path}"])

    def test_is_called_anew_where_the_name_was_made(self, anna):
        made, given = create(anna), create(anna, display_name="Madame")
        for lead, name in ((made, "Sklodowska"), (given, "Madame")):
            assert anna("UpdateLead", lead={"name": lead.name, "family_name": "Sklodowska"}).display_name == name

    def test_what_a_caller_cannot_set_is_ignored(self, anna):
        lead = create(anna, state=6, score=99, conversion="x", opportunity=f"opportunities/{uuid7()}")
        assert (lead.state, lead.score, lead.conversion, lead.opportunity) == (NEW, 0, "", "")


class TestSuspects:
    @pytest.mark.parametrize(
        ("first", "second", "field"),
        [
            ({"email": "Marie@b.example"}, {"family_name": "Sklodowska", "email": "marie@b.example"}, "email"),
            ({"phone": "+33144274427"}, {"phone": "+33 1 44 27 44 27"}, "phone"),
            ({"company": "Radium"}, {"company": "RADIUM"}, "display_name"),
        ],
    )
    def test_are_told(self, anna, first, second, field):
        stored = create(anna, **first)
        lead = {"family_name": "Curie", **second}
        refusal = anna.refusal("CreateLead", lead=lead)
        assert (refusal.code, refusal.reason) == (StatusCode.ALREADY_EXISTS, "SUSPECTED_DUPLICATE")
        [suspect] = refusal.detail(Suspects).suspects
        assert (suspect.resource_name, [*suspect.matching_fields]) == (stored.name, [field])
        anna("CreateLead", lead=lead, allow_duplicates=True)

    def test_are_not_told_to_who_may_not_see_them(self, anna):
        create(anna, email="a@b.example")
        ben = anna.colleague("sales.leads.create:own", "sales.leads.read:own")
        assert ben("CreateLead", lead={"family_name": "B", "email": "a@b.example"}).name


class TestStates:
    def test_go_from_one_to_the_next(self, anna):
        lead = create(anna)
        assert anna("WorkLead", name=lead.name).state == WORKING
        assert anna("QualifyLead", name=lead.name).state == QUALIFIED
        lost = anna("DisqualifyLead", name=lead.name, reason="No budget")
        assert (lost.state, lost.unqualified_reason) == (UNQUALIFIED, "No budget")
        again = anna("WorkLead", name=lead.name)
        assert (again.state, again.unqualified_reason) == (WORKING, "")

    def test_need_a_reason_to_be_lost(self, anna):
        refusal = anna.refusal("DisqualifyLead", name=create(anna).name)
        assert [*refusal.violations] == ["reason"]

    def test_stale_etag_is_told(self, anna):
        lead = create(anna)
        anna("WorkLead", name=lead.name)
        assert anna.refusal("QualifyLead", name=lead.name, etag=lead.etag).code is StatusCode.ABORTED

    def test_repeated_request_answers_the_same(self, anna):
        lead = create(anna)
        first = anna("WorkLead", name=lead.name, request_id="r")
        assert anna("WorkLead", name=lead.name, request_id="r") == first


class TestReach:
    def test_own_team_and_all(self, anna):
        team = uuid7()
        mine, ours, theirs = (
            create(anna),
            create(anna, team=f"teams/{team}"),
            create(anna, owner=f"users/{uuid7()}"),
        )
        ben = anna.colleague("sales.leads.*:own", user=anna.user)
        assert {lead.name for lead in ben("ListLeads").leads} == {mine.name, ours.name}
        eva = anna.colleague("sales.leads.*:team", teams=[team])
        assert {lead.name for lead in eva("ListLeads").leads} == {ours.name}
        for method in ("WorkLead", "AssignLead", "ExplainLeadScore", "DeleteLead"):
            assert eva.refusal(method, name=theirs.name).code is StatusCode.NOT_FOUND, method

    def test_another_tenant_has_none(self, server, anna):
        lead, stranger = create(anna), server.caller()
        assert len(stranger("ListLeads").leads) == 0
        for method in ("GetLead", "WorkLead", "AssignLead", "ExplainLeadScore"):
            assert stranger.refusal(method, name=lead.name).code is StatusCode.NOT_FOUND

    def test_needs_the_right(self, anna):
        lead = create(anna)
        reader = anna.colleague("sales.leads.read:all")
        for method, fields in {
            "CreateLead": {"lead": {"family_name": "A"}},
            "WorkLead": {"name": lead.name},
            "AssignLead": {"name": lead.name},
            "RecordLeadEvent": {"name": lead.name, "event_type": "x"},
        }.items():
            assert reader.refusal(method, **fields).code is StatusCode.PERMISSION_DENIED, method


class TestParty:
    def test_is_known_by_the_address(self, anna, tell):
        before = create(anna, email="Pierre@b.example")
        contact = Contact(name=f"contacts/{uuid7()}", emails=[{"address": "pierre@B.example"}])
        tell(anna.tenant, "kontor.contacts.v1.contact.created", contact, 1)
        assert anna("GetLead", name=before.name).contact == contact.name
        assert create(anna, email="PIERRE@b.example").contact == contact.name

    def test_is_not_guessed_where_two_have_the_address(self, anna, tell):
        for _ in range(2):
            contact = Contact(name=f"contacts/{uuid7()}", emails=[{"address": "info@b.example"}])
            tell(anna.tenant, "kontor.contacts.v1.contact.created", contact, 1)
        assert create(anna, email="info@b.example").contact == ""

    def test_is_forgotten_with_the_contact(self, anna, tell):
        contact = Contact(name=f"contacts/{uuid7()}", emails=[{"address": "gone@b.example"}])
        tell(anna.tenant, "kontor.contacts.v1.contact.created", contact, 1)
        contact.delete_time.seconds = 1
        tell(anna.tenant, "kontor.contacts.v1.contact.deleted", contact, 2)
        assert create(anna, email="gone@b.example").contact == ""

    def test_of_another_tenant_is_not_known(self, server, anna, tell):
        contact = Contact(name=f"contacts/{uuid7()}", emails=[{"address": "x@b.example"}])
        tell(anna.tenant, "kontor.contacts.v1.contact.created", contact, 1)
        assert create(server.caller(), email="x@b.example").contact == ""
