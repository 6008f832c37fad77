"""A lead becomes account, contact and opportunity, all or none, whatever goes wrong at whatever moment."""

from __future__ import annotations

import datetime as dt

import grpc
import pytest
from google.type.date_pb2 import Date

from kontor.api.v1.conflict_pb2 import Suspects
from kontor.sales.v1.lead_service_pb2 import ConvertLeadResponse
from kontor_kit.errors import PermissionDenied, Unavailable
from kontor_sales.leads.targets import quarter_end
from tests.conversion.conftest import Killed

CODE = grpc.StatusCode
QUALIFIED, CONVERTING, CONVERTED = 3, 5, 6
EVERYTHING = {"account": {}, "contact": {}, "opportunity": {}}
LEAD = {
    "salutation": "Madame",
    "given_name": "Marie",
    "family_name": "Curie",
    "job_title": "Director",
    "email": "marie@radium.example",
    "phone": "+33144274427",
    "company": "Institut du Radium",
    "website": "https://radium.example",
    "industry": "Research",
    "employee_count": 40,
    "street": "Rue Pierre 1",
    "postal_code": "75005",
    "locality": "Paris",
    "region_code": "FR",
    "language_code": "fr",
    "description": "Wants a centrifuge.",
    "source": "fair",
    "touches": [{"campaign": "Autumn"}],
}


def new_lead(caller, **fields):
    lead = caller("CreateLead", lead={**LEAD, **fields}, allow_duplicates=True)
    return caller("QualifyLead", name=lead.name)


def outcome(caller, operation):
    """Return the result of an operation that has one, or its error."""
    ended = caller("GetOperation", name=operation.name)
    assert ended.done
    if ended.HasField("error"):
        return ended.error
    response = ConvertLeadResponse()
    assert ended.response.Unpack(response)
    return response


def everything(caller):
    """Return what is there of each kind, and not deleted."""
    return {
        "accounts": [*caller.contacts("ListAccounts").accounts],
        "contacts": [*caller.contacts("ListContacts").contacts],
        "affiliations": [*caller.contacts("ListAffiliations").affiliations],
        "opportunities": [*caller("ListOpportunities").opportunities],
    }


def numbers(caller):
    return {kind: len(found) for kind, found in everything(caller).items()}


ONE_OF_EACH = {"accounts": 1, "contacts": 1, "affiliations": 1, "opportunities": 1}
NOTHING = dict.fromkeys(ONE_OF_EACH, 0)


class TestResult:
    def test_has_what_the_lead_had(self, anna, work):
        lead = new_lead(anna, tags=["hot"])
        begun = anna("ConvertLead", name=lead.name, **EVERYTHING)
        assert not begun.done
        assert anna("GetLead", name=lead.name).state == CONVERTING
        work()
        made = outcome(anna, begun)
        account = anna.contacts("GetAccount", name=made.account)
        assert (account.display_name, account.website, account.industry) == (
            "Institut du Radium",
            "https://radium.example",
            "Research",
        )
        contact = anna.contacts("GetContact", name=made.contact)
        assert (contact.display_name, contact.title, contact.emails[0].address, contact.phones[0].number) == (
            "Marie Curie",
            "Director",
            "marie@radium.example",
            "+33144274427",
        )
        assert contact.addresses[0].postal_code == "75005"
        [affiliation] = everything(anna)["affiliations"]
        assert (affiliation.contact, affiliation.account, affiliation.title) == (made.contact, made.account, "Director")
        opportunity = anna("GetOpportunity", name=made.opportunity)
        end = quarter_end(dt.datetime.now(dt.UTC).date())
        assert (opportunity.display_name, opportunity.account) == ("Institut du Radium - Marie Curie", made.account)
        assert opportunity.close_date == Date(year=end.year, month=end.month, day=end.day)
        assert [member.contact for member in opportunity.buying_centre] == [made.contact]
        assert {account.owner, contact.owner, opportunity.owner} == {anna.user}
        assert [*account.tags] == [*contact.tags] == [*opportunity.tags] == ["hot"]
        after = anna("GetLead", name=lead.name)
        assert (after.state, after.account, after.contact, after.opportunity) == (
            CONVERTED,
            made.account,
            made.contact,
            made.opportunity,
        )
        assert after.touches == lead.touches
        assert numbers(anna) == ONE_OF_EACH

    @pytest.mark.parametrize("kinds", [["account"], ["contact"], ["opportunity"], ["account", "opportunity"]], ids=str)
    def test_is_what_was_asked_for(self, anna, work, kinds):
        lead = new_lead(anna)
        begun = anna("ConvertLead", name=lead.name, **{kind: {} for kind in kinds})
        work()
        made = outcome(anna, begun)
        assert {kind for kind in ("account", "contact", "opportunity") if getattr(made, kind)} == set(kinds)
        assert sum(numbers(anna).values()) == len(kinds)

    def test_is_everything_where_nothing_is_named(self, anna, work):
        lead = anna("CreateLead", lead={"display_name": "Somebody"})
        begun = anna("ConvertLead", name=lead.name)
        work()
        made = outcome(anna, begun)
        assert anna.contacts("GetAccount", name=made.account).display_name == "Somebody"
        assert anna.contacts("GetContact", name=made.contact).display_name == "Somebody"
        assert numbers(anna) == ONE_OF_EACH

    def test_is_the_same_when_asked_again(self, anna, work):
        lead = new_lead(anna)
        first = anna("ConvertLead", name=lead.name, **EVERYTHING, request_id="r")
        assert anna("ConvertLead", name=lead.name, **EVERYTHING, request_id="r") == first
        assert anna("ConvertLead", name=lead.name, account={}).name == first.name
        work()
        made = outcome(anna, first)
        for again in (anna("ConvertLead", name=lead.name, **EVERYTHING), anna("ConvertLead", name=lead.name)):
            response = ConvertLeadResponse()
            assert again.done
            assert again.response.Unpack(response)
            assert (again.name, response) == (first.name, made)
        assert numbers(anna) == ONE_OF_EACH

    def test_outlives_the_operation(self, sales, anna, work):
        lead = new_lead(anna)
        first = anna("ConvertLead", name=lead.name, account={})
        work()
        made = outcome(anna, first)
        with sales.database.connect() as connection:
            connection.execute("DELETE FROM operations WHERE tenant_id = %s", [anna.tenant])
        again = anna("ConvertLead", name=lead.name, account={})
        response = ConvertLeadResponse()
        assert again.done
        assert again.response.Unpack(response)
        assert response == made

    def test_lead_cannot_be_changed_any_more(self, anna, work):
        lead = new_lead(anna)
        anna("ConvertLead", name=lead.name, account={})
        for reason in ("LEAD_CONVERTING", "LEAD_CONVERTED"):
            for method, fields in {
                "UpdateLead": {"lead": {"name": lead.name, "family_name": "X"}},
                "DeleteLead": {"name": lead.name},
                "WorkLead": {"name": lead.name},
                "AssignLead": {"name": lead.name},
                "RecordLeadEvent": {"name": lead.name, "event_type": "x"},
            }.items():
                refusal = anna.refusal(method, **fields)
                assert (refusal.code, refusal.reason) == (CODE.FAILED_PRECONDITION, reason), method
            work()

    def test_to_check_only_stores_nothing(self, anna, work):
        lead = new_lead(anna)
        anna("ConvertLead", name=lead.name, **EVERYTHING, validate_only=True)
        work()
        assert (anna("GetLead", name=lead.name), numbers(anna)) == (lead, NOTHING)


class TestExisting:
    def test_only_blanks_are_filled(self, anna, work):
        account = anna.contacts("CreateAccount", account={"display_name": "Radium SA", "industry": "Health"})
        contact = anna.contacts("CreateContact", contact={"family_name": "Sklodowska", "title": "Professor"})
        lead = new_lead(anna)
        targets = {"account": {"account": account.name}, "contact": {"contact": contact.name}, "opportunity": {}}
        begun = anna("ConvertLead", name=lead.name, **targets)
        work()
        made = outcome(anna, begun)
        assert (made.account, made.contact) == (account.name, contact.name)
        after = anna.contacts("GetAccount", name=account.name)
        assert (after.display_name, after.industry, after.website, after.employee_count) == (
            "Radium SA",
            "Health",
            "https://radium.example",
            40,
        )
        person = anna.contacts("GetContact", name=contact.name)
        assert (person.family_name, person.title, person.given_name) == ("Sklodowska", "Professor", "Marie")
        assert [email.address for email in person.emails] == ["marie@radium.example"]
        assert numbers(anna) == ONE_OF_EACH

    def test_what_the_lead_points_to_is_taken(self, anna, work):
        contact = anna.contacts("CreateContact", contact={"family_name": "Curie"})
        lead = new_lead(anna, contact=contact.name)
        begun = anna("ConvertLead", name=lead.name, contact={})
        work()
        assert outcome(anna, begun).contact == contact.name

    def test_opt_outs_stay_and_come(self, anna, work):
        contact = anna.contacts(
            "CreateContact", contact={"family_name": "C", "emails": [{"address": "marie@radium.example"}]}
        )
        kept = {"kind": 1, "address": "marie@radium.example", "opted_out": True}
        anna.contacts("SetAddressStatus", address_status=kept)
        lead = new_lead(anna, phone_opted_out=True)
        anna("ConvertLead", name=lead.name, contact={"contact": contact.name})
        work()
        after = anna.contacts("GetContact", name=contact.name)
        assert (after.emails[0].opted_out, after.phones[0].opted_out) == (True, True)

    def test_somebody_elses_change_meanwhile_is_kept(self, anna, work, calls):
        account = anna.contacts("CreateAccount", account={"display_name": "Radium SA"})
        lead = new_lead(anna)

        def change(number, spec):
            if spec.name == "UpdateAccount" and calls.asked.count("UpdateAccount") == 1:
                anna.contacts("UpdateAccount", account={"name": account.name, "industry": "Theirs"})

        calls.before = change
        anna("ConvertLead", name=lead.name, account={"account": account.name})
        work()
        after = anna.contacts("GetAccount", name=account.name)
        assert (after.industry, after.employee_count) == ("Theirs", 40)


class TestRefused:
    def test_duplicates_are_answered_before_anything_is_stored(self, anna, work):
        emails = [{"address": "marie@radium.example"}]
        known = anna.contacts("CreateContact", contact={"family_name": "Curie", "emails": emails})
        lead = new_lead(anna)
        refusal = anna.refusal("ConvertLead", name=lead.name, **EVERYTHING)
        assert (refusal.code, refusal.reason) == (CODE.ALREADY_EXISTS, "SUSPECTED_DUPLICATE")
        [suspect] = refusal.detail(Suspects).suspects
        assert suspect.resource_name == known.name
        assert anna("GetLead", name=lead.name) == lead
        assert numbers(anna) == {**NOTHING, "contacts": 1}
        begun = anna("ConvertLead", name=lead.name, **EVERYTHING, allow_duplicates=True)
        work()
        assert outcome(anna, begun).contact

    @pytest.mark.parametrize(
        ("lacking", "targets"),
        [
            ("contacts.accounts.create", {"account": {}}),
            ("contacts.contacts.create", {"contact": {}}),
            ("sales.opportunities.create", {"opportunity": {}}),
            ("contacts.affiliations.create", {"account": {}, "contact": {}}),
            ("contacts.addressStatuses.update", {"contact": {}}),
            ("sales.leads.convert", {"account": {}}),
        ],
        ids=lambda given: given if isinstance(given, str) else "",
    )
    def test_each_record_needs_its_right(self, anna, lacking, targets):
        every = {
            "sales.leads.convert", "sales.leads.read", "sales.opportunities.create", "contacts.accounts.create",
            "contacts.contacts.create", "contacts.affiliations.create", "contacts.addressStatuses.update",
            "sales.pipelines.read",
        }  # fmt: skip
        lead = new_lead(anna, email_opted_out=True)
        ben = anna.colleague(*(f"{permission}:all" for permission in every - {lacking}))
        refusal = ben.refusal("ConvertLead", name=lead.name, **targets)
        assert (refusal.code, refusal.metadata["permission"]) == (CODE.PERMISSION_DENIED, lacking)
        assert (anna("GetLead", name=lead.name), numbers(anna)) == (lead, NOTHING)

    def test_lead_must_be_in_reach(self, sales, anna):
        lead = new_lead(anna)
        assert sales.caller().refusal("ConvertLead", name=lead.name, account={}).code is CODE.NOT_FOUND
        own = anna.colleague("sales.leads.*:own", "contacts.*:all")
        assert own.refusal("ConvertLead", name=lead.name, account={}).code is CODE.NOT_FOUND
        reads = anna.colleague("sales.leads.read:all", "sales.leads.convert:own", "contacts.*:all")
        assert reads.refusal("ConvertLead", name=lead.name, account={}).code is CODE.PERMISSION_DENIED

    @pytest.mark.parametrize(
        ("targets", "path"),
        [
            ({"account": {"account": "accounts/00000000-0000-7000-8000-000000000000"}}, "account.account"),
            ({"contact": {"contact": "contacts/x"}}, "contact.contact"),
            ({"opportunity": {"opportunity": "opportunities/00000000-0000-7000-8000-000000000000"}},
             "opportunity.opportunity"),
            ({"opportunity": {"pipeline": "pipelines/00000000-0000-7000-8000-000000000000"}}, "opportunity.pipeline"),
            ({"opportunity": {"amount": {"units": 5}}}, "opportunity.amount.currency_code"),
            ({"opportunity": {"close_date": {"year": 2026, "month": 2, "day": 30}}}, "opportunity.close_date"),
        ],
        ids=range(6),
    )  # fmt: skip
    def test_names_the_field_that_is_wrong(self, anna, targets, path):
        lead = new_lead(anna)
        refusal = anna.refusal("ConvertLead", name=lead.name, **targets)
        assert (refusal.code, [*refusal.violations]) == (CODE.INVALID_ARGUMENT, [path])
        assert anna("GetLead", name=lead.name) == lead

    def test_state_and_etag_must_fit(self, anna):
        lead = new_lead(anna)
        assert anna.refusal("ConvertLead", name=lead.name, account={}, etag="v1").code is CODE.ABORTED
        anna("DisqualifyLead", name=lead.name, reason="x")
        assert anna.refusal("ConvertLead", name=lead.name, account={}).code is CODE.FAILED_PRECONDITION

    def test_cancelled_before_it_began_frees_the_lead(self, anna, work):
        lead = new_lead(anna)
        begun = anna("ConvertLead", name=lead.name, **EVERYTHING)
        anna("CancelOperation", name=begun.name)
        work()
        assert outcome(anna, begun).code == CODE.CANCELLED.value[0]
        after = anna("GetLead", name=lead.name)
        assert (after.state, after.conversion, numbers(anna)) == (QUALIFIED, "", NOTHING)


@pytest.fixture
def complete(anna, work, calls):
    """Convert a lead into everything, with an existing account or not; return the operation and the lead's name."""

    def run(*, existing):
        targets = dict(EVERYTHING)
        if existing:
            account = anna.contacts("CreateAccount", account={"display_name": "Radium SA"})
            targets["account"] = {"account": account.name}
        lead = new_lead(anna, email_opted_out=True)
        begun = anna("ConvertLead", name=lead.name, **targets, allow_duplicates=True)
        work()
        return outcome(anna, begun), lead.name

    return run


MOST = 8
"""One more than the calls that a conversion makes at most."""


@pytest.mark.parametrize("existing", [False, True], ids=["new", "existing"])
@pytest.mark.parametrize("at", range(1, MOST + 1))
def test_a_refusal_leaves_nothing(anna, calls, complete, at, existing):
    refused = []

    def refuse(number, spec):
        # As where a right is taken away meanwhile; what was done may be undone.
        if not refused and number >= at and not spec.name.startswith("Get"):
            refused.append(spec.name)
            raise PermissionDenied("not any more")

    calls.before = refuse
    made, lead = complete(existing=existing)
    if refused:
        assert made.code == CODE.PERMISSION_DENIED.value[0]
        assert anna("GetLead", name=lead).state == QUALIFIED
        assert_nothing(anna, existing=existing)
    else:
        assert made.opportunity


def assert_nothing(caller, *, existing):
    assert numbers(caller) == {**NOTHING, "accounts": int(existing)}
    for account in everything(caller)["accounts"]:
        assert (account.industry, account.employee_count, len(account.addresses)) == ("", 0, 0)


@pytest.mark.parametrize("existing", [False, True], ids=["new", "existing"])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("at", range(1, MOST + 1))
class TestFaults:
    def test_a_death_makes_nothing_twice(self, anna, calls, complete, at, moment, existing):
        def die(number, spec):
            if number == at:
                raise Killed

        setattr(calls, moment, die)
        made, lead = complete(existing=existing)
        assert anna("GetLead", name=lead).state == CONVERTED
        assert numbers(anna) == ONE_OF_EACH
        assert made.opportunity == everything(anna)["opportunities"][0].name

    def test_a_lost_answer_makes_nothing_twice(self, anna, calls, complete, at, moment, existing):
        def lose(number, spec):
            if number == at:
                raise Unavailable("lost")

        setattr(calls, moment, lose)
        complete(existing=existing)
        assert numbers(anna) == ONE_OF_EACH

    def test_a_cancelled_one_leaves_all_or_nothing(self, sales, anna, calls, complete, at, moment, existing):
        def cancel(number, spec):
            if number == at:
                with sales.database.connect() as connection:
                    connection.execute(
                        "UPDATE operations SET cancel_requested = true WHERE tenant_id = %s", [anna.tenant]
                    )
                raise Killed

        setattr(calls, moment, cancel)
        complete(existing=existing)
        [lead] = anna("ListLeads").leads
        if lead.state == CONVERTED:
            assert numbers(anna) == ONE_OF_EACH
        else:
            assert lead.state == QUALIFIED
            assert_nothing(anna, existing=existing)
