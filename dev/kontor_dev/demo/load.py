"""Brings the demo data in, through the gateway like any other client; what is there already stays as it is."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any

import grpc
from google.protobuf import descriptor_pool, message_factory

from kontor_dev.demo import audience, deals, desk, knowledge, mailing, partners
from kontor_dev.demo.story import SYSTEM, TEAMS, Story, tell
from kontor_dev.errors import StartFailed, Stopped

SECONDS = 30.0
PAGE_SIZE = 1000
# Those that are called; imported so that their descriptors are known.
SERVICES = {
    "identity": ("role", "team", "user"),
    "contacts": ("account", "address_status", "affiliation", "contact", "custom_field_definition"),
    "partners": ("deal_registration", "partner", "programme"),
    "marketing": ("campaign", "party", "segment", "subscription", "suppression", "template", "topic"),
    "sales": ("lead", "opportunity", "pipeline", "product"),
    "ticketing": ("article", "queue", "sla_policy", "ticket", "ticket_entry", "working_calendar"),
}
# One of the roles that every tenant starts with.
ROLE = "Member"


def load(address: str, token: str, stopping: threading.Event) -> dict[str, int]:
    """Brings in what is missing and returns how many records of each kind there are.

    `address` is where the gateway listens, host:port. Raises StartFailed where a service refuses, Stopped between two
    calls when `stopping` is set.
    """
    for service, resources in SERVICES.items():
        for resource in resources:
            import_module(f"kontor.{service}.v1.{resource}_service_pb2")
    with grpc.insecure_channel(address) as channel:
        try:
            return _Loader(channel, token, tell(), stopping).load()
        except grpc.RpcError as error:
            raise StartFailed(f"The demo data was refused: {error.code().name}, {error.details()}") from error


class _Loader:
    """Finds what is there by a key of the story, and creates the rest in batches."""

    def __init__(self, channel: grpc.Channel, token: str, story: Story, stopping: threading.Event) -> None:
        self._channel = channel
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._story = story
        self._deals = deals.deal(story, dt.datetime.now(dt.UTC).date())
        self._stopping = stopping

    def load(self) -> dict[str, int]:
        teams = self._teams()
        users = self._users(teams)
        self._definitions()
        accounts = self._accounts(users, teams)
        contacts = self._contacts(users, teams)
        affiliations = self._affiliations(contacts, accounts)
        self._statuses()
        products = self._products()
        opportunities = self._opportunities(accounts, products, users, teams)
        leads = self._leads(users, teams)
        self._service_levels()
        articles = knowledge.bring(self._call, self._all, self._story, products, users)
        tickets = self._tickets(accounts, contacts, products, users, teams)
        names = {"accounts": accounts, "products": products, "teams": teams, "users": users}
        today = dt.datetime.now(dt.UTC).date()
        registered = partners.bring(self._call, self._all, self._story, names, today)
        subscriptions = audience.bring(self._call, self._all, self._story, contacts, self._stopping)
        campaigns = mailing.bring(self._call, self._all, self._story, users, teams)
        return {
            "users": len(users),
            "accounts": len(accounts),
            "contacts": len(contacts),
            "affiliations": affiliations,
            "opportunities": opportunities,
            "leads": leads,
            "tickets": tickets,
            "articles": articles,
            "subscriptions": subscriptions,
            "campaigns": campaigns,
            "deal registrations": registered,
        }

    def _call(self, path: str, **fields: Any) -> Any:
        """Calls a method, for example `contacts.v1.AccountService.ListAccounts`, with a request of these fields."""
        if self._stopping.is_set():
            raise Stopped
        method = descriptor_pool.Default().FindMethodByName(f"kontor.{path}")
        request = message_factory.GetMessageClass(method.input_type)(**fields)
        call = self._channel.unary_unary(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )
        return call(request, metadata=self._metadata, timeout=SECONDS)

    def _all(self, path: str, field: str) -> Iterator[Any]:
        """Walks through all pages of a list."""
        token = ""
        while True:
            page = self._call(path, page_size=PAGE_SIZE, page_token=token)
            yield from getattr(page, field)
            if not (token := page.next_page_token):
                return

    def _teams(self) -> dict[str, str]:
        service = "identity.v1.TeamService"
        names = {team.display_name: team.name for team in self._all(f"{service}.ListTeams", "teams")}
        for title in TEAMS:
            if title not in names:
                names[title] = self._call(f"{service}.CreateTeam", team={"display_name": title}).name
        return names

    def _users(self, teams: dict[str, str]) -> dict[str, str]:
        service = "identity.v1.UserService"
        roles = self._all("identity.v1.RoleService.ListRoles", "roles")
        member = [role.name for role in roles if role.display_name == ROLE]
        names = {user.email: user.name for user in self._all(f"{service}.ListUsers", "users")}
        for person in self._story.people:
            if person.email not in names:
                user = {
                    "email": person.email,
                    "display_name": f"{person.given_name} {person.family_name}",
                    "given_name": person.given_name,
                    "family_name": person.family_name,
                    "language_code": person.language,
                    "time_zone": person.time_zone,
                    "roles": member,
                    "teams": [teams[person.team]],
                }
                names[person.email] = self._call(f"{service}.CreateUser", user=user).name
        return {person.email: names[person.email] for person in self._story.people}

    def _definitions(self) -> None:
        service = "contacts.v1.CustomFieldDefinitionService"
        found = self._all(f"{service}.ListCustomFieldDefinitions", "custom_field_definitions")
        there = {(definition.resource_type, definition.key) for definition in found}
        for definition in self._story.definitions:
            if (definition.resource_type, definition.key) not in there:
                self._call(f"{service}.CreateCustomFieldDefinition", custom_field_definition=definition)

    def _accounts(self, users: dict[str, str], teams: dict[str, str]) -> dict[str, str]:
        service = "contacts.v1.AccountService"
        names = _by_key(self._all(f"{service}.ListAccounts", "accounts"))
        colleagues = [(users[person.email], teams[person.team]) for person in self._story.people]
        for level in self._story.levels():
            missing = {key: account for key, account in level.items() if key not in names}
            for key, account in missing.items():
                account.owner, account.team = colleagues[int(key.removeprefix("A-")) % len(colleagues)]
                account.parent = names.get(self._story.parents.get(key, ""), "")
            if missing:
                requests = [{"account": account, "allow_duplicates": True} for account in missing.values()]
                made = self._call(f"{service}.BatchCreateAccounts", requests=requests).accounts
                names |= zip(missing, [account.name for account in made], strict=True)
        return names

    def _contacts(self, users: dict[str, str], teams: dict[str, str]) -> dict[str, str]:
        service = "contacts.v1.ContactService"
        names = _by_key(self._all(f"{service}.ListContacts", "contacts"))
        colleagues = [(users[person.email], teams[person.team]) for person in self._story.people]
        missing = {key: contact for key, contact in self._story.contacts.items() if key not in names}
        for key, contact in missing.items():
            contact.owner, contact.team = colleagues[int(key.removeprefix("P-")) % len(colleagues)]
        if missing:
            requests = [{"contact": contact, "allow_duplicates": True} for contact in missing.values()]
            made = self._call(f"{service}.BatchCreateContacts", requests=requests).contacts
            names |= zip(missing, [contact.name for contact in made], strict=True)
        return names

    def _affiliations(self, contacts: dict[str, str], accounts: dict[str, str]) -> int:
        service = "contacts.v1.AffiliationService"
        found = self._all(f"{service}.ListAffiliations", "affiliations")
        there = {(affiliation.contact, affiliation.account) for affiliation in found}
        missing = []
        for contact, account, record in self._story.affiliations:
            record.contact, record.account = contacts[contact], accounts[account]
            if (record.contact, record.account) not in there:
                missing.append({"affiliation": record})
        if missing:
            self._call(f"{service}.BatchCreateAffiliations", requests=missing)
        return len(there) + len(missing)

    def _statuses(self) -> None:
        service = "contacts.v1.AddressStatusService"
        there = {status.address for status in self._all(f"{service}.ListAddressStatuses", "address_statuses")}
        missing = [{"address_status": status} for status in self._story.statuses if status.address not in there]
        if missing:
            self._call(f"{service}.BatchCreateAddressStatuses", requests=missing)

    def _products(self) -> dict[str, str]:
        service = "sales.v1.ProductService"
        names = _by_key(self._all(f"{service}.ListProducts", "products"))
        missing = {key: product for key, product in self._deals.products.items() if key not in names}
        if missing:
            requests = [{"product": product} for product in missing.values()]
            made = self._call(f"{service}.BatchCreateProducts", requests=requests).products
            names |= zip(missing, [product.name for product in made], strict=True)
        return names

    def _pipeline(self) -> str:
        service = "sales.v1.PipelineService"
        for pipeline in self._all(f"{service}.ListPipelines", "pipelines"):
            if pipeline.default:
                return str(pipeline.name)
        pipeline = {"display_name": deals.PIPELINE, "default": True}
        return str(self._call(f"{service}.CreatePipeline", pipeline=pipeline).name)

    def _opportunities(
        self, accounts: dict[str, str], products: dict[str, str], users: dict[str, str], teams: dict[str, str]
    ) -> int:
        service, pipeline = "sales.v1.OpportunityService", self._pipeline()
        names = _by_key(self._all(f"{service}.ListOpportunities", "opportunities"))
        prices = {ware.sku: {"currency_code": deals.CURRENCY, "units": ware.price} for ware in deals.WARES}
        sellers = [(users[person.email], teams[person.team]) for person in self._story.people]
        rows = []
        for key, deal in self._deals.opportunities.items():
            if key in names:
                continue
            record = deal.opportunity
            record.account, record.pipeline = accounts[deal.account], pipeline
            record.owner, record.team = sellers[int(key.removeprefix("O-")) % len(sellers)]
            for sku, quantity in deal.lines:
                record.lines.add(product=products[sku], quantity={"value": str(quantity)}, unit_price=prices[sku])
            visits = [{"stage": stage, "enter_time": moment} for stage, moment in deal.visits]
            rows.append({"opportunity": record, "visits": visits})
        if rows:
            self._call(f"{service}.ImportOpportunities", requests=rows)
        return len(names) + len(rows)

    def _leads(self, users: dict[str, str], teams: dict[str, str]) -> int:
        service = "sales.v1.LeadService"
        names = _by_key(self._all(f"{service}.ListLeads", "leads"))
        missing = {key: lead for key, lead in self._deals.leads.items() if key not in names}
        sellers = [(users[person.email], teams[person.team]) for person in self._story.people]
        for key, lead in missing.items():
            lead.owner, lead.team = sellers[int(key.removeprefix("L-")) % len(sellers)]
        if missing:
            requests = [{"lead": lead, "allow_duplicates": True} for lead in missing.values()]
            self._call(f"{service}.BatchCreateLeads", requests=requests)
        return len(names) + len(missing)

    def _service_levels(self) -> None:
        calendars, policies = "ticketing.v1.WorkingCalendarService", "ticketing.v1.SlaPolicyService"
        known = {each.display_name for each in self._all(f"{calendars}.ListWorkingCalendars", "working_calendars")}
        if (calendar := desk.calendar()).display_name not in known:
            self._call(f"{calendars}.CreateWorkingCalendar", working_calendar=calendar)
        known = {each.display_name for each in self._all(f"{policies}.ListSlaPolicies", "sla_policies")}
        for policy in desk.policies():
            if policy.display_name not in known:
                self._call(f"{policies}.CreateSlaPolicy", sla_policy=policy)

    def _tickets(
        self,
        accounts: dict[str, str],
        contacts: dict[str, str],
        products: dict[str, str],
        users: dict[str, str],
        teams: dict[str, str],
    ) -> int:
        service, said = "ticketing.v1.TicketService", "ticketing.v1.TicketEntryService.CreateTicketEntry"
        names = _by_key(self._all(f"{service}.ListTickets", "tickets"))
        agents = [users[person.email] for person in self._story.people if person.team == desk.TEAM]
        missing = {key: matter for key, matter in desk.open_desk(self._story).items() if key not in names}
        for number, (key, matter) in enumerate(missing.items()):
            ticket = matter.ticket
            ticket.account, ticket.requester = accounts[matter.account], contacts[matter.contact]
            ticket.products.append(products[matter.sku])
            ticket.owner, ticket.team = agents[number % len(agents)], teams[desk.TEAM]
            names[key] = self._call(f"{service}.CreateTicket", ticket=ticket).name
            for entry in matter.entries:
                entry.ticket = names[key]
                self._call(said, ticket_entry=entry)
            if matter.solution:
                self._call(f"{service}.SolveTicket", name=names[key], solution=matter.solution)
        return len(names)


def _by_key(records: Iterable[Any]) -> dict[str, str]:
    """Returns the names of records by their key in the system of the story."""
    return {
        external_id.key: record.name
        for record in records
        for external_id in record.external_ids
        if external_id.system == SYSTEM
    }
