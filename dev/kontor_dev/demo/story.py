"""Makes up a company's business: groups and their subsidiaries, public bodies, the people who work there.

The same seed gives the same story. Addresses end in `.example`, which nobody can own.
"""

from __future__ import annotations

import random
import re
import unicodedata
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import phonenumbers
from faker import Faker

from kontor.contacts.v1 import (
    account_pb2,
    address_status_pb2,
    affiliation_pb2,
    contact_pb2,
    contact_point_pb2,
    custom_field_definition_pb2,
)
from kontor.type.v1 import external_id_pb2
from kontor_dev.demo.markets import INDUSTRIES, MARKETS, POSITIONS, City, Market

T = TypeVar("T")

GROUPS = 34
PUBLIC_BODIES = 24
CONTACTS = 400
SYSTEM = "erp"
TEAMS = ("Sales Central Europe", "Sales Western Europe", "Sales Overseas", "Key Accounts", "Marketing", "Service")
TAGS = ("newsletter", "trade-fair-2026", "reference", "early-adopter", "price-sensitive", "framework-contract")

Account = account_pb2.Account
Contact = contact_pb2.Contact
Definition = custom_field_definition_pb2.CustomFieldDefinition
Status = address_status_pb2.AddressStatus
STAGES = (
    (Contact.LIFECYCLE_STAGE_SUBSCRIBER, 2),
    (Contact.LIFECYCLE_STAGE_LEAD, 3),
    (Contact.LIFECYCLE_STAGE_QUALIFIED_LEAD, 2),
    (Contact.LIFECYCLE_STAGE_OPPORTUNITY, 2),
    (Contact.LIFECYCLE_STAGE_CUSTOMER, 6),
    (Contact.LIFECYCLE_STAGE_EVANGELIST, 1),
)
SPELLINGS: dict[int, str] = {ord("ä"): "ae", ord("ö"): "oe", ord("ü"): "ue", ord("ß"): "ss", ord("ł"): "l"}
# What the head of a group is to us, and how often.
RELATIONS = (
    ((Account.ROLE_CUSTOMER,), 10),
    ((Account.ROLE_PROSPECT,), 8),
    ((Account.ROLE_SUPPLIER,), 4),
    ((Account.ROLE_PARTNER,), 3),
    ((Account.ROLE_COMPETITOR,), 2),
    ((Account.ROLE_CUSTOMER, Account.ROLE_SUPPLIER), 2),
    ((Account.ROLE_PARTNER, Account.ROLE_COMPETITOR), 1),
)
PUBLIC_ROLES = (Account.ROLE_AUTHORITY, Account.ROLE_INSTITUTION, Account.ROLE_ASSOCIATION, Account.ROLE_MEDIA)


class Person(NamedTuple):
    """A colleague, who signs in."""

    email: str
    given_name: str
    family_name: str
    language: str
    time_zone: str
    team: str


class Affiliation(NamedTuple):
    """Who works where, by the keys of both."""

    contact: str
    account: str
    record: affiliation_pb2.Affiliation


@dataclass
class Story:
    """Everything there is to be brought in; records refer to one another by external key, or e-mail address."""

    people: list[Person] = field(default_factory=list)
    definitions: list[Definition] = field(default_factory=list)
    accounts: dict[str, Account] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    contacts: dict[str, Contact] = field(default_factory=dict)
    affiliations: list[Affiliation] = field(default_factory=list)
    statuses: list[Status] = field(default_factory=list)

    def levels(self) -> list[dict[str, Account]]:
        """Returns the accounts so that a parent always stands in an earlier level."""
        levels: list[dict[str, Account]] = []
        for key, account in self.accounts.items():
            depth, above = 0, key
            while above in self.parents:
                depth, above = depth + 1, self.parents[above]
            while len(levels) <= depth:
                levels.append({})
            levels[depth][key] = account
        return levels


def tell(seed: int = 20260115) -> Story:
    """Makes up the story."""
    author = _Author(seed)
    author.people()
    author.story.definitions = _definitions()
    for number in range(GROUPS):
        author.group(number)
    for number in range(PUBLIC_BODIES):
        author.public_body(number)
    author.twins()
    keys = list(author.story.accounts)
    for number in range(CONTACTS):
        author.contact(number, keys[number % len(keys)])
    author.statuses()
    return author.story


class _Author:
    def __init__(self, seed: int) -> None:
        self.story = Story()
        self._chance = random.Random(seed)  # noqa: S311 (nothing here is secret)
        self._fakers = {market.locale: Faker(market.locale) for market in MARKETS}
        for number, faker in enumerate(self._fakers.values()):
            faker.seed_instance(seed + number)
        self._markets: dict[str, Market] = {}
        self._domains: dict[str, str] = {}
        self._numbers: set[str] = set()

    def people(self) -> None:
        """Makes up two colleagues for each team."""
        for number, team in enumerate(team for team in TEAMS for _ in range(2)):
            market = MARKETS[number % len(MARKETS)]
            given, family, _ = self._name(market)
            email = f"{slug(given)}.{slug(family)}@demo.example"
            self.story.people.append(Person(email, given, family, market.language, market.time_zone, team))

    def group(self, number: int) -> None:
        """Makes up a company with up to three subsidiaries, and now and then a site of one of them."""
        market = self._market()
        family, trade = self._fakers[market.locale].last_name(), number % len(INDUSTRIES)
        roles = _weighted(self._chance, RELATIONS)
        head = self._company(market, f"{family} {market.trades[trade]}", trade, roles, scale=8)
        for other in self._chance.sample(MARKETS, self._chance.randint(0, 3)):
            name = f"{family} {other.trades[trade]} {other.country}"
            subsidiary = self._company(other, name, trade, roles, scale=2, parent=head)
            if self._chance.random() < 0.25:
                city = self._chance.choice(other.cities)
                self._company(other, f"{name}, {city.name}", trade, roles, scale=1, parent=subsidiary, city=city)

    def public_body(self, number: int) -> None:
        """Makes up a city, a university, an association or a newspaper."""
        kind = number % 4
        market = MARKETS[number % len(MARKETS)]
        city = market.cities[number // len(MARKETS) % len(market.cities)]
        roles = (PUBLIC_ROLES[kind],) if kind else (PUBLIC_ROLES[kind], Account.ROLE_CUSTOMER)
        self._company(market, market.public[kind].format(city.name), None, roles, scale=3, city=city)

    def twins(self) -> None:
        """Makes up a few accounts that look like others: something to merge."""
        for key in list(self.story.accounts)[:12:4]:
            market = self._markets[key]
            name = self.story.accounts[key].display_name.upper()
            trade = INDUSTRIES.index(self.story.accounts[key].industry)
            self._company(market, name, trade, (Account.ROLE_PROSPECT,), scale=1)

    def contact(self, number: int, employer: str) -> None:
        """Makes up a person and where she works."""
        market, chance = self._markets[employer], self._chance
        given, family, salutation = self._name(market)
        key = f"P-{10001 + number}"
        position = chance.randrange(len(POSITIONS))
        email = f"{slug(given)}.{slug(family)}{number if number % 7 == 6 else ''}@{self._domains[employer]}"
        contact = Contact(
            given_name=given,
            family_name=family,
            salutation=salutation,
            honorific="Dr." if chance.random() < 0.08 else "",
            title=market.titles[position],
            emails=[_email(email)],
            phones=[self._phone(market, phonenumbers.PhoneNumberType.FIXED_LINE)],
            language_code=market.language,
            time_zone=market.time_zone,
            lifecycle_stage=_weighted(chance, STAGES),
            tags=sorted(chance.sample(TAGS, chance.choice((0, 0, 1, 1, 2)))),
            external_ids=[external_id_pb2.ExternalId(system=SYSTEM, key=key)],
        )
        if chance.random() < 0.6:
            contact.phones.append(self._phone(market, phonenumbers.PhoneNumberType.MOBILE))
        if chance.random() < 0.15:
            address = f"{slug(given)}.{slug(family)}.{number}@mail.example"
            contact.emails.append(_email(address, contact_point_pb2.CONTACT_POINT_KIND_PRIVATE))
        contact.custom_fields["preferred_channel"] = chance.choice(("email", "phone", "visit"))
        if chance.random() < 0.3:
            contact.custom_fields["topics"] = sorted(chance.sample(("automation", "service", "energy", "safety"), 2))
        self.story.contacts[key] = contact
        self._affiliate(key, employer, position)

    def statuses(self) -> None:
        """Makes up addresses that do not work any more, or want no advertising."""
        emails = [contact.emails[0].address for contact in self.story.contacts.values()]
        for number, address in enumerate(self._chance.sample(sorted(set(emails)), 24)):
            bounced = number < 9
            self.story.statuses.append(
                Status(
                    kind=Status.KIND_EMAIL,
                    address=address,
                    invalid=bounced,
                    opted_out=not bounced,
                    reason="550 5.1.1 unknown user" if bounced else "Unsubscribed from the newsletter",
                    source="mail server" if bounced else "newsletter",
                )
            )

    def _affiliate(self, contact: str, employer: str, position: int) -> None:
        chance = self._chance
        year = chance.randint(2010, 2025)
        since = {"year": year, "month": chance.randint(1, 12), "day": 1}
        title = self.story.contacts[contact].title
        record = affiliation_pb2.Affiliation(role=POSITIONS[position], title=title, primary=True, valid_from=since)
        self.story.affiliations.append(Affiliation(contact, employer, record))
        if chance.random() < 0.12:
            before = chance.choice([key for key in self.story.accounts if key != employer])
            record = affiliation_pb2.Affiliation(
                role=chance.choice(POSITIONS),
                valid_from={"year": year - 4, "month": 1, "day": 1},
                valid_to={"year": year - 1, "month": 12, "day": 31},
            )
            self.story.affiliations.append(Affiliation(contact, before, record))

    def _company(
        self,
        market: Market,
        name: str,
        trade: int | None,
        roles: tuple[Account.Role, ...],
        *,
        scale: int,
        parent: str = "",
        city: City | None = None,
    ) -> str:
        chance, key = self._chance, f"A-{10001 + len(self.story.accounts)}"
        domain = f"{slug(name)}.example"
        employees = scale * chance.choice((12, 25, 40, 80, 150, 400))
        account = Account(
            display_name=name,
            legal_name=name if trade is None else f"{name} {chance.choice(market.legal_forms)}",
            roles=roles,
            industry="" if trade is None else INDUSTRIES[trade],
            employee_count=employees,
            website=f"https://www.{domain}/",
            tier=self._tier(scale, roles),
            emails=[_email(f"info@{domain}")],
            phones=[self._phone(market, phonenumbers.PhoneNumberType.FIXED_LINE)],
            addresses=[self._address(market, city or chance.choice(market.cities))],
            tags=sorted(chance.sample(TAGS, chance.choice((0, 1, 1, 2)))),
            external_ids=[external_id_pb2.ExternalId(system=SYSTEM, key=key)],
            language_code=market.language,
        )
        if trade is not None:
            units = employees * chance.randint(110, 320) * 1000
            account.annual_revenue.currency_code, account.annual_revenue.units = market.currency, units
            account.custom_fields["credit_rating"] = chance.choice("AAABBC")
        if Account.ROLE_CUSTOMER in roles:
            account.custom_fields["customer_since"] = f"{chance.randint(2005, 2025)}-{chance.randint(1, 12):02}-01"
            account.custom_fields["discount_percent"] = chance.choice((0, 2.5, 5, 7.5, 10))
        self.story.accounts[key] = account
        self._markets[key], self._domains[key] = market, domain
        if parent:
            self.story.parents[key] = parent
        return key

    def _tier(self, scale: int, roles: tuple[Account.Role, ...]) -> Account.Tier:
        if Account.ROLE_CUSTOMER not in roles:
            return Account.TIER_BASIC if scale == 1 else Account.TIER_STANDARD
        return self._chance.choice((Account.TIER_STRATEGIC, Account.TIER_KEY)) if scale > 4 else Account.TIER_STANDARD

    def _market(self) -> Market:
        return _weighted(self._chance, tuple((market, market.weight) for market in MARKETS))

    def _name(self, market: Market) -> tuple[str, str, str]:
        """Returns given name, family name and salutation."""
        faker, is_man = self._fakers[market.locale], self._chance.random() < 0.5
        if is_man:
            return faker.first_name_male(), faker.last_name_male(), market.salutations[1]
        return faker.first_name_female(), faker.last_name_female(), market.salutations[0]

    def _address(self, market: Market, city: City) -> contact_point_pb2.PostalAddress:
        return contact_point_pb2.PostalAddress(
            kind=contact_point_pb2.CONTACT_POINT_KIND_WORK,
            lines=[self._fakers[market.locale].street_address().splitlines()[0]],
            locality=city.name,
            administrative_area=city.area,
            postal_code=city.postal_code,
            region_code=market.region,
        )

    def _phone(self, market: Market, kind: int) -> contact_point_pb2.PhoneNumber:
        """Returns a number that nobody else in the story has, made from the country's example by other last digits."""
        example = phonenumbers.example_number_for_type(market.region, kind)
        assert example is not None, market.region
        start = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)[:-4]
        while True:
            number = f"{start}{self._chance.randrange(10_000):04}"
            if number not in self._numbers and phonenumbers.is_valid_number(phonenumbers.parse(number)):
                self._numbers.add(number)
                mobile = kind == phonenumbers.PhoneNumberType.MOBILE
                use = "CONTACT_POINT_KIND_MOBILE" if mobile else "CONTACT_POINT_KIND_WORK"
                return contact_point_pb2.PhoneNumber(number=number, kind=use)


def slug(text: str) -> str:
    """Returns a text as it may stand in an address: lower case, no accents, words joined by hyphens."""
    plain = text.lower().translate(SPELLINGS)
    ascii_only = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", ascii_only).strip("-")


def _email(
    address: str, kind: contact_point_pb2.ContactPointKind = contact_point_pb2.CONTACT_POINT_KIND_WORK
) -> contact_point_pb2.EmailAddress:
    return contact_point_pb2.EmailAddress(address=address, kind=kind)


def _weighted(chance: random.Random, choices: tuple[tuple[T, int], ...]) -> T:
    values, weights = zip(*choices, strict=True)
    chosen: T = chance.choices(values, weights)[0]
    return chosen


def _definitions() -> list[Definition]:
    def options(*values: str) -> list[Definition.Option]:
        return [Definition.Option(value=value, display_name=value.capitalize()) for value in values]

    return [
        Definition(
            resource_type="accounts",
            key="credit_rating",
            display_name="Credit rating",
            type=Definition.TYPE_ENUM,
            options=options("A", "B", "C"),
            filterable=True,
        ),
        Definition(
            resource_type="accounts",
            key="customer_since",
            display_name="Customer since",
            type=Definition.TYPE_DATE,
            filterable=True,
        ),
        Definition(
            resource_type="accounts",
            key="discount_percent",
            display_name="Discount (%)",
            type=Definition.TYPE_NUMBER,
            min_value=0,
            max_value=50,
        ),
        Definition(
            resource_type="contacts",
            key="preferred_channel",
            display_name="Preferred channel",
            type=Definition.TYPE_ENUM,
            options=options("email", "phone", "visit"),
            filterable=True,
        ),
        Definition(
            resource_type="contacts",
            key="topics",
            display_name="Topics of interest",
            type=Definition.TYPE_MULTI_ENUM,
            options=options("automation", "service", "energy", "safety"),
        ),
    ]
