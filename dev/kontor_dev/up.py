"""Starts the platform in order, keeps it running, and stops it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from kontor_dev import databases, envoy, homes, leftovers, postgres, probes, rabbitmq, tokens, tools
from kontor_dev.control import ControlServer
from kontor_dev.data import DataFolder
from kontor_dev.errors import Refused, Stopped
from kontor_dev.platform import RECEIVE, SERVICES, Plan, Process, Service, client_secret, environment, plan
from kontor_dev.ports import free_ports, is_free
from kontor_dev.progress import Display, display
from kontor_dev.signals import Signals
from kontor_dev.supervisor import Child, Spec, Supervisor

STORE_STAGE, SERVICE_STAGE = 1, 2
TENANT = "demo"
ADMIN = "admin@demo.example"
# What is only true while an instance runs.
PASSING = ("supervisor", "url", "control", "database_port", "broker_port", "addresses", "trust")

GatewaySpec = Callable[[DataFolder, Plan, int, str], Spec]


class Options(NamedTuple):
    """What `kontor dev up` was asked for."""

    data: Path
    port: int
    """Where the gateway listens; 0 for any free port."""
    replicas: int
    demo: bool
    transport: str = "stream"
    """How services follow each other: stream or amqp."""
    amqp_url: str = ""
    """The broker, for amqp; one of our own where it is empty."""


def up(options: Options, services: tuple[Service, ...] = SERVICES, gateway: GatewaySpec = envoy.spec) -> int:
    """Runs the platform until it is asked to stop; returns the exit code."""
    if options.transport == "amqp" and not options.amqp_url:
        rabbitmq.require()
    data = DataFolder(options.data)
    data.create()
    show = display()
    try:
        with data.lock():
            Start(data, options, services, gateway, show).run()
    except Stopped:
        pass
    finally:
        show.close()
    return 0


def fingerprint(*packages: str) -> str:
    """Returns a text that changes with the files of packages: with their names, sizes or times."""
    digest = hashlib.sha256()
    for spec in map(find_spec, packages):
        for folder in (spec.submodule_search_locations if spec else None) or ():
            for path in sorted(Path(folder).rglob("*.py")):
                facts = path.stat()
                digest.update(f"{path} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()


class Start:
    """One run of the platform on one data folder."""

    def __init__(
        self,
        data: DataFolder,
        options: Options,
        services: tuple[Service, ...],
        gateway: GatewaySpec,
        show: Display,
    ) -> None:
        self._data = data
        self._options = options
        self._services = services
        self._gateway = gateway
        self._show = show
        self._supervisor = Supervisor(data, show.line)
        self._port = options.port or free_ports(1)[0]
        self._url = f"http://127.0.0.1:{self._port}"
        self._plan = plan(services, options.replicas, options.transport)
        self._broker: list[Child] = []

    def run(self) -> None:
        """Starts, waits for a signal, stops; stops too where the start fails."""
        if names := leftovers.end(self._data):
            self._show.line(f"Ended what a killed run had left: {', '.join(names)}.")
        if not is_free(self._port):
            raise Refused(f"Port {self._port} is taken; choose another with --port.")
        self._data.keep_last_logs()
        self._record()
        with ExitStack() as stack:
            stack.callback(self._data.remember, **dict.fromkeys(PASSING))
            stack.enter_context(Signals(self._asked_to_stop))
            stack.callback(self._stop)
            control = ControlServer(Path(self._data.state()["control"]), self._supervisor)
            stack.callback(control.close)
            self._start()
            self._show.ready(self._url, self._hints())
            self._supervisor.stopping.wait()

    def _asked_to_stop(self) -> None:
        if self._supervisor.stopping.is_set():
            self._supervisor.hurry.set()
        self._supervisor.stopping.set()

    def _stop(self) -> None:
        with self._show.step("Stopping"):
            self._supervisor.stop()

    def _record(self) -> None:
        self._data.remember(
            supervisor=os.getpid(),
            url=self._url,
            control=str(self._data.control_path()),
            database_port=self._plan.database_port,
            addresses={process.name: process.address for process in self._plan.processes},
            trust=self._plan.trust(self._url),
            broker_port=self._plan.broker_port if self._has_broker else None,
        )

    @property
    def _has_broker(self) -> bool:
        """Whether the broker is ours."""
        return self._options.transport == "amqp" and not self._options.amqp_url

    def _start(self) -> None:
        with ThreadPoolExecutor(1) as pool:
            gateway = pool.submit(self._gateway, self._data, self._plan, self._port, self._url)
            self._start_below()
        with self._show.step("Gateway"):
            self._supervisor.await_ready(self._supervisor.start([gateway.result()]))
        if self._options.demo and not self._data.state().get("demo"):
            self._fill()

    def _start_below(self) -> None:
        """Starts everything that stands behind the gateway."""
        homes.sweep()
        if self._has_broker:
            # It takes its time, and nobody needs it before the services start.
            self._broker = self._supervisor.start([rabbitmq.spec(self._data, self._plan, STORE_STAGE)])
        with self._show.step("PostgreSQL"):
            self._start_postgres()
        with ThreadPoolExecutor(len(self._services)) as pool:
            list(pool.map(self._migrate, self._services))
        for service in self._services:
            if service.name == "identity":
                self._bootstrap(service)
        if self._broker:
            with self._show.step("RabbitMQ"):
                self._supervisor.await_ready(self._broker)
        self._start_services()

    def _start_postgres(self) -> None:
        cluster = postgres.prepare(self._data)
        if cluster.moved:
            self._show.line(
                f"The user `{cluster.user.name if cluster.user else ''}`, as whom PostgreSQL runs, cannot enter"
            )
            self._show.line(f"{self._data.path}; its cluster lies in {cluster.folder}.")
        port = self._plan.database_port
        server = Spec(
            name="postgres",
            service="postgres",
            role="database",
            argv=cluster.command(port),
            address=f"127.0.0.1:{port}",
            probe=partial(databases.health, self._data, port),
            stage=STORE_STAGE,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            user=cluster.user,
            # A fast shutdown: open transactions are rolled back, their clients told.
            stop_signal=signal.SIGINT,
            orphan_signal=signal.SIGINT,
            stop_seconds=6.0,
        )
        self._supervisor.await_ready(self._supervisor.start([server]))
        databases.provide(self._data, port, [service.name for service in self._services])

    def _environment(self, service: Service) -> dict[str, str]:
        settings = self._plan.trust(self._url)
        return environment(self._data, service, database_port=self._plan.database_port, settings=settings)

    def _migrate(self, service: Service) -> None:
        """Migrates a service's database, unless the same code did so already: starting Python takes a second."""
        code, done = fingerprint(f"kontor_{service.name}", "kontor_kit"), self._data.state().get("migrated", {})
        if done.get(service.name) == code:
            return
        with self._show.step(f"Migrations of {service.name}"):
            env = self._environment(service)
            tools.run(self._data, service, "migrate", env=env, stopping=self._supervisor.stopping)
        self._data.remember_within("migrated", service.name, code)

    def _bootstrap(self, identity: Service) -> None:
        """Makes signing key, tenant, administrator and the accounts of services, once in the life of a data folder."""
        following = [service.name for service in self._services if service.follows]
        state = self._data.state()
        if "tenant" in state and set(following) <= set(state.get("clients", {})):
            return
        with self._show.step("First tenant"), TemporaryDirectory() as folder:
            password_file = self._data.path / "admin-password"
            password_file.touch(0o600)
            password_file.write_text(self._data.secret("admin"))
            for name in following:
                Path(folder, name).write_text(client_secret(self._data, name))
            made = tools.run(
                self._data,
                identity,
                *("bootstrap", "--tenant", TENANT, "--display-name", "Demo", "--admin", ADMIN, "--json"),
                *("--password-file", str(password_file)),
                *(word for name in following for word in ("--register", f"{name}={Path(folder, name)}")),
                env=self._environment(identity),
                stopping=self._supervisor.stopping,
            )
            tenant = json.loads(made)
            self._data.remember(clients=tenant.pop("clients", {}), tenant=tenant)

    def _start_services(self) -> None:
        children = self._supervisor.start(self._spec(process) for process in self._plan.processes)
        with ExitStack() as stack:
            steps = {child.spec.name: stack.enter_context(ExitStack()) for child in children}
            for name, step in steps.items():
                step.enter_context(self._show.step(name))

            def ready(child: Child) -> None:
                steps[child.spec.name].close()

            self._supervisor.await_ready(children, ready)

    def _spec(self, process: Process) -> Spec:
        service = process.service
        settings = self._plan.settings(process, self._url) | self._transport()
        asked = partial(probes.grpc_health, process.port)
        if process.role == RECEIVE:
            asked = partial(probes.http_ready, f"http://{process.address}/healthz")
        return Spec(
            name=process.name,
            service=service.name,
            role=process.role,
            argv=service.command(process.role),
            address=process.address,
            probe=asked,
            stage=SERVICE_STAGE,
            is_in_use=partial(probes.is_in_rotation, self._plan.admin_port, process.port),
            env=environment(self._data, service, database_port=self._plan.database_port, settings=settings),
        )

    def _transport(self) -> dict[str, str]:
        """Returns the settings by which a process follows other services and is followed."""
        if self._options.transport == "stream":
            return {}
        url = self._options.amqp_url or rabbitmq.url(self._data, self._plan.broker_port)
        return {"KONTOR_TRANSPORT": self._options.transport, "KONTOR_AMQP_URL": url}

    def _fill(self) -> None:
        """Brings the demo data in, once in the life of a data folder."""
        from kontor_dev.demo.load import load

        with self._show.step("Demo data"):
            token = tokens.token(self._data, tenant=TENANT, role="admin", user=None)
            self._data.remember(demo=load(f"127.0.0.1:{self._port}", token, self._supervisor.stopping))

    def _hints(self) -> dict[str, str]:
        folder = f" --data {self._data.path}" if self._data.path != Path(".kontor").absolute() else ""
        return {
            "docs": f"{self._url}/docs",
            "sign in": f"{ADMIN}, tenant {TENANT}, password in {self._data.path / 'admin-password'}",
            "token": f"kontor dev token{folder}",
            "logs": str(self._data.logs),
        }
