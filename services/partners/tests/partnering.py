"""What the tests of partners need often: a programme, and partners that stand somewhere."""

from __future__ import annotations

import datetime as dt

from kontor_kit.ids import uuid7

TODAY = dt.datetime.now(dt.UTC).date()
LEVELS = [
    {"id": "silver", "display_name": "Silver", "weight": 1},
    {"id": "gold", "display_name": "Gold", "weight": 3, "protection_days": 120, "offer_hours": 24},
]


def day(days: int) -> dict[str, int]:
    """Return the day so many days from today."""
    return date(TODAY + dt.timedelta(days=days))


def date(day: dt.date) -> dict[str, int]:
    """Return a day as google.type.Date."""
    return {"year": day.year, "month": day.month, "day": day.day}


def programme(caller, **fields):
    """Return a new programme with the levels silver and gold."""
    usual = {"display_name": "Resellers", "currency_code": "EUR", "levels": LEVELS, "grace_days": 30}
    return caller("CreateProgramme", programme={**usual, **fields})


def partner(caller, **fields):
    """Return a new partner, a prospect, with people of its own."""
    usual = {"display_name": "Example", "account": f"accounts/{uuid7()}", "partner_team": f"teams/{uuid7()}"}
    return caller("CreatePartner", partner={**usual, **fields})


def active(caller, programme, level="silver", **fields):
    """Return a new partner that is active at a level."""
    made = partner(caller, **fields)
    caller("ApplyPartner", name=made.name)
    caller("ApprovePartner", name=made.name)
    caller("SetPartnerLevel", name=made.name, programme=programme.name, level=level, reason="To begin with")
    return caller("ActivatePartner", name=made.name)


PERSON = (
    "partners.partners.read:team",
    "partners.programmes.read:team",
    "partners.changes.read:team",
    "partners.leadOffers.read:team",
    "partners.leadOffers.accept:team",
    "partners.leadOffers.decline:team",
)
"""What the role Partner permits here."""


def person(caller, *partners):
    """Return somebody of the people of partners."""
    return caller.colleague(*PERSON, teams=[each.partner_team.partition("/")[2] for each in partners])
