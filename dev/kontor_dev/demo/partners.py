"""Makes up who sells for the demo company: leads they are offered, and deals they registered, two of them the same."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from kontor.contacts.v1 import account_pb2
from kontor.partners.v1 import lead_offer_service_pb2, programme_pb2
from kontor.sales.v1 import lead_pb2
from kontor_dev.demo.story import SYSTEM, Story

PROGRAMME: Final = programme_pb2.Programme(
    display_name="Integrators",
    description="For those who build our machines into whole lines.",
    currency_code="EUR",
    levels=[
        {
            "id": "silver",
            "display_name": "Silver",
            "weight": 1,
            "criteria": [{"description": "One trained engineer"}],
            "benefits": ["Training at cost", "Demonstration machine for two weeks a year"],
        },
        {
            "id": "gold",
            "display_name": "Gold",
            "weight": 3,
            "criteria": [{"description": "Four trained engineers, and a machine of their own to show"}],
            "benefits": ["Training free of charge", "Named engineer", "Fairs together"],
            "protection_days": 120,
            "offer_hours": 24,
        },
    ],
    grace_days=90,
)
LEVELS: Final = ("silver", "gold", "silver")
"""Of the partners, in the order in which they are found in the story."""


class Registered(NamedTuple):
    """A deal that a partner registered."""

    display_name: str
    partner: int
    """Which of the partners."""
    skus: tuple[str, ...]
    amount: int
    customer: dict[str, str]
    evidence: str
    steps: tuple[str, ...]
    """What was done with it."""


_MILL: Final = {"region_code": "AT", "postal_code": "4020"}
REGISTERED: Final = (
    Registered(
        "Palletising for the mill in Linz", 1, ("RB-9", "CV-200"), 186_000,
        {"company": "Donaumühle Linz GmbH", "website": "donaumuehle.example", **_MILL},
        "Two visits, and a simulation of the end of the line that the head of production has approved.",
        ("Submit", "StartReview"),
    ),
    Registered(
        "Donaumühle: end of line", 2, ("RB-9",), 143_000,
        {"company": "Donaumühle Linz", "contact_email": "einkauf@donaumuehle.example", **_MILL},
        "The buyer has asked for an offer.",
        ("Submit",),
    ),
    Registered(
        "Sorting for a laundry", 2, ("SC-1", "CT-12"), 31_000,
        {"company": "Blanchisserie du Léman SA", "region_code": "CH", "postal_code": "1006"},
        "",
        (),
    ),
)  # fmt: skip

OFFERED: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "L-10004": (
        "AcceptLeadOffer",
        {"next_step": "Visit them next week", "expected_amount": {"currency_code": "EUR", "units": 42_000}},
    ),
    "L-10009": ("DeclineLeadOffer", {"reason": "All our engineers are booked until summer"}),
    "L-10017": ("", {}),
}
"""The leads that are offered to partners, and how the first one answers."""

Call = Callable[..., Any]
Find = Callable[[str, str], Iterator[Any]]
_SERVICE: Final = "partners.v1.DealRegistrationService"
_OFFERS: Final = lead_offer_service_pb2.DESCRIPTOR.services_by_name["LeadOfferService"].full_name.removeprefix(
    "kontor."
)
_VERBS: Final = {"Submit": "SubmitDealRegistration", "StartReview": "StartDealRegistrationReview"}


def bring(call: Call, find: Find, story: Story, names: dict[str, dict[str, str]], today: dt.date) -> int:
    """Brings in what is missing, and returns how many deals are registered.

    `names` are those of accounts, products, teams and users by their keys; `call` and `find` are the loader's.
    """
    service = "partners.v1.ProgrammeService"
    programmes = {each.display_name: each.name for each in find(f"{service}.ListProgrammes", "programmes")}
    programme = programmes.get(PROGRAMME.display_name)
    if programme is None:
        programme = call(f"{service}.CreateProgramme", programme=PROGRAMME).name
    there = {each.account: each.name for each in find("partners.v1.PartnerService.ListPartners", "partners")}
    partners = []
    for key, level, person in zip(_integrators(story), LEVELS, story.people, strict=False):
        partner = {
            "display_name": story.accounts[key].display_name,
            "account": names["accounts"][key],
            "type": "TYPE_INTEGRATOR",
            "owner": names["users"][person.email],
            "team": names["teams"][person.team],
            "external_ids": [{"system": SYSTEM, "key": key}],
        }
        partners.append(there.get(names["accounts"][key]) or _partner(call, partner, programme, level))
    _offer(call, find)
    found = {each.display_name for each in find(f"{_SERVICE}.ListDealRegistrations", "deal_registrations")}
    for deal in REGISTERED:
        if deal.display_name not in found:
            _register(call, deal, partners[deal.partner], names["products"], today)
    return len(found | {deal.display_name for deal in REGISTERED})


def _offer(call: Call, find: Find) -> None:
    """Offers leads that nobody was offered yet, while somebody may have them."""
    done = {offer.lead for offer in find(f"{_OFFERS}.ListLeadOffers", "lead_offers")}
    for lead in find("sales.v1.LeadService.ListLeads", "leads"):
        keys = [external.key for external in lead.external_ids if external.key in OFFERED]
        if keys and lead.name not in done and lead.state <= lead_pb2.Lead.STATE_QUALIFIED:
            offer = call(f"{_OFFERS}.DistributeLead", lead=lead.name)
            method, fields = OFFERED[keys[0]]
            if method:
                call(f"{_OFFERS}.{method}", name=offer.name, **fields)


def _integrators(story: Story) -> Iterator[str]:
    """Yield the keys of the heads of groups that are partners."""
    for key, account in story.accounts.items():
        if account_pb2.Account.ROLE_PARTNER in account.roles and key not in story.parents:
            yield key


def _partner(call: Call, partner: dict[str, Any], programme: str, level: str) -> str:
    """Bring in a partner, with its people's team; it is active. Returns its name."""
    team = call(
        "identity.v1.TeamService.CreateTeam", team={"display_name": f"People of {partner['display_name']}"}
    ).name
    service = "partners.v1.PartnerService"
    name = str(call(f"{service}.CreatePartner", partner={**partner, "partner_team": team}).name)
    call(f"{service}.ApplyPartner", name=name)
    call(f"{service}.ApprovePartner", name=name)
    call(f"{service}.SetPartnerLevel", name=name, programme=programme, level=level, reason="As agreed")
    call(f"{service}.ActivatePartner", name=name)
    return name


def _register(call: Call, deal: Registered, partner: str, products: dict[str, str], today: dt.date) -> None:
    close = today + dt.timedelta(days=75)
    registration = {
        "display_name": deal.display_name,
        "partner": partner,
        "end_customer": deal.customer,
        "products": [products[sku] for sku in deal.skus],
        "amount": {"currency_code": "EUR", "units": deal.amount},
        "expected_close_date": {"year": close.year, "month": close.month, "day": close.day},
        "evidence": deal.evidence,
    }
    name = call(f"{_SERVICE}.CreateDealRegistration", deal_registration=registration).name
    for step in deal.steps:
        call(f"{_SERVICE}.{_VERBS[step]}", name=name)
