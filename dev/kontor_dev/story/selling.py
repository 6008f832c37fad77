"""The first part of the story: from a form on the web to a machine that is delivered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from kontor_dev.story.calling import Caller, wait_for
from kontor_dev.story.world import World

PRICE: Final = {"currencyCode": "EUR", "units": "184000"}
_FIELDS: Final = {
    "mail": "email",
    "first": "given_name",
    "name": "family_name",
    "company": "company",
    "country": "region_code",
    "website": "website",
}

Told = Iterator[str]


def lead_arrives(world: World) -> Told:
    """Somebody fills in the form on the web site."""
    staff = world.staff
    team = staff("POST", "teams", {"displayName": "Sales"})["name"]
    seller = {"email": "anna.vogt@maschinenbau.example", "displayName": "Anna Vogt"}
    anna = staff("POST", "users", {**seller, "roles": [world.roles["Member"]], "teams": [team]})["name"]
    staff("POST", "leadScoreRules", {"displayName": "Wrote to us", "eventType": "form.submitted", "points": 40})
    rule = {"displayName": "Everybody in turn", "method": "METHOD_ROUND_ROBIN", "members": [{"user": anna}]}
    staff("POST", "leadAssignmentRules", {**rule, "team": team})
    inputs = [{"input": name, "field": place, "required": name == "mail"} for name, place in _FIELDS.items()]
    form = staff("POST", "leadForms", {"displayName": "Contact", "inputs": inputs})["name"]
    world.known["anna"] = anna

    def arrived() -> Any:
        return staff("GET", "leads", filter=f'email = "{world.address}"').get("leads")

    def fill_in(public: Caller) -> None:
        key = staff("POST", f"{form}:rotateKey", {})["key"]
        said = {"mail": world.address, "first": "Eva", "name": "Brunner", "company": "Hofmann Verpackung AG"}
        public("POST", f"leadForms/{key}:capture", {**said, "country": "CH", "website": f"https://{world.domain}"})

    (lead,) = world.public.once(arrived, fill_in)
    world.known["lead"] = lead["name"]
    yield f"{lead['displayName']} of {lead['company']} wrote to us: {lead['name']}"


def lead_is_converted(world: World) -> Told:
    """The lead has points, and an owner; who works on it makes a customer of it."""
    staff, lead = world.staff, world.known["lead"]
    record = staff("GET", lead)
    assert record["owner"] == world.known["anna"]
    for part in staff("GET", f"{lead}:explainScore")["parts"]:
        yield f"{part['points']} points: {part['displayName']}"
    yield f"It goes to Anna Vogt, who {record['assignment']['reason']}"
    for verb in ("work", "qualify"):
        staff("POST", f"{lead}:{verb}", {})
    wanted = {"account": {}, "contact": {}, "opportunity": {"displayName": "Palletising line"}}
    made = world.finished(staff("POST", f"{lead}:convert", wanted))
    world.known |= {kind: made[kind] for kind in ("account", "contact", "opportunity")}
    assert staff("GET", made["account"])["displayName"] == "Hofmann Verpackung AG"
    yield f"Converted into {made['account']}, {made['contact']} and {made['opportunity']}"


def partners_register(world: World) -> Told:
    """A partner registers the deal. A second one wants it too, and learns why not."""
    staff = world.staff
    product = {"displayName": "Palletiser", "sku": "RB-9", "state": "STATE_ACTIVE"}
    world.known["product"] = staff("POST", "products", product)["name"]
    level = {"id": "gold", "displayName": "Gold", "weight": 1, "protectionDays": 120}
    programme = {"displayName": "Integrators", "currencyCode": "EUR", "levels": [level]}
    programme_name = staff("POST", "programmes", programme)["name"]
    first, its_people = _partner(world, programme_name, "Nordlicht Automation")
    second, others = _partner(world, programme_name, "Rheintal Robotik")
    claim = _registered(its_people, first, world, {"company": "Hofmann Verpackung AG", "website": world.domain})
    assert claim["verdict"] == "VERDICT_CLEAR", claim
    yield "Nordlicht Automation registers the deal: it is clear"
    late = _registered(others, second, world, {"company": "Hofmann", "contactEmail": world.address})
    assert late["verdict"] == "VERDICT_WAITING", late
    yield "Rheintal Robotik registers the same customer and product: it has to wait"
    staff("POST", f"{claim['name']}:startReview", {"account": world.known["account"]})
    world.finished(staff("POST", f"{claim['name']}:approve", {"opportunity": world.known["opportunity"]}))
    assert staff("GET", world.known["opportunity"])["partner"] == staff("GET", first)["account"]
    yield "The first registration is approved, and the opportunity protected for Nordlicht Automation"
    looked_at = others("GET", late["name"])
    assert looked_at["verdict"] == "VERDICT_CONFLICT", looked_at
    staff("POST", f"{late['name']}:reject", {"reason": "Somebody else was first."})
    seen = others("GET", late["name"])
    assert seen["state"] == "STATE_REJECTED"
    assert "Nordlicht" not in str(seen), "nobody is told who was first"
    (why,) = (outcome for outcome in seen["ruleOutcomes"] if not outcome.get("kept"))
    yield f"What Rheintal Robotik reads: {why['description']}"
    world.known["registration"] = claim["name"]


def _partner(world: World, programme: str, title: str) -> tuple[str, Caller]:
    """Make a company a partner; return its name, and its people's program."""
    staff = world.staff
    account = staff("POST", "accounts", {"displayName": title, "roles": ["ROLE_PARTNER"]})["name"]
    team = staff("POST", "teams", {"displayName": f"People of {title}"})["name"]
    partner = {"displayName": title, "account": account, "type": "TYPE_INTEGRATOR", "partnerTeam": team}
    name = staff("POST", "partners", partner)["name"]
    for verb in ("apply", "approve"):
        staff("POST", f"{name}:{verb}", {})
    staff("POST", f"{name}:setLevel", {"programme": programme, "level": "gold", "reason": "As agreed"})
    staff("POST", f"{name}:activate", {})
    return name, world.caller(*world.program(f"Portal of {title}", [world.roles["Partner"]], [team]))


def _registered(caller: Caller, partner: str, world: World, customer: dict[str, str]) -> Any:
    deal = {
        "displayName": "Palletising line",
        "partner": partner,
        "endCustomer": {"regionCode": "CH", **customer},
        "products": [world.known["product"]],
        "amount": PRICE,
        "expectedCloseDate": {"year": 2090, "month": 3, "day": 31},
        "evidence": "Two visits, and a simulation that the head of production has seen.",
    }
    name = caller("POST", "dealRegistrations", deal)["name"]
    return caller("POST", f"{name}:submit", {})


def deal_moves(world: World) -> Told:
    """The deal goes through the pipeline, and the buying centre takes shape."""
    staff, deal, account = world.staff, world.known["opportunity"], world.known["account"]
    buyer = {"givenName": "Martin", "familyName": "Odermatt", "emails": [{"address": "martin@odermatt.example"}]}
    other = staff("POST", "contacts", buyer)["name"]
    staff("POST", "affiliations", {"account": account, "contact": other, "title": "Head of purchasing"})
    centre = [
        {"contact": world.known["contact"], "role": "BUYING_ROLE_CHAMPION", "stance": 2, "influence": 3},
        {"contact": other, "role": "BUYING_ROLE_DECISION_MAKER", "stance": 1, "influence": 5},
    ]
    staff("PATCH", deal, {"buyingCentre": centre, "amount": PRICE})
    yield "Eva Brunner is for it, Martin Odermatt decides"
    for stage in ("proposal", "negotiation"):
        record = staff("POST", f"{deal}:moveStage", {"stage": stage})
        assert record["stage"] == stage
        yield f"The deal is in {stage}"


def quote_is_accepted(world: World) -> Told:
    """The customer accepts the quote by its link; the deal is won, and the order goes out."""
    staff, deal = world.staff, world.known["opportunity"]
    line = {"product": world.known["product"], "quantity": {"value": "1"}, "unitPrice": PRICE}
    quote = {
        "displayName": "Palletising line",
        "account": world.known["account"],
        "contact": world.known["contact"],
        "opportunity": deal,
        "lines": [line],
        "validUntil": {"year": 2090, "month": 1, "day": 31},
    }
    name = staff("POST", "quotes", quote)["name"]
    assert staff("POST", f"{name}:submit", {})["state"] == "STATE_APPROVED"
    link = staff("POST", f"{name}:send", {})["token"]
    offer = world.public("GET", "quotes:review", token=link)
    yield f"The customer opens quote {offer['quoteNumber']} over {offer['grossAmount']['units']} EUR by its link"

    def accepted() -> Any:
        return staff("GET", name)["state"] == "STATE_ACCEPTED"

    world.public.once(
        accepted, lambda public: public("POST", "quotes:accept", {"token": link, "signerName": "M. Odermatt"})
    )
    assert staff("POST", f"{deal}:markWon", {})["state"] == "STATE_WON"
    yield "Accepted: the deal is won"
    order = staff("POST", f"{name}:order", {})["name"]
    for sequence, state in enumerate(("STATE_CONFIRMED", "STATE_DELIVERED"), 1):
        report = {"source": "erp", "externalId": "4711", "sequence": sequence, "state": state}
        assert staff("POST", f"{order}:reportState", report)["state"] == state
    world.known["order"] = order
    yield f"{order}: the ERP system has confirmed and delivered it"


def party_is_known(world: World) -> str:
    """Wait until marketing knows the customer, and return the name of the party."""
    party = f"parties/{world.known['contact'].partition('/')[2]}"

    def known() -> Any:
        found = world.staff("GET", "parties", filter=f'account = "{world.known["account"]}"').get("parties", [])
        return any(each["name"] == party for each in found)

    wait_for(known, party)
    return party
