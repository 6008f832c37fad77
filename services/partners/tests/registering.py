"""What the tests of deal registrations need often: partners, and registrations that stand somewhere."""

from __future__ import annotations

import itertools

from kontor_kit.ids import uuid7
from services.partners.tests.partnering import day

ROBOT, ARM = (f"products/{uuid7()}" for _ in range(2))
CLEAR, CONFLICT, WAITING = 1, 2, 3
CUSTOMER = {"company": "Hofmann Werke GmbH", "region_code": "DE", "postal_code": "70173", "website": "hofmann.example"}
_NUMBERS = itertools.count()


def customer(**fields):
    """Return an end customer that nobody had before."""
    return {**CUSTOMER, "website": f"customer{next(_NUMBERS)}.example", "postal_code": "", **fields}


def registration(caller, partner, **fields):
    """Return a new draft."""
    usual = {
        "display_name": "Hofmann: two robots",
        "partner": partner.name,
        "end_customer": CUSTOMER,
        "products": [ROBOT],
        "amount": {"currency_code": "EUR", "units": 50_000},
        "expected_close_date": day(90),
    }
    return caller("CreateDealRegistration", deal_registration={**usual, **fields})


def submitted(caller, partner, **fields):
    """Return one that is submitted."""
    return caller("SubmitDealRegistration", name=registration(caller, partner, **fields).name)


def pending(caller, partner, **fields):
    """Return one that is looked at."""
    return caller("StartDealRegistrationReview", name=submitted(caller, partner, **fields).name)


def events(caller, name) -> list[str]:
    """Return what happened to a record."""
    with caller.running.database.connect() as connection:
        rows = connection.execute(
            "SELECT event_type FROM change_pending WHERE resource_name = %s ORDER BY sequence", [name]
        ).fetchall()
    return [row[0].rpartition(".")[2] for row in rows]
