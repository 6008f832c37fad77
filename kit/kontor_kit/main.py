"""The command line of a service: `python -m kontor_<name> serve | work | receive | migrate`."""

from __future__ import annotations

import argparse
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from prometheus_client import Gauge

from kontor_kit import logs, requests
from kontor_kit.changes import upkeep
from kontor_kit.changes.positions import ALL_TENANTS, seal
from kontor_kit.changes.sequencer import Sequencer
from kontor_kit.changes.waking import Waker
from kontor_kit.clients import OUTGOING
from kontor_kit.config import ConfigurationError, Settings
from kontor_kit.db import Database, SchemaCheck
from kontor_kit.health import Check
from kontor_kit.inbox import running
from kontor_kit.inbox import upkeep as inbox_upkeep
from kontor_kit.inbox.events import Handlers
from kontor_kit.metrics import Metrics, version_of
from kontor_kit.operations import runner as operations
from kontor_kit.operations import upkeep as operations_upkeep
from kontor_kit.server import Part, Server, stop_signal
from kontor_kit.service import Command, Job, Runtime, Service, all_servicers, call_path
from kontor_kit.tenants import upkeep as tenants
from kontor_kit.watching import watch_jobs

logger = logging.getLogger(__name__)

_EPILOG = """\
exit codes: 0 done, or stopped as asked; 1 failed; 2 wrong arguments or configuration

SIGTERM and SIGINT end serve, work and receive in good order: health says NOT_SERVING, running calls get
KONTOR_DRAIN_SECONDS, then the process exits with 0.
"""


def run(name: str, load_service: Callable[[], Service], argv: Sequence[str] | None = None) -> int:
    """Run the subcommand that `argv` (the command line) names for the service `name`; return the exit code."""
    service = load_service()
    kept = dict(upkeep.commands(service)) if service.metadata is not None else {}
    kept |= {**inbox_upkeep.commands(service), **operations_upkeep.commands(service), **tenants.commands(service)}
    commands = {**_standard(service), **kept, **service.commands}
    parser = _parser(name, service, commands)
    arguments = parser.parse_args(argv)
    command = commands[arguments.command]
    try:
        settings = service.settings.load(name, need=command.need)
        logs.configure(name, settings.log_level, settings.log_format)
        return command.run(settings, arguments)
    except ConfigurationError as error:
        sys.stderr.write(f"{parser.prog} {arguments.command}: {error}\n")
        return 2
    except Exception:
        logger.exception("%s failed", arguments.command)
        return 1


def _parser(name: str, service: Service, commands: Mapping[str, Command]) -> argparse.ArgumentParser:
    settings = service.settings.describe(name)
    lines = [
        f"  {variable}\n      {doc}{f'; default {default}' if default else ''}" for variable, default, doc in settings
    ]
    parser = argparse.ArgumentParser(
        prog=f"python -m {service.package}",
        description=f"The Kontor service {name}.",
        epilog="\n".join([_EPILOG, "environment (a secret X may also come from the file that X_FILE names):", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for word, command in commands.items():
        command.arguments(subparsers.add_parser(word, help=command.help, description=command.help))
    return parser


def _standard(service: Service) -> dict[str, Command]:
    keys = [] if service.keys else ["jwks_url|jwks_file"]
    receives = {
        "receive": Command(
            help="take events of other services from the broker, for the transport amqp; answers HTTP only",
            run=lambda settings, _: receive(service, settings),
            need=["amqp_url", "system_database_url"],
        )
    }
    return {
        "serve": Command(
            help="answer calls",
            run=lambda settings, _: serve(service, settings),
            need=["listen", "database_url", "page_token_key", *keys],
        ),
        "work": Command(
            help="run the jobs of the service; answers nothing but health",
            run=lambda settings, _: work(service, settings),
            need=[*("listen", "database_url", "system_database_url"), *_needed(service)],
        ),
        **(receives if service.handlers is not None else {}),
        "migrate": Command(
            help="bring the database to the state that this version needs",
            run=lambda settings, _: migrate(service, settings),
            need=["owner_database_url"],
        ),
    }


def _needed(service: Service) -> Sequence[str]:
    """The settings that work needs more where there is something to handle or to operate."""
    needed = (*(running.NEEDED if service.handlers else ()), *(operations.NEEDED if service.operations else ()))
    return tuple(dict.fromkeys(needed))


def serve(service: Service, settings: Settings) -> int:
    """Answer calls until a signal."""
    runtime = _runtime(settings)
    if settings.system_database_url:
        runtime = _with_system(runtime)
    Server(
        settings,
        call_path(service, runtime),
        all_servicers(service, runtime),
        checks={"database": runtime.database.is_reachable, **_schema_check(service, runtime.database)},
        parts=[*_tracing(settings, "serve"), runtime.waker, *service.parts(runtime)],
        drainers=[runtime.waker.release],
        closers=[database.close for database in (runtime.database, runtime.system) if database is not None],
    ).run()
    return 0


def work(service: Service, settings: Settings) -> int:
    """Run the jobs until a signal, or until one of them fails."""
    runtime = _with_system(_runtime(settings))
    system = runtime.system
    assert system is not None, "it was given just now"
    given = service.use(runtime)
    entries = [
        *_housekeeping(service, runtime, system),
        *running.jobs(service, runtime, given),
        *operations.jobs(service, runtime, given),
        *service.jobs(runtime, given),
        *(each.periodic(runtime.database, given).job(system) for each in service.due),
    ]
    if service.metadata is not None and "leases" in service.metadata.tables:
        names = [name for name, _ in entries]
        entries.append(watch_jobs(runtime.metrics.registry, system, names, service.due))
    wanted = stop_signal()
    jobs = Jobs(entries, on_failure=wanted.set, patience=settings.drain)
    server = Server(
        settings,
        call_path(service, runtime),
        [],
        checks={"database": system.is_reachable, **_schema_check(service, system), "jobs": jobs.are_running},
        parts=[*_tracing(settings, "work"), *([runtime.waker] if settings.transport == "amqp" else []), jobs],
        closers=[runtime.database.close, system.close],
    )
    server.start()
    wanted.wait()
    server.stop()
    return 1 if jobs.failed else 0


def _housekeeping(service: Service, runtime: Runtime, system: Database) -> list[tuple[str, Job]]:
    """The jobs that every service has which keeps the kit's tables."""
    if service.metadata is None:
        return []
    lag = Gauge(
        "kontor_change_log_lag_seconds", "Age of the oldest change not in the log.", registry=runtime.metrics.registry
    )
    jobs = [
        ("purge-requests", lambda stopping: requests.purge(system, stopping)),
        ("sequence-changes", Sequencer(service.metadata, system, lag).run),
    ]
    return [*jobs, _relay(service, runtime, system)] if runtime.settings.transport == "amqp" else jobs


def _relay(service: Service, runtime: Runtime, system: Database) -> tuple[str, Job]:
    """The job that tells the broker of the changes. Raises ConfigurationError."""
    # Nothing of the broker is imported where there is none.
    from kontor_kit.amqp.broker import connection  # noqa: PLC0415
    from kontor_kit.amqp.relay import Relay  # noqa: PLC0415

    settings = runtime.settings
    missing = [name for name in ("amqp_url", "page_token_key") if not getattr(settings, name)]
    if missing:
        raise ConfigurationError([f"KONTOR_{name.upper()}: needed with KONTOR_TRANSPORT=amqp" for name in missing])
    lag = Gauge("kontor_relay_lag_seconds", "Age of the oldest change not relayed.", registry=runtime.metrics.registry)
    tokens, domain = runtime.page_tokens(), f"{service.name}.kontor"
    relay = Relay(
        service.metadata,
        system,
        service=service.name,
        connect=lambda: connection(settings),
        seal=lambda position: seal(tokens, domain, ALL_TENANTS, position),
        waker=runtime.waker,
        lag=lag,
    )
    return "relay-changes", relay.run


def receive(service: Service, settings: Settings) -> int:
    """Become the process that takes events from the broker; there is nothing of gRPC in it."""
    from kontor_kit.amqp.starting import become_receiver  # noqa: PLC0415  # as with the relay

    return become_receiver(settings.service, service.handlers or Handlers())


def migrate(service: Service, settings: Settings) -> int:
    """Bring the database up to date."""
    # Alembic takes long to import, and only this needs it.
    from kontor_kit.migrations import migrate as bring_up_to_date  # noqa: PLC0415

    bring_up_to_date(settings, service)
    return 0


def _runtime(settings: Settings) -> Runtime:
    database = _database(settings, settings.database_url)
    metrics = Metrics(f"kontor-{settings.service}")
    metrics.registry.register(OUTGOING)
    metrics.watch_pool("app", database.state)
    return Runtime(settings=settings, database=database, metrics=metrics, waker=Waker(settings.database_url))


def _with_system(runtime: Runtime) -> Runtime:
    system = _database(runtime.settings, runtime.settings.system_database_url)
    runtime.metrics.watch_pool("system", system.state)
    return replace(runtime, system=system)


def _tracing(settings: Settings, role: str) -> list[Part]:
    """What sends spans, where it was said whereto."""
    if not settings.otlp_endpoint:
        return []
    # It takes long to import, and memory.
    from kontor_kit.spans import SpanSender  # noqa: PLC0415

    version = version_of(f"kontor-{settings.service}")
    return [SpanSender(settings.otlp_endpoint, settings.service, role, version)]


def _schema_check(service: Service, database: Database) -> dict[str, Check]:
    return {} if service.metadata is None else {"schema": SchemaCheck(database, service.metadata)}


def _database(settings: Settings, url: str) -> Database:
    database = Database(url, pool_size=settings.database_pool_size, name=f"kontor-{settings.service}")
    database.open()
    return database


class Jobs:
    """The jobs of a service, a thread each. One that ends by itself, or fails, ends the process: it is started anew."""

    def __init__(self, jobs: Iterable[tuple[str, Job]], on_failure: Callable[[], None], patience: float) -> None:
        self.failed = False
        self._patience = patience
        self._on_failure = on_failure
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(name, job), name=name, daemon=True) for name, job in jobs
        ]

    def start(self) -> None:
        """Begin all."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask all to end, and wait until they have; not for longer than `patience` seconds."""
        self._stopping.set()
        until = time.monotonic() + self._patience
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0.0))

    def are_running(self) -> bool:
        """Tell whether none has ended."""
        return all(thread.is_alive() for thread in self._threads)

    def _run(self, name: str, job: Job) -> None:
        try:
            job(self._stopping)
        except Exception:
            logger.exception("job failed", extra={"job": name})
        if not self._stopping.is_set():
            self.failed = True
            self._on_failure()
