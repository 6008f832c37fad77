"""The second part of the story: the customer is welcomed, complains, is left in peace and helped."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from kontor_dev.story.calling import wait_for
from kontor_dev.story.selling import Told, party_is_known
from kontor_dev.story.world import World

HOUR: Final = 3600
DAYS: Final = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY")
_HELLO: Final = """{{ salutation }},

welcome among those who build with us.

{{ unsubscribe_url }}
"""


def customer_is_welcomed(world: World) -> Told:
    """A campaign welcomes the new customer, who has agreed to that: one mail."""
    staff, party = world.staff, party_is_known(world)
    topic = {"displayName": "News", "key": "news", "legalBasis": "LEGAL_BASIS_CONSENT"}
    world.known["topic"] = staff("POST", "topics", topic)["name"]
    agreed = {"party": party, "topic": world.known["topic"], "state": "STATE_OPTED_IN", "source": "order form"}
    staff("POST", "subscriptions:recordConsent", {"subscription": {**agreed, "evidence": {"form": "order"}}})
    rule = {"displayName": "Customers", "kind": "KIND_RULE", "filter": f'account = "{world.known["account"]}"'}
    world.known["segment"] = staff("POST", "segments", rule)["name"]
    text = {"subject": "Welcome, {{ party.given_name }}", "textBody": _HELLO, "salutationFallback": "Hello"}
    world.known["template"] = staff("POST", "templates", {"displayName": "Welcome", **text})["name"]
    recipients = _sent(world, "Welcome")
    assert recipients.pop(party) == "DECISION_ALLOWED"
    assert [*recipients.values()] == ["DECISION_NOT_OPTED_IN"], recipients
    (mail,) = world.mails.to(world.address)
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    yield f"One mail to {mail['To']}: {mail['Subject']}"
    yield "None to Martin Odermatt, who has not agreed"


def _sent(world: World, title: str) -> dict[str, str]:
    """Send a campaign, wait for its end and return what was decided about each party."""
    campaign = {
        "displayName": title,
        "topic": world.known["topic"],
        "template": world.known["template"],
        "segments": [world.known["segment"]],
        "senderName": "Maschinenbau",
        "senderEmail": "news@maschinenbau.example",
    }
    name = world.staff("POST", "campaigns", campaign)["name"]
    wait_for(lambda: not world.staff("GET", world.known["segment"]).get("evaluation"), "the segment")
    world.staff("POST", f"{name}:send", {})
    # The claim of a process that died in the middle of a mail ends by itself.
    wait_for(lambda: world.staff("GET", name)["state"] == "STATE_SENT", f"the end of {name}", seconds=300)
    found = world.staff("GET", "campaignRecipients", filter=f'campaign = "{name}"')["campaignRecipients"]
    return {each["party"]: each["decision"] for each in found}


def customer_complains(world: World) -> Told:
    """The customer complains. The deadline lies behind a weekend, and the next campaign leaves the customer out."""
    staff, party = world.staff, party_is_known(world)
    slots = [{"day": day, "start": {"hours": 8}, "end": {"hours": 17}} for day in DAYS]
    desk = {"displayName": "Service desk", "timeZone": "Europe/Zurich", "slots": slots, "default": True}
    staff("POST", "workingCalendars", desk)
    # More than a week has of hours: there is a weekend in it whenever this is played.
    target = {"firstResponse": f"{4 * HOUR}s", "resolution": f"{46 * HOUR}s"}
    staff("POST", "slaPolicies", {"displayName": "Standard", "targets": [target]})
    ticket = {
        "subject": "The gripper drops parts",
        "description": "Every tenth one falls down before the box.",
        "type": "TYPE_COMPLAINT",
        "channel": "CHANNEL_EMAIL",
        "requester": world.known["contact"],
        "account": world.known["account"],
    }
    name = world.known["ticket"] = staff("POST", "tickets", ticket)["name"]
    explained = staff("GET", f"{name}:explainDeadline", metric="METRIC_RESOLUTION")
    assert any(_lasts(each) > dt.timedelta(days=2) for each in explained["intervals"] if not each.get("counted"))
    yield f"{ticket['subject']}: to be solved by {explained['clock']['dueTime']}, a weekend does not count"
    wait_for(lambda: staff("GET", party).get("openComplaints") == 1, "the complaint, in marketing")
    assert _sent(world, "Offer of the month")[party] == "DECISION_OPEN_COMPLAINT"
    assert len(world.mails.to(world.address)) == 1
    yield "The next campaign leaves the customer out: there is an open complaint"


def _lasts(interval: dict[str, str]) -> dt.timedelta:
    begin, end = (dt.datetime.fromisoformat(interval[name]) for name in ("startTime", "endTime"))
    return end - begin


def ticket_is_solved(world: World) -> Told:
    """The ticket is answered and solved in time."""
    staff, ticket = world.staff, world.known["ticket"]
    answer = {"ticket": ticket, "visibility": "VISIBILITY_PUBLIC", "direction": "DIRECTION_FROM_AGENT"}
    staff("POST", "ticketEntries", {**answer, "body": "An engineer is with you tomorrow morning."})
    note = {**answer, "visibility": "VISIBILITY_INTERNAL", "body": "The valve again; tell the works."}
    staff("POST", "ticketEntries", note)
    solved = staff("POST", f"{ticket}:solve", {"solution": "Replaced the valve of the gripper."})
    assert {clock["state"] for clock in solved["clocks"]} == {"STATE_MET"}, solved["clocks"]
    yield "Answered and solved: both clocks are met"
    wait_for(lambda: not staff("GET", party_is_known(world)).get("openComplaints"), "the end of the complaint")
    yield "Marketing may write to the customer again"


def timeline(world: World) -> list[Any]:
    """Return the entries of the account's timeline, the oldest first."""
    found: list[Any] = []
    page: Any = {"nextPageToken": ""}
    while "nextPageToken" in page:
        path, token = f"{world.known['account']}/timeline", page["nextPageToken"]
        page = world.staff("GET", path, pageSize=100, **({"pageToken": token} if token else {}))
        found += page.get("entries", [])
    return found[::-1]
