"""The story: its steps, in their order."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from kontor_dev.errors import Refused
from kontor_dev.story import caring, selling
from kontor_dev.story.calling import wait_for
from kontor_dev.story.world import World

PROGRAM: Final = Path(__file__).parents[3] / "docs" / "history.py"
"""The program of another department."""
_SECONDS: Final = 300


class Step(NamedTuple):
    """One step. `play` tells what happens, line by line, and raises AssertionError where it is not what should."""

    name: str
    title: str
    play: Callable[[World], Iterator[str]]


def histories_agree(world: World) -> Iterator[str]:
    """A program of another department has followed all services, and knows what the timeline of the account shows."""
    grants = [{"permission": f"{service}.*", "scope": "SCOPE_ALL"} for service in SERVICES]
    role = world.staff("POST", "roles", {"displayName": "Data warehouse", "grants": grants})["name"]
    client_id, secret = world.program("Data warehouse", [role])
    differences: list[set[str]] = []

    def agreed() -> list[str] | None:
        # Contacts and the program hear of things each in their own time.
        told = _printed(world, client_id, secret)
        shown = {
            " ".join((each["eventTime"], each["type"], each.get("title", ""))).rstrip()
            for each in caring.timeline(world)
        }
        differences[:] = [shown - {*told}, {*told} - shown]
        return told if not any(differences) else None

    try:
        told = wait_for(agreed, "the same history")
    except TimeoutError as error:
        raise AssertionError(f"only on the timeline, and only told: {differences}") from error
    for kind in ("lead.converted", "deal_registration.approved", "opportunity.won", "order.delivered", "ticket.solved"):
        assert any(f".v1.{kind}" in line for line in told), f"{kind} is missing in {told}"
    yield from told


def _printed(world: World, client_id: str, secret: str) -> list[str]:
    """Run the program and return the lines that it prints."""
    file = Path(world.known["history"])
    environment = {**os.environ, "CLIENT_ID": client_id, "CLIENT_SECRET": secret}
    done = subprocess.run(
        [sys.executable, str(PROGRAM), world.url, str(file), world.known["account"]],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
        env=environment,
    )
    if done.returncode:
        raise Refused(f"The program of the other department failed: {done.stderr[-2000:]}")
    return [line.rstrip() for line in done.stdout.splitlines()]


SERVICES: Final = ("contacts", "sales", "ticketing", "marketing", "partners")
STEPS: Final = tuple(
    Step(play.__name__, (play.__doc__ or "").strip().rstrip("."), play)
    for play in (
        selling.lead_arrives,
        selling.lead_is_converted,
        selling.partners_register,
        selling.deal_moves,
        selling.quote_is_accepted,
        caring.customer_is_welcomed,
        caring.customer_complains,
        caring.ticket_is_solved,
        histories_agree,
    )
)
