"""A RabbitMQ of one's own, from the installed one: for the length of a test, and for `kontor dev`.

It runs in the foreground as one process, listens on the loopback only, has no plugins, and leaves nothing running: the
daemon epmd, by which nodes of a cluster find each other, is not needed, as the node is told its port.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kontor_kit.testing.programs import Program, as_user, free_ports, ordinary_user

MISSING = "RabbitMQ is not installed (Debian: apt install rabbitmq-server; macOS: brew install rabbitmq)."
USER = "kontor"
HOST = "kontor"
"""The virtual host that is there from the start."""

# What lies on the path of Debian and Red Hat changes to the user `rabbitmq` first; this is what it calls then.
_PACKAGED = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
_NODE = "kontor@localhost"
_PATIENCE_SECONDS = 60

# One scheduler that sleeps when there is nothing to do, and no epmd: the port is known.
_ERLANG = "+S 1:1 +SDcpu 1:1 +SDio 2 -sname {node} -erl_epmd_port {port}"
_LOOPBACK = "-kernel inet_dist_use_interface {127,0,0,1}"
_CONFIGURATION = """[
  {{rabbit, [
    {{tcp_listeners, [{{"127.0.0.1", {port}}}]}},
    {{default_user, <<"{user}">>}},
    {{default_pass, <<"{password}">>}},
    {{default_vhost, <<"{host}">>}},
    {{loopback_users, []}},
    {{vm_memory_high_watermark, {{absolute, "256MiB"}}}}
  ]}},
  {{ra, [{{wal_max_size_bytes, 33554432}}]}}
].
"""


class RabbitMissing(Exception):
    """There is no RabbitMQ to run."""


def installed() -> Path:
    """Return the script that runs the server. Raises RabbitMissing."""
    script = _PACKAGED if _PACKAGED.exists() else shutil.which("rabbitmq-server", path=_path())
    if script is None or shutil.which("erl", path=_path()) is None:
        raise RabbitMissing(MISSING)
    return Path(script)


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", os.defpath), *_FOLDERS])


def _erl_call() -> str:
    """Return the program that speaks with Erlang; not all distributions lay it on the path."""
    erlang = Path(shutil.which("erl", path=_path()) or "/").resolve().parents[1]
    return str(next(erlang.glob("lib/erl_interface-*/bin/erl_call")))


def url_of(port: int, password: str, host: str = HOST) -> str:
    """Return where a virtual host of a broker on `port` is reached."""
    return f"amqp://{USER}:{password}@127.0.0.1:{port}/{host}"


@dataclass(frozen=True)
class Node:
    """A broker that can be run: where its data lies, where it listens, and its password, which is of letters."""

    folder: Path
    port: int
    distribution_port: int
    password: str

    @property
    def url(self) -> str:
        """Where it is reached, on its first virtual host."""
        return url_of(self.port, self.password)

    def command(self) -> tuple[str, ...]:
        """Return the command that runs it in the foreground; SIGTERM stops it in order. Raises RabbitMissing."""
        return (str(installed()),)

    def environment(self) -> dict[str, str]:
        """Return the environment of the command: nothing of the installed server's own configuration counts."""
        folder = str(self.folder)
        return {
            "PATH": _path(),
            "HOME": folder,
            # For the server, and for the program by which it would start epmd again once a minute. Nobody listens on
            # port 1, where it would tell an epmd that is there for others of itself.
            "ERL_FLAGS": "-start_epmd false",
            "ERL_EPMD_PORT": "1",
            "LC_ALL": "C.UTF-8",
            "RABBITMQ_NODENAME": _NODE,
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/none",
            "RABBITMQ_CONFIG_FILE": f"{folder}/none",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/advanced.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_LOG_BASE": f"{folder}/logs",
            "RABBITMQ_MAX_NUMBER_OF_PROCESSES": "65536",
            # The script becomes the server instead of waiting for it, so that signals reach it.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_START_ARGS": "-noinput",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": " ".join(
                [_ERLANG.format(node=_NODE, port=self.distribution_port), _LOOPBACK]
            ),
        }

    def furnish(self, user: int | None = None, group: int | None = None) -> None:
        """Make its folder, or give it its ports and password anew; `user` runs it, None for whoever we are."""
        configuration = _CONFIGURATION.format(port=self.port, user=USER, password=self.password, host=HOST)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        cookie = self.folder / ".erlang.cookie"
        files = {"advanced.config": configuration, "enabled_plugins": "[].\n"}
        if not cookie.exists():
            files[cookie.name] = secrets.token_hex(20)
        for name, text in files.items():
            # Never through a link that the user may have laid there.
            (self.folder / name).unlink(missing_ok=True)
            with os.fdopen(os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)
        if user is not None:
            for path in (self.folder, *(self.folder / name for name in files)):
                os.chown(path, user, user if group is None else group, follow_symlinks=False)

    def accepts(self) -> bool:
        """Tell whether it serves, which it does when it listens."""
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def evaluate(self, expression: str, user: int | None) -> None:
        """Run an Erlang expression in the server, as only who knows its cookie can. Raises RuntimeError."""
        ended = subprocess.run(
            [_erl_call(), "-address", f"127.0.0.1:{self.distribution_port}", "-e"],
            input=f"{expression}.\n",
            env=self.environment(),
            cwd="/",
            # Two streams: gRPC writes into the second one where it is loaded, after the fork and before the program.
            capture_output=True,
            text=True,
            check=False,
            **as_user(user),
        )
        if ended.stdout.strip() != "{ok, ok}":
            raise RuntimeError(f"{expression} failed: {ended.stdout}{ended.stderr}")


class Server:
    """A broker that tests may stop, kill and start again; what is durable outlives that."""

    def __init__(self, node: Node, user: int | None) -> None:
        self.node = node
        self._user = user
        self._program: Program | None = None

    def start(self) -> None:
        """Start it, and return when it serves (about four seconds). Raises RabbitMissing, RuntimeError."""
        node = self.node
        self._program = Program(
            node.command(), node.folder, end_signal=signal.SIGTERM, user=self._user, env=node.environment()
        )
        until = time.monotonic() + _PATIENCE_SECONDS
        while not node.accepts():
            if time.monotonic() > until or not self.is_alive():
                said = (node.folder / "log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"RabbitMQ does not come up:\n{said}")
            time.sleep(0.05)

    def is_alive(self) -> bool:
        """Tell whether it was started and has not ended since."""
        return self._program is not None and self._program.is_alive()

    def stop(self) -> None:
        """Stop it in order (about three seconds); nothing where it does not run."""
        if self._program is not None:
            self._program.end()
            self._program = None

    def kill(self) -> None:
        """End it with SIGKILL."""
        assert self._program is not None, "it does not run"
        self._program.kill()
        self._program = None

    @contextmanager
    def host(self) -> Iterator[str]:
        """Yield the URL of a new virtual host, in which nobody else has anything; it goes with the block."""
        name = f"test-{secrets.token_hex(6)}"
        named, user, anything = f'<<"{name}">>', f'<<"{USER}">>', '<<".*">>'
        rights = f"{user}, {named}, {anything}, {anything}, {anything}, {user}"
        add = f"rabbit_vhost:add({named}, {user}), rabbit_auth_backend_internal:set_permissions({rights})"
        self.node.evaluate(add, self._user)
        try:
            yield url_of(self.node.port, self.node.password, name)
        finally:
            if not self.is_alive():
                self.stop()
                self.start()
            self.node.evaluate(f"rabbit_vhost:delete({named}, {user})", self._user)


@contextmanager
def running() -> Iterator[Server]:
    """Yield a server that ends with the block, or with this process. Raises RabbitMissing."""
    installed()
    folder, user = Path(tempfile.mkdtemp(prefix="kontor-test-rabbitmq-")), ordinary_user()
    port, distribution_port = free_ports(2)
    node = Node(folder, port, distribution_port, secrets.token_hex(20))
    node.furnish(user)
    server = Server(node, user)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
