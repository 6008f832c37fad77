"""What happened with a customer in all services, on one timeline: for everybody as far as their rights go."""

import importlib
import pkgutil

import pytest

from kontor_contacts.timeline.sources import sources
from kontor_dev.platform import SERVICES
from kontor_kit.amqp.envelope import schema_of
from kontor_kit.resource import Resource
from kontor_kit.scopes import GuardedScope, OwnerScope, ParentScope, TenantScope
from tests.e2e.calls import WAYS
from tests.e2e.contract import method
from tests.e2e.instance import eventually
from tests.e2e.people import Tenant
from tests.e2e.rest import Rest
from tests.e2e.samples import LINES

CONTACTS = {"contacts.accounts.read": "all", "contacts.contacts.read": "all"}


@pytest.fixture(scope="module")
def tenant(client):
    return Tenant(client)


@pytest.fixture(scope="module")
def account(tenant):
    """An account with what a customer comes to in sales."""
    with Rest(tenant.client.platform, token=tenant.admin) as rest:
        name = rest("POST", "accounts", {"displayName": "Muster AG"})["name"]
        contact = rest("POST", "contacts", {"familyName": "Kunz"})["name"]
        rest("POST", "affiliations", {"account": name, "contact": contact, "title": "Buyer"})
        deal = rest("POST", "opportunities", {"displayName": "Fleet", "account": name})["name"]
        rest("POST", "activities", {"type": "TYPE_CALL", "subject": "First call", "account": name})
        rest("POST", "quotes", {"displayName": "Offer", "account": name, "opportunity": deal, "lines": LINES})
        rest("PATCH", deal, {"displayName": "Fleet of ten"})
        rest("PATCH", name, {"displayName": "Muster & Co."})
    return name


HAPPENED = {
    ("contacts.v1.account.created", "Muster & Co."),
    ("contacts.v1.account.updated", "Muster & Co."),
    ("contacts.v1.affiliation.created", "Buyer"),
    ("sales.v1.activity.created", "First call"),
    ("sales.v1.opportunity.created", "Fleet of ten"),
    ("sales.v1.opportunity.updated", "Fleet of ten"),
    ("sales.v1.quote.created", "Offer"),
}


def told(client, account, token, **more):
    """Return (type, title) of what is on the timeline, by the way to ask."""
    spec = method("ListAccountTimeline")
    answers = client.everywhere(spec, spec.input(parent=account, **more), token)
    return {
        way: {(entry.type.removeprefix("kontor."), entry.title) for entry in answer.message.entries}
        for way, answer in answers.items()
    }


def everywhere(happened):
    return dict.fromkeys(WAYS, happened)


def test_everybody_is_told_what_they_may_read(client, tenant, account):
    eventually(lambda: told(client, account, tenant.admin) == everywhere(HAPPENED))
    to_accounts = {entry for entry in HAPPENED if entry[0].startswith("contacts.v1.account.")}
    assert told(client, account, tenant.program(CONTACTS)) == everywhere(to_accounts)
    own_deals = tenant.program({**CONTACTS, "sales.*": "own"})
    assert told(client, account, own_deals) == everywhere(to_accounts)
    reads_quotes = tenant.program({**CONTACTS, "sales.quotes.read": "all"})
    assert told(client, account, reads_quotes) == everywhere(to_accounts | {("sales.v1.quote.created", "Offer")})


def test_a_page_says_nothing_of_what_is_not_shown(client, tenant, account):
    spec = method("ListAccountTimeline")
    eventually(lambda: told(client, account, tenant.admin) == everywhere(HAPPENED))
    token = tenant.program(CONTACTS)
    answers = client.everywhere(spec, spec.input(parent=account, page_size=2), token)
    assert {way: (len(answer.message.entries), answer.message.next_page_token) for way, answer in answers.items()} == (
        dict.fromkeys(WAYS, (2, ""))
    )
    assert told(client, account, token, filter='resource_type = "sales.kontor/*"') == everywhere(set())


def declared():
    """Yield the resources of all services, as they declare themselves."""
    for service in SERVICES:
        package = importlib.import_module(f"kontor_{service.name}")
        slices = [
            module.name for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}.") if module.ispkg
        ]
        for name in slices:
            if any(module.name == "table" for module in pkgutil.iter_modules(importlib.import_module(name).__path__)):
                table = importlib.import_module(f"{name}.table")
                yield from (value for value in vars(table).values() if isinstance(value, Resource))


@pytest.mark.parametrize("resource", list(declared()), ids=lambda resource: resource.event_prefix)
def test_whatever_happens_can_be_told_over_the_broker(resource):
    for verb in resource.events:
        assert schema_of(f"{resource.event_prefix}.{verb}") == resource.descriptor.full_name


# They reach further in their service than on the timeline: the people of a partner see what concerns it there.
FURTHER = {"kontor.partners.v1.partner", "kontor.partners.v1.deal_registration", "kontor.partners.v1.lead_offer"}


def test_the_rights_on_the_timeline_are_those_of_the_services():
    """What the contract says of a record's rights there is what its service does."""
    found = {resource.event_prefix: resource for resource in declared()}
    for prefix, source in sources().items():
        scope = found[prefix].scope
        if source.guard.field:
            assert isinstance(scope, GuardedScope), prefix
            (number,) = (
                field.enum_type.values_by_name[source.guard.value].number
                for field in source.message.DESCRIPTOR.fields
                if field.name == source.guard.field
            )
            guard = (scope._column, scope._value, scope._permission)
            assert guard == (source.guard.field, number, source.guard.permission), prefix
            scope = scope._rule
        if source.parent:
            assert isinstance(scope, ParentScope), prefix
            assert scope._column == source.parent, prefix
            scope = scope._rule
        rule = OwnerScope if source.owned else TenantScope
        assert isinstance(scope, rule) if prefix in FURTHER else type(scope) is rule, prefix
