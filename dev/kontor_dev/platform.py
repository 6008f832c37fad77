"""Which services there are, which processes each has, and the environment that they run in."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from kontor_dev.data import DataFolder
from kontor_dev.ports import free_ports
from kontor_dev.postgres import MAX_CONNECTIONS

RECEIVE = "receive"
"""The role that takes other services' events from the broker."""
# Left for migrations, `kontor dev psql` and the superuser.
SPARE_CONNECTIONS = 40
LARGEST_POOL = 16
TOKEN_SECONDS = 12 * 3600
DRAIN_SECONDS = 4
# How long a replica that is to stop goes on serving while its health says NOT_SERVING: Envoy asks every two seconds,
# and believes the second answer. Where there is no other replica, this would only take time.
DRAIN_DELAY_SECONDS = 4.5
TUNABLE = (
    "KONTOR_AMQP_CA_FILE",
    "KONTOR_AMQP_CERTIFICATE_FILE",
    "KONTOR_AMQP_KEY_FILE",
    "KONTOR_DATABASE_POOL_SIZE",
    "KONTOR_DEFAULT_DEADLINE_SECONDS",
    "KONTOR_IDENTITY_TENANT_GRACE_MINUTES",
    "KONTOR_LOG_FORMAT",
    "KONTOR_LOG_LEVEL",
    "KONTOR_MARKETING_SMTP_URL",
    "KONTOR_MAX_REQUEST_BYTES",
    "KONTOR_THREADS",
    "KONTOR_TICKETING_MAX_ATTACHMENT_BYTES",
)


@dataclass(frozen=True)
class Service:
    """A service, started as `python -m kontor_<name> <role>` or by another program."""

    name: str
    roles: tuple[str, ...] = ("serve", "work")
    http: bool = False
    """Whether `serve` listens for plain HTTP too."""
    secrets: tuple[str, ...] = ()
    """Variables of its environment that want a secret of their own."""
    settings: tuple[tuple[str, str], ...] = ()
    """Further variables of its environment."""
    folders: tuple[tuple[str, str], ...] = ()
    """Variables of its environment that name a folder below the data, with what it is called; as a URL."""
    follows: bool = False
    """Whether it follows other services, for which it needs credentials."""
    program: tuple[str, ...] = ()
    """What runs its package, where that is not the Python here: a container, say."""

    def command(self, *arguments: str) -> tuple[str, ...]:
        """Returns the command that runs its package; -P keeps the working directory out of the import path."""
        return (*(self.program or (sys.executable, "-P", "-m", f"kontor_{self.name}")), *arguments)


SERVICES = (
    Service(
        "identity",
        http=True,
        secrets=("KONTOR_IDENTITY_KEY_ENCRYPTION_KEY",),
        # Envoy stands in front; and whoever can read the data folder may have any token.
        settings=(("KONTOR_TRUSTED_PROXIES", "1"), ("KONTOR_DEV", "1")),
    ),
    Service("contacts", follows=True),
    Service("sales", follows=True),
    Service("ticketing", follows=True, folders=(("KONTOR_TICKETING_STORAGE_URL", "attachments"),)),
    Service("marketing", follows=True),
    Service("partners", follows=True),
)


@dataclass(frozen=True)
class Process:
    """A process of a service and the ports it listens on."""

    name: str
    service: Service
    role: str
    port: int
    metrics_port: int
    http_port: int

    @property
    def address(self) -> str:
        """Where it answers: gRPC, or HTTP where no gRPC runs in it."""
        return f"127.0.0.1:{self.metrics_port if self.role == RECEIVE else self.port}"


@dataclass(frozen=True)
class Plan:
    """What runs on one instance, and on which ports."""

    processes: tuple[Process, ...]
    database_port: int
    admin_port: int
    """Where Envoy tells about itself."""
    broker_port: int
    distribution_port: int
    """Of the broker too: where its own tools would reach it."""

    def serving(self, service: str) -> list[Process]:
        """Returns the replicas that answer a service's calls."""
        return [process for process in self.processes if process.service.name == service and process.role == "serve"]

    def settings(self, process: Process, issuer: str) -> dict[str, str]:
        """Returns the part of a process's environment that follows from the plan."""
        settings = {
            "KONTOR_LISTEN": f"127.0.0.1:{process.port}",
            "KONTOR_METRICS_LISTEN": f"127.0.0.1:{process.metrics_port}",
            "KONTOR_DATABASE_POOL_SIZE": str(pool_size(len(self.processes))),
            "KONTOR_PEERS": self.peers(),
            # One machine starts all of them, and what else its owner does.
            "KONTOR_REFERENCE_SECONDS": "10",
        } | self.trust(issuer)
        if process.role == "serve" and len(self.serving(process.service.name)) > 1:
            settings["KONTOR_DRAIN_DELAY_SECONDS"] = str(DRAIN_DELAY_SECONDS)
        if process.service.http and process.role == "serve":
            settings["KONTOR_HTTP_LISTEN"] = f"127.0.0.1:{process.http_port}"
        return settings

    def peers(self) -> str:
        """Returns where each service that serves answers, all of its replicas, in the form of KONTOR_PEERS."""
        names = dict.fromkeys(process.service.name for process in self.processes if process.role == "serve")
        return ";".join(f"{name}=ipv4:{','.join(p.address for p in self.serving(name))}" for name in names)

    def trust(self, issuer: str) -> dict[str, str]:
        """Returns the settings by which a process knows whose tokens to believe."""
        keys = [f"http://127.0.0.1:{process.http_port}/.well-known/jwks.json" for process in self.serving("identity")]
        return {"KONTOR_ISSUER": issuer} | ({"KONTOR_JWKS_URL": keys[0]} if keys else {})


def plan(services: tuple[Service, ...], replicas: int, transport: str = "stream") -> Plan:
    """Says which processes are to run, and finds them free ports."""
    wanted = [
        (f"{service.name}-{role}-{number}", service, role)
        for service in services
        for role in (*service.roles, *([RECEIVE] if service.follows and transport == "amqp" else []))
        for number in range(1, (replicas if role == "serve" else 1) + 1)
    ]
    ports = iter(free_ports(3 * len(wanted) + 4))
    processes = tuple(Process(*entry, next(ports), next(ports), next(ports)) for entry in wanted)
    return Plan(processes, *ports)


def named(name: str) -> Service:
    """Returns the service of a name."""
    return next(service for service in SERVICES if service.name == name)


def chosen(names: str) -> tuple[Service, ...]:
    """Returns the services of a list like `contacts,sales`, in order; identity always, without which no call is let in.

    Raises KeyError with the first name that is none.
    """
    wanted = {name.strip() for name in names.split(",")} | {"identity"}
    if unknown := sorted(wanted - {service.name for service in SERVICES}):
        raise KeyError(unknown[0])
    return tuple(service for service in SERVICES if service.name in wanted)


def pool_size(processes: int) -> int:
    """Returns how many connections each process may hold, so that all together stay below the server's limit."""
    return max(2, min(LARGEST_POOL, (MAX_CONNECTIONS - SPARE_CONNECTIONS) // max(1, processes)))


def database_url(data: DataFolder, port: int, service: str, role: str) -> str:
    """Returns the libpq URL of a service's database for one of its roles: owner, app or system."""
    password = data.secret(f"{service}_{role}")
    return f"postgresql://{service}_{role}:{password}@127.0.0.1:{port}/{service}"


def client_secret(data: DataFolder, service: str) -> str:
    """Returns the secret with which a service gets its tokens, in the form that identity takes."""
    return f"kontor_secret_{data.secret(f'{service}_client')}"


def environment(
    data: DataFolder, service: Service, *, database_port: int, settings: Mapping[str, str]
) -> dict[str, str]:
    """Returns the environment of a service's process: ours, with what this mode sets.

    Of our own KONTOR_ variables only those in TUNABLE pass through: a leftover KONTOR_TLS_KEY_FILE, say, would not fit.
    """
    name = service.name
    prefix = f"KONTOR_{name.upper()}"
    fixed = {
        f"{prefix}_DATABASE_URL": database_url(data, database_port, name, "app"),
        f"{prefix}_OWNER_DATABASE_URL": database_url(data, database_port, name, "owner"),
        f"{prefix}_SYSTEM_DATABASE_URL": database_url(data, database_port, name, "system"),
        f"{prefix}_APP_ROLE": f"{name}_app",
        f"{prefix}_SYSTEM_ROLE": f"{name}_system",
        "KONTOR_AUDIENCE": "kontor",
        "KONTOR_PAGE_TOKEN_KEY": data.secret("page_token_key"),
        "KONTOR_DRAIN_SECONDS": str(DRAIN_SECONDS),
        "KONTOR_LOG_FORMAT": "text",
        "PYTHONUNBUFFERED": "1",
        **{variable: data.secret(variable.lower()) for variable in service.secrets},
        **dict(service.settings),
        **{variable: (data.path / name).as_uri() for variable, name in service.folders},
    }
    if service.follows:
        fixed["KONTOR_CLIENT_ID"] = data.state().get("clients", {}).get(name, "")
        fixed["KONTOR_CLIENT_SECRET"] = client_secret(data, name)
    ours = {name: value for name, value in os.environ.items() if not name.startswith("KONTOR_")}
    tuned = {name: os.environ[name] for name in TUNABLE if name in os.environ}
    return ours | fixed | dict(settings) | tuned
