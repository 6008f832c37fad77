"""Makes up what customers of the demo company want from its service desk, and what is said about it.

The same story gives the same tickets. Accounts and contacts are named by their keys in it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from kontor.ticketing.v1 import (
    sla_policy_pb2,
    ticket_entry_pb2,
    ticket_level_pb2,
    ticket_pb2,
    working_calendar_pb2,
)
from kontor.type.v1 import external_id_pb2
from kontor_dev.demo.story import SYSTEM, Story

TEAM: Final = "Service"
ROUNDS: Final = 3
"""So often each matter comes up, with other customers."""

Ticket = ticket_pb2.Ticket
Entry = ticket_entry_pb2.TicketEntry
Level = ticket_level_pb2.TicketLevel
LOW, MEDIUM, HIGH = (
    ticket_level_pb2.TICKET_LEVEL_LOW,
    ticket_level_pb2.TICKET_LEVEL_MEDIUM,
    ticket_level_pb2.TICKET_LEVEL_HIGH,
)

HOURS: Final = 3600


def calendar() -> working_calendar_pb2.WorkingCalendar:
    """Return when the service desk works."""
    hours = [({"hours": 8}, {"hours": 12}), ({"hours": 13}, {"hours": 17, "minutes": 30})]
    slots = [{"day": day, "start": start, "end": end} for day in range(1, 6) for start, end in hours]
    exceptions: list[dict[str, Any]] = [
        {
            "date": {"month": 12, "day": 24},
            "display_name": "Christmas Eve",
            "hours": [{"start": {"hours": 8}, "end": {"hours": 12}}],
        },
        {"date": {"month": 12, "day": 31}, "display_name": "New Year's Eve"},
    ]
    return working_calendar_pb2.WorkingCalendar(
        display_name="Service desk",
        time_zone="Europe/Berlin",
        country_code="DE",
        subdivision="BY",
        slots=slots,
        exceptions=exceptions,
        default=True,
    )


def policies() -> list[sla_policy_pb2.SlaPolicy]:
    """Return what customers are promised."""
    lead = {"seconds": HOURS}
    standard: list[dict[str, Any]] = [
        {"priority": 4, "first_response": {"seconds": HOURS}, "resolution": {"seconds": 8 * HOURS}},
        {"priority": 3, "first_response": {"seconds": 2 * HOURS}, "resolution": {"seconds": 16 * HOURS}},
        {"first_response": {"seconds": 8 * HOURS}, "resolution": {"seconds": 40 * HOURS}},
    ]
    complaints = [{"first_response": {"seconds": 4 * HOURS}, "resolution": {"seconds": 24 * HOURS}}]
    return [
        sla_policy_pb2.SlaPolicy(
            display_name="Complaints",
            order=1,
            ticket_types=[Ticket.TYPE_COMPLAINT],
            targets=complaints,
            warning_lead=lead,
        ),
        sla_policy_pb2.SlaPolicy(display_name="Standard", order=9, targets=standard, warning_lead=lead),
    ]


class Matter(NamedTuple):
    """Something that customers want."""

    type: Ticket.Type
    channel: Ticket.Channel
    impact: Level
    urgency: Level
    sku: str
    subject: str
    description: str
    answer: str
    note: str
    reply: str
    solution: str


MATTERS: Final = (
    Matter(
        Ticket.TYPE_INCIDENT, Ticket.CHANNEL_PHONE, HIGH, HIGH, "CV-400",
        "Conveyor stands still", "Section 3 stopped this morning and does not start again. The shift waits.",
        "An engineer is on the way and will be with you by noon.", "Third stop of this drive within a year.",
        "It runs again, thank you.", "Replaced the drive of section 3.",
    ),
    Matter(
        Ticket.TYPE_INCIDENT, Ticket.CHANNEL_EMAIL, MEDIUM, HIGH, "RB-7",
        "Robot drops parts", "Since the last update every tenth part falls down before the box.",
        "Could you send us the log of the gripper?", "Looks like the vacuum valve again.",
        "Here it is. It happens with the blue parts only.", "",
    ),
    Matter(
        Ticket.TYPE_QUESTION, Ticket.CHANNEL_FORM, LOW, LOW, "SC-1",
        "Which lens for a distance of two metres?", "The data sheet ends at one and a half.",
        "The lens with 25 mm will do; we have added it to the data sheet.", "", "Perfect.",
        "Lens with 25 mm; data sheet corrected.",
    ),
    Matter(
        Ticket.TYPE_REQUEST, Ticket.CHANNEL_PORTAL, LOW, MEDIUM, "SV-M",
        "Maintenance before the summer break", "Please come in the last week before we close.",
        "We have two engineers for you on the Tuesday and Wednesday.", "Ask whether the spare drive is in stock.", "", "",
    ),
    Matter(
        Ticket.TYPE_COMPLAINT, Ticket.CHANNEL_EMAIL, MEDIUM, MEDIUM, "CT-12",
        "Cabinet delivered with scratches", "Two doors are scratched. Photographs are attached.",
        "We are sorry. New doors leave our works this week.", "Packed by the new forwarder.", "", "",
    ),
    Matter(
        Ticket.TYPE_PROBLEM, Ticket.CHANNEL_SYSTEM, HIGH, LOW, "RB-9",
        "Palletisers lose their reference after a power cut", "Seen at four customers since January.", "",
        "Collect the firmware versions first.", "", "",
    ),
)  # fmt: skip


class Desk(NamedTuple):
    """A ticket with what was said about it."""

    account: str
    contact: str
    sku: str
    ticket: Ticket
    entries: list[Entry]
    solution: str
    """What solved it; empty where it goes on."""


def open_desk(story: Story, seed: int = 20260115) -> dict[str, Desk]:
    """Makes up the tickets, by their keys."""
    chance = random.Random(seed)  # noqa: S311 (nothing here is secret)
    made = {}
    for number, matter in enumerate(MATTERS * ROUNDS):
        key = f"T-{10001 + number}"
        contact, account, _ = story.affiliations[chance.randrange(len(story.affiliations))]
        ticket = Ticket(
            subject=matter.subject,
            description=matter.description,
            type=matter.type,
            channel=matter.channel,
            impact=matter.impact,
            urgency=matter.urgency,
            language_code=story.contacts[contact].language_code,
            external_ids=[external_id_pb2.ExternalId(system=SYSTEM, key=key)],
        )
        made[key] = Desk(account, contact, matter.sku, ticket, list(_said(matter)), matter.solution)
    return made


def _said(matter: Matter) -> Iterator[Entry]:
    parts = (
        (matter.note, Entry.VISIBILITY_INTERNAL, Entry.DIRECTION_FROM_AGENT),
        (matter.answer, Entry.VISIBILITY_PUBLIC, Entry.DIRECTION_FROM_AGENT),
        (matter.reply, Entry.VISIBILITY_PUBLIC, Entry.DIRECTION_FROM_REQUESTER),
    )
    for body, visibility, direction in parts:
        if body:
            yield Entry(body=body, visibility=visibility, direction=direction)
