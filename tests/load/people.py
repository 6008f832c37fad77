"""Makes up contacts in the form in which the service stores them: the same number gives the same person."""

from __future__ import annotations

import random
from typing import Any

from kontor.contacts.v1 import contact_pb2, contact_point_pb2

SEGMENTS = 1000
"""So many values the custom field `segment` has: a filter on it finds one contact in a thousand."""

GIVEN = (
    *("Ada", "Ben", "Carla", "David", "Elif", "Felix", "Greta", "Hanna", "Ivan", "Jana", "Karim", "Lena", "Marco"),
    *("Nina", "Oskar", "Paula", "Quentin", "Rosa", "Samir", "Tessa", "Ulf", "Vera", "Wim", "Xenia", "Yara", "Zoe"),
)
FIRST = ("Bran", "Dorn", "Falk", "Grim", "Hart", "Jost", "Kern", "Lind", "Mar", "Nord", "Ost", "Pfei", "Rein", "Stei")
SECOND = ("ba", "ders", "em", "ga", "hold", "is", "ko", "ler", "man", "ner", "ot", "ris", "sen", "ten", "ur", "wal")
THIRD = ("bach", "berg", "dorf", "feld", "haus", "hoff", "kamp", "mann", "meyer", "rath", "stein", "thal", "witz")
CITIES = ("Aachen", "Berlin", "Bremen", "Dresden", "Essen", "Hamburg", "Kassel", "Mainz", "Ulm", "Wismar")
TAGS = tuple(f"tag-{number}" for number in range(40))
TITLES = ("Buyer", "Engineer", "Head of Sales", "Managing Director", "Secretary", "Technician")

Contact = contact_pb2.Contact
STAGES = tuple(number for number in Contact.LifecycleStage.values() if number)
WORK = contact_point_pb2.CONTACT_POINT_KIND_WORK


def family_name(draw: random.Random) -> str:
    """Return one of 2,912 family names."""
    return f"{draw.choice(FIRST)}{draw.choice(SECOND)}{draw.choice(THIRD)}"


def fragment(draw: random.Random) -> str:
    """Return a part of family names that is in about one of 200 of them."""
    return f"{draw.choice(FIRST)}{draw.choice(SECOND)}".lower()


def segment(draw: random.Random) -> str:
    """Return a value of the custom field `segment`."""
    return f"s{draw.randrange(SEGMENTS):04}"


def person(draw: random.Random, key: str) -> Any:
    """Return a contact whose e-mail address and phone number are its own, as far as `key` is."""
    given, family, town = draw.choice(GIVEN), family_name(draw), draw.randrange(len(CITIES))
    return Contact(
        display_name=f"{given} {family}",
        given_name=given,
        family_name=family,
        title=draw.choice(TITLES),
        emails=[{"address": f"{given}.{family}.{key}@firm{town}.example".lower(), "kind": WORK, "primary": True}],
        phones=[{"number": f"+4930{draw.randrange(10**7, 10**8)}", "kind": WORK, "primary": True}],
        addresses=[
            {
                "lines": [f"{family_name(draw)}str. {draw.randrange(1, 200)}"],
                "postal_code": f"{draw.randrange(10_000, 99_999)}",
                "locality": CITIES[town],
                "region_code": "DE",
                "primary": True,
            }
        ],
        language_code="de",
        lifecycle_stage=draw.choice(STAGES),
        tags=draw.sample(TAGS, 2),
        custom_fields={"segment": segment(draw), "score": float(draw.randrange(100))},
    )
