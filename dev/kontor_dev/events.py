"""The commands of `kontor events`: what a service on this machine got from others and could not handle."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from kontor_dev.data import DataFolder
from kontor_dev.errors import Refused

DESCRIPTION = """Events that a service got from others: what waits, what is dead, and what to do about it.

  kontor events contacts list --dead        what was given up, with the error
  kontor events contacts show ID            everything that is known of an event, as JSON lines
  kontor events contacts replay ID          handle it anew; --all-dead for all of them
  kontor events contacts discard ID         put it aside for good"""


def add_group(groups: Any) -> None:
    """Adds `kontor events` to the command line."""
    group = groups.add_parser(
        "events",
        help="list, replay or discard events that a service could not handle",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    group.add_argument(
        "--data", type=Path, default=Path(".kontor"), metavar="DIR", help="data folder (default: .kontor)"
    )
    group.add_argument("service", metavar="SERVICE", help="for example contacts")
    group.add_argument("words", metavar="COMMAND ...", nargs=argparse.REMAINDER, help="list, show, replay or discard")
    group.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from kontor_dev.platform import SERVICES, environment

    data = DataFolder(arguments.data)
    state = data.running()
    services = {service.name: service for service in SERVICES if service.follows}
    if arguments.service not in services:
        raise Refused(f"`{arguments.service}` handles no events; {', '.join(services)} does.")
    service = services[arguments.service]
    env = environment(data, service, database_port=state["database_port"], settings=state["trust"])
    program, *words = service.command("events", *arguments.words)
    os.execve(program, [program, *words], env)
