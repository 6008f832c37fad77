"""Makes up what the demo company sells, the deals it works on and those it won and lost, and who asked for an offer.

The same seed and day give the same deals. Accounts are named by their keys in the story.
"""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from kontor.sales.v1 import lead_pb2, opportunity_pb2, product_pb2
from kontor.type.v1 import external_id_pb2
from kontor_dev.demo.story import SYSTEM, Story, slug

OPPORTUNITIES: Final = 180
LEADS: Final = 40
SCENARIOS: Final = ("New production line", "Replacement without standstill", "Second site")
SOURCES: Final = ("website", "trade-fair", "recommendation", "existing customer")
STAGES: Final = ("qualification", "analysis", "proposal", "negotiation")
"""Those of the usual way, in order."""
PIPELINE: Final = "Projects"
CURRENCY: Final = "EUR"


class Ware(NamedTuple):
    """Something that is sold, with its price in units of CURRENCY."""

    sku: str
    display_name: str
    family: str
    unit: str
    price: int
    benefit: str


WARES: Final = (
    Ware("CV-200", "Conveyor CV 200", "Conveyors", "metre", 1_450, "Carries 200 kg a metre without an extra drive."),
    Ware("CV-400", "Conveyor CV 400", "Conveyors", "metre", 2_600, "Changes direction on half of the usual floor."),
    Ware("RB-7", "Picking robot RB 7", "Robots", "piece", 48_000, "Learns a new part in a quarter of an hour."),
    Ware("RB-9", "Palletising robot RB 9", "Robots", "piece", 71_500, "Stacks 900 cartons an hour, mixed."),
    Ware("SC-1", "Vision sensor SC 1", "Sensors", "piece", 890, "Sees scratches of a tenth of a millimetre."),
    Ware("CT-12", "Control cabinet CT 12", "Controls", "piece", 12_300, "Is wired and tested before it is delivered."),
    Ware("SV-D", "Engineer's day", "Services", "day", 1_280, "Somebody who knows the line from its first day."),
    Ware("SV-M", "Maintenance for a year", "Services", "year", 9_600, "An engineer on site within eight hours."),
)


class Deal(NamedTuple):
    """An opportunity with its history."""

    account: str
    opportunity: opportunity_pb2.Opportunity
    lines: list[tuple[str, int]]
    """Of which article (sku) how many."""
    visits: list[tuple[str, dt.datetime]]
    """The stages it was in, with the time when it came."""


@dataclass
class Deals:
    """Everything there is to be brought in."""

    products: dict[str, product_pb2.Product] = field(default_factory=dict)
    """By article number."""
    opportunities: dict[str, Deal] = field(default_factory=dict)
    leads: dict[str, lead_pb2.Lead] = field(default_factory=dict)


def deal(story: Story, today: dt.date, seed: int = 20260115) -> Deals:
    """Makes up the deals of the year up to `today`, and those that are under way."""
    chance = random.Random(seed)  # noqa: S311 (nothing here is secret)
    made = Deals(products={ware.sku: _product(ware) for ware in WARES})
    customers = list(story.accounts)
    for number in range(OPPORTUNITIES):
        key = f"O-{10001 + number}"
        account = customers[chance.randrange(len(customers))]
        made.opportunities[key] = _opportunity(chance, key, account, story, today)
    for number in range(LEADS):
        key = f"L-{10001 + number}"
        made.leads[key] = _lead(chance, key, story, number)
    return made


def _product(ware: Ware) -> product_pb2.Product:
    return product_pb2.Product(
        sku=ware.sku,
        display_name=ware.display_name,
        family=ware.family,
        unit=ware.unit,
        benefits=[{"usage_scenario": scenario, "argument": ware.benefit} for scenario in SCENARIOS[:2]],
        external_ids=[external_id_pb2.ExternalId(system=SYSTEM, key=ware.sku)],
    )


def _opportunity(chance: random.Random, key: str, account: str, story: Story, today: dt.date) -> Deal:
    closed = chance.random() < 0.55
    begun = today - dt.timedelta(days=chance.randint(60, 360) if closed else chance.randint(3, 120))
    moment = dt.datetime.combine(begun, dt.time(9), dt.UTC)
    last = len(STAGES) if closed else chance.randint(1, len(STAGES))
    visits = []
    for stage in STAGES[:last]:
        visits.append((stage, moment))
        moment += dt.timedelta(days=chance.randint(1, 40 if closed else 20))
    wares = chance.sample(WARES, chance.choice((1, 1, 2, 3)))
    if closed:
        visits.append(("won" if chance.random() < 0.45 + 0.1 * len(wares) else "lost", moment))
    now = dt.datetime.combine(today, dt.time(), dt.UTC)
    visits = [visit for visit in visits if visit[1] < now] or visits[:1]
    is_over = visits[-1][0] in ("won", "lost")
    close = visits[-1][1].date() if is_over else today + dt.timedelta(days=chance.randint(5, 150))
    made = opportunity_pb2.Opportunity(
        display_name=f"{chance.choice(SCENARIOS)}, {story.accounts[account].display_name}"[:200],
        stage=visits[-1][0],
        close_date={"year": close.year, "month": close.month, "day": close.day},
        source=chance.choice(SOURCES),
        next_step="" if is_over else chance.choice(("Send the offer", "Visit the site", "Call the buyer")),
        external_ids=[external_id_pb2.ExternalId(system=SYSTEM, key=key)],
    )
    lines = [(ware.sku, chance.choice((1, 1, 2, 3, 5, 12))) for ware in wares]
    return Deal(account, made, lines, visits)


def _lead(chance: random.Random, key: str, story: Story, number: int) -> lead_pb2.Lead:
    contacts = list(story.contacts.values())
    given = contacts[chance.randrange(len(contacts))].given_name
    family = contacts[chance.randrange(len(contacts))].family_name
    company = f"{family} {chance.choice(('Logistics', 'Foods', 'Components', 'Print'))}"
    return lead_pb2.Lead(
        given_name=given,
        family_name=family,
        company=company,
        email=f"{slug(given)}.{slug(family)}.{number}@{slug(company)}.example",
        source=chance.choice(SOURCES[:3]),
        description=f"Asks about: {chance.choice(SCENARIOS)}.",
        employee_count=chance.choice((8, 20, 60, 150)),
        external_ids=[external_id_pb2.ExternalId(system=SYSTEM, key=key)],
    )
