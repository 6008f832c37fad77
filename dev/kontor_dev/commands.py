"""The commands of `kontor dev`.

Imports that cost time stand inside of the commands, so that `kontor dev url` answers at once.
"""

from __future__ import annotations

import argparse
import os
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any

from kontor_dev.data import DataFolder
from kontor_dev.errors import Refused, WrongUsage

DESCRIPTION = """Runs the whole platform on this machine: PostgreSQL, every service, Envoy, a demo tenant.

  kontor dev up                     start; Ctrl-C stops everything
  kontor dev status                 what runs, and how it is
  TOKEN=$(kontor dev token)         a token for the demo tenant
  curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8080/v1/accounts

Everything an instance knows lies in its data folder (--data, .kontor by default): cluster, logs, secrets. Deleting
the folder forgets it. Instances with different --data and --port run side by side."""


def add_group(groups: Any) -> None:
    """Adds `kontor dev` to the command line."""
    group = groups.add_parser(
        "dev",
        help="run Kontor on this machine",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_up(verbs)
    status = _add(verbs, "status", _status, "tell what runs and how it is")
    status.add_argument("--json", action="store_true", help="an array of {name, service, role, pid, address, health}")
    restart = _add(verbs, "restart", _restart, "replace the processes of a service one by one")
    restart.add_argument("service", metavar="SERVICE", help="for example contacts; also postgres, rabbitmq or envoy")
    token = _add(verbs, "token", _token, "print a bearer token that is good for 12 hours")
    token.add_argument("--tenant", default="demo", metavar="SLUG", help="the tenant (default: demo)")
    token.add_argument("--role", default="admin", metavar="ROLE", help="the role (default: admin, which may do all)")
    token.add_argument("--user", metavar="NAME", help="the user; without it one that has the role")
    story = _add(verbs, "story", _story, "play the story that goes through all services, on a platform of its own")
    story.add_argument(
        "--transport", choices=("stream", "amqp"), default="stream", help="as for `up` (default: stream)"
    )
    psql = _add(verbs, "psql", _psql, "open the database of a service")
    psql.add_argument("service", metavar="SERVICE", help="for example contacts")
    psql.add_argument("--as", dest="role", default="owner", choices=("owner", "app", "system"), help="default: owner")
    psql.epilog = "What stands behind -- goes to psql: kontor dev psql contacts -- -c 'SELECT 1'"
    url = _add(verbs, "url", _url, "print the address of a service")
    url.add_argument(
        "service", metavar="SERVICE", help="for example contacts (gRPC, host:port); gateway (http), rabbitmq (amqp)"
    )


def _add(verbs: Any, name: str, run: Any, sentence: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=sentence, description=sentence.capitalize() + ".")
    parser.add_argument(
        "--data", type=Path, default=Path(".kontor"), metavar="DIR", help="data folder (default: .kontor)"
    )
    parser.set_defaults(run=run)
    return parser


def _add_up(verbs: Any) -> None:
    up = _add(verbs, "up", _up, "start the platform and keep it running until Ctrl-C or SIGTERM")
    up.add_argument(
        "--port", type=int, default=8080, help="where the gateway listens (default: 8080; 0: any free port)"
    )
    up.add_argument(
        "--services",
        metavar="LIST",
        help="only these and identity, for example contacts,sales; wants --no-demo (default: all services)",
    )
    up.add_argument("--replicas", type=int, default=1, metavar="N", help="serving processes per service (default: 1)")
    up.add_argument(
        "--demo",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="fill the tenant `demo`, or leave it empty (default: fill it)",
    )
    up.add_argument(
        "--transport",
        choices=("stream", "amqp"),
        default="stream",
        help="how services follow each other's changes: directly, or over RabbitMQ (default: stream)",
    )
    up.add_argument(
        "--amqp-url", default="", metavar="URL", help="the broker, for --transport amqp (default: one of its own)"
    )


def _up(arguments: Namespace) -> int:
    from kontor_dev import up
    from kontor_dev.platform import SERVICES, chosen

    run = up.up
    try:
        services = SERVICES if arguments.services is None else chosen(arguments.services)
    except KeyError as error:
        known = ", ".join(service.name for service in SERVICES)
        raise WrongUsage(f"--services: there is no service {error}; there are {known}.") from None
    if services != SERVICES:
        run = partial(up.up, services=services)
        if arguments.demo:
            raise WrongUsage("--services leaves out what the demo data needs: add --no-demo.")
    if arguments.amqp_url and arguments.transport != "amqp":
        raise WrongUsage("--amqp-url is for --transport amqp.")
    if arguments.amqp_url and not arguments.amqp_url.startswith(("amqp://", "amqps://")):
        raise WrongUsage("--amqp-url must begin with amqp:// or amqps://.")
    if arguments.replicas < 1:
        raise WrongUsage("--replicas must be 1 or more.")
    given = ("data", "port", "replicas", "demo", "transport", "amqp_url")
    return run(up.Options(**{name: getattr(arguments, name) for name in given}))


def _status(arguments: Namespace) -> int:
    from kontor_dev import status

    found = status.rows(DataFolder(arguments.data))
    if arguments.json:
        status.print_json(found)
    else:
        status.print_table(found)
    return 0


def _restart(arguments: Namespace) -> int:
    from kontor_dev.control import ask

    data = DataFolder(arguments.data)
    for answer in ask(data.running()["control"], {"do": "restart", "service": arguments.service}):
        print(answer["text"], flush=True)
    return 0


def _token(arguments: Namespace) -> int:
    from kontor_dev import tokens

    data = DataFolder(arguments.data)
    print(tokens.token(data, tenant=arguments.tenant, role=arguments.role, user=arguments.user))
    return 0


def _story(arguments: Namespace) -> int:
    from kontor_dev.story import play

    return play.play(arguments.transport)


def _psql(arguments: Namespace) -> int:
    from kontor_dev.postgres import installed_programs

    data = DataFolder(arguments.data)
    state = data.running()
    _known(state, arguments.service)
    user = f"{arguments.service}_{arguments.role}"
    place = {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(state["database_port"]),
        "PGDATABASE": arguments.service,
        "PGUSER": user,
        # By environment and not by argument, which everybody on the machine could read.
        "PGPASSWORD": data.secret(user),
    }
    program = str(installed_programs() / "psql")
    os.execve(program, [program, *arguments.rest], dict(os.environ) | place)


def _url(arguments: Namespace) -> int:
    data = DataFolder(arguments.data)
    state = data.running()
    if arguments.service in ("gateway", "envoy"):
        print(state["url"])
    elif arguments.service == "postgres":
        print(f"127.0.0.1:{state['database_port']}")
    elif arguments.service == "rabbitmq" and "broker_port" in state:
        from kontor_dev import rabbitmq

        print(rabbitmq.url(data, state["broker_port"]))
    else:
        print(_known(state, arguments.service))
    return 0


def _known(state: dict[str, Any], service: str) -> str:
    """Returns the address of a service's first replica."""
    addresses: dict[str, str] = state["addresses"]
    if f"{service}-serve-1" not in addresses:
        names = [name.removesuffix("-serve-1") for name in addresses if name.endswith("-serve-1")]
        raise Refused(f"No service `{service}` runs here; there are {', '.join(names)}.")
    return addresses[f"{service}-serve-1"]
